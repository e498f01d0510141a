//! The order of types: containers before their contents.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::snapshot::TypeEdge;
use crate::domain::glob::Glob;

/// A rank for each type that takes part in containment: types of contents
/// rank above those of their containers. Types that contain each other in a
/// circle share a rank.
///
/// Works on types, not on entities, so that it costs nothing with the size of
/// a batch; among entities of one type the depth of their names decides. Takes
/// time in proportion to the edges.
pub fn type_ranks(edges: &BTreeSet<TypeEdge>, containment: &[Glob]) -> BTreeMap<String, u16> {
    let contains = |edge: &&TypeEdge| {
        edge.from != edge.to && containment.iter().any(|glob| glob.matches(&edge.relationship))
    };
    let edges: Vec<&TypeEdge> = edges.iter().filter(contains).collect();
    let names: BTreeSet<&str> = edges.iter().flat_map(|edge| [&*edge.from, &*edge.to]).collect();
    let numbers: HashMap<&str, usize> = names.iter().enumerate().map(|(n, name)| (*name, n)).collect();
    let mut next: Vec<Vec<usize>> = vec![Vec::new(); names.len()];
    for edge in edges {
        next[numbers[&*edge.from]].push(numbers[&*edge.to]);
    }
    let Circles { of, count } = circles(&next);
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (node, circle) in of.iter().enumerate() {
        members[*circle].push(node);
    }
    // The longest path: whatever leads to a circle has a higher number.
    let mut ranks = vec![0u16; count];
    for circle in (0..count).rev() {
        for to in members[circle].iter().flat_map(|node| &next[*node]).map(|to| of[*to]) {
            if to != circle {
                ranks[to] = ranks[to].max(ranks[circle].saturating_add(1));
            }
        }
    }
    names.into_iter().zip(of).map(|(name, circle)| (name.to_owned(), ranks[circle])).collect()
}

/// The circles of a graph; a node that is in none is one of its own.
struct Circles {
    /// The circle of each node. A circle that leads to another has the higher number.
    of: Vec<usize>,
    count: usize,
}

/// Tarjan's strongly connected components, without recursion: the depth would
/// be the input's.
fn circles(next: &[Vec<usize>]) -> Circles {
    const NONE: usize = usize::MAX;
    // When each node was met, and the earliest one known to be in a circle with it.
    let mut met = vec![NONE; next.len()];
    let mut earliest = vec![NONE; next.len()];
    let mut found = Circles { of: vec![NONE; next.len()], count: 0 };
    let mut time = 0;
    // Nodes that are in no circle yet; nodes on the way, with their next edge.
    let (mut open, mut way) = (Vec::new(), Vec::new());
    for start in 0..next.len() {
        if met[start] == NONE {
            way.push((start, 0));
        }
        while let Some((node, edge)) = way.pop() {
            if edge == 0 {
                (met[node], earliest[node]) = (time, time);
                time += 1;
                open.push(node);
            } else {
                // Back from where the last edge leads.
                earliest[node] = earliest[node].min(earliest[next[node][edge - 1]]);
            }
            let mut edge = edge;
            while let Some(&to) = next[node].get(edge).filter(|to| met[**to] != NONE) {
                if found.of[to] == NONE {
                    earliest[node] = earliest[node].min(met[to]);
                }
                edge += 1;
            }
            if let Some(&to) = next[node].get(edge) {
                way.extend([(node, edge + 1), (to, 0)]);
                continue;
            }
            if earliest[node] == met[node] {
                while let Some(member) = open.pop() {
                    found.of[member] = found.count;
                    if member == node {
                        break;
                    }
                }
                found.count += 1;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    #[test]
    fn many_types_one_within_the_other_are_ranked_at_once() {
        let most = usize::from(u16::MAX) + 5;
        let edge = |n: usize| TypeEdge {
            relationship: "r".into(),
            from: format!("t{n:06}"),
            to: format!("t{:06}", n + 1),
        };
        let mut chain: BTreeSet<TypeEdge> = (0..most).map(edge).collect();
        let ranks = type_ranks(&chain, &[Glob::new("*")]);
        assert_eq!((ranks["t000000"], ranks["t060000"]), (0, 60_000));
        assert_eq!(ranks[&format!("t{most:06}")], u16::MAX);
        // One circle of all of them.
        chain.insert(TypeEdge { from: format!("t{most:06}"), to: "t000000".into(), ..edge(0) });
        assert!(type_ranks(&chain, &[Glob::new("*")]).values().all(|rank| *rank == 0));
    }

    /// The ranks by what is reachable from where: the same, in more time.
    fn by_reach(edges: &BTreeSet<(u8, u8)>) -> BTreeMap<String, u16> {
        let mut next: BTreeMap<u8, BTreeSet<u8>> = BTreeMap::new();
        for (from, to) in edges.iter().filter(|(from, to)| from != to) {
            next.entry(*from).or_default().insert(*to);
            next.entry(*to).or_default();
        }
        let reach = |node: u8| {
            let mut seen = BTreeSet::new();
            let mut work: Vec<u8> = next[&node].iter().copied().collect();
            while let Some(node) = work.pop() {
                if seen.insert(node) {
                    work.extend(&next[&node]);
                }
            }
            seen
        };
        let reach: BTreeMap<u8, BTreeSet<u8>> = next.keys().map(|node| (*node, reach(*node))).collect();
        let mut ranks: BTreeMap<u8, u16> = next.keys().map(|node| (*node, 0)).collect();
        for _ in 0..next.len() {
            for (from, to) in next.iter().flat_map(|(from, to)| to.iter().map(move |to| (from, to))) {
                if reach[to].contains(from) {
                    let most = ranks[from].max(ranks[to]);
                    ranks.extend([(*from, most), (*to, most)]);
                } else if ranks[to] <= ranks[from] {
                    ranks.insert(*to, ranks[from] + 1);
                }
            }
        }
        ranks.into_iter().map(|(node, rank)| (node.to_string(), rank)).collect()
    }

    proptest! {
        #[test]
        fn ranks_are_those_of_the_longest_way(
            edges in prop::collection::btree_set((0u8..12, 0u8..12), 0..30),
        ) {
            let named = |(from, to): &(u8, u8)| TypeEdge {
                relationship: "r".into(),
                from: from.to_string(),
                to: to.to_string(),
            };
            let ranks = type_ranks(&edges.iter().map(named).collect(), &[Glob::new("*")]);
            prop_assert_eq!(ranks, by_reach(&edges));
        }
    }
}
