//! The order of types: containers before their contents.

use std::collections::{BTreeMap, BTreeSet};

use super::snapshot::TypeEdge;
use crate::domain::glob::Glob;

/// A rank for each type that takes part in containment: types of contents
/// rank above those of their containers. Types that contain each other in a
/// circle share a rank.
///
/// Works on types, not on entities, so that it costs nothing with the size of
/// a batch; among entities of one type the depth of their names decides.
pub fn type_ranks(edges: &BTreeSet<TypeEdge>, containment: &[Glob]) -> BTreeMap<String, u16> {
    let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for edge in edges {
        if edge.from != edge.to && containment.iter().any(|glob| glob.matches(&edge.relationship)) {
            next.entry(&edge.from).or_default().insert(&edge.to);
            next.entry(&edge.to).or_default();
        }
    }
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        next.keys().map(|node| (*node, reachable(&next, node))).collect();
    let together = |a: &str, b: &str| a == b || (reach[a].contains(b) && reach[b].contains(a));
    // Longest path over the groups; as many rounds as there are types suffice.
    let mut ranks: BTreeMap<&str, u16> = next.keys().map(|node| (*node, 0)).collect();
    for _ in 0..next.len() {
        let mut moved = false;
        for (from, targets) in &next {
            for to in targets {
                if together(from, to) {
                    let most = ranks[from].max(ranks[to]);
                    for node in [from, to] {
                        if ranks[node] < most {
                            ranks.insert(node, most);
                            moved = true;
                        }
                    }
                } else if ranks[to] <= ranks[from] {
                    ranks.insert(to, ranks[from].saturating_add(1));
                    moved = true;
                }
            }
        }
        if !moved {
            break;
        }
    }
    ranks.into_iter().map(|(name, rank)| (name.to_owned(), rank)).collect()
}

fn reachable<'a>(next: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut work: Vec<&str> = next.get(from).into_iter().flatten().copied().collect();
    while let Some(node) = work.pop() {
        if let Some((name, targets)) = next.get_key_value(node)
            && seen.insert(*name)
        {
            work.extend(targets.iter().copied());
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(list: &[(&str, &str, &str)]) -> BTreeSet<TypeEdge> {
        list.iter()
            .map(|(r, f, t)| TypeEdge { relationship: (*r).into(), from: (*f).into(), to: (*t).into() })
            .collect()
    }

    #[test]
    fn contents_rank_above_their_containers() {
        let all = [Glob::new("*")];
        let ranks = type_ranks(
            &edges(&[
                ("a", "db", "schema"),
                ("b", "schema", "table"),
                ("c", "table", "column"),
                ("d", "column", "column"),
            ]),
            &all,
        );
        assert!(
            ranks["db"] < ranks["schema"]
                && ranks["schema"] < ranks["table"]
                && ranks["table"] < ranks["column"]
        );
    }

    #[test]
    fn a_circle_shares_a_rank_and_what_hangs_on_it_ranks_above() {
        let all = [Glob::new("*")];
        let ranks = type_ranks(
            &edges(&[("in", "table", "process"), ("out", "process", "table"), ("c", "table", "column")]),
            &all,
        );
        assert_eq!(ranks["table"], ranks["process"]);
        assert!(ranks["column"] > ranks["table"]);
        let narrow = type_ranks(&edges(&[("in", "table", "process")]), &[Glob::new("*_columns")]);
        assert!(narrow.is_empty());
    }
}
