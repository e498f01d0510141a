//! Lineage goes upstream of upstream and downstream of downstream, within
//! bounds, and tells what it leaves out.

mod support;

use std::collections::BTreeSet;

use support::catalogue::TestCatalogue;
use tidegate::domain::key::EntityKey;
use tidegate::targets::embedded::{Lineage, LineageQuery};

const QUERY: LineageQuery = LineageQuery { all: false, steps: 3, entities: 100, fan: 100 };

fn key(name: &str) -> EntityKey {
    EntityKey::new("t", name)
}

fn around(edges: &[&str], of: &str, query: LineageQuery) -> Lineage {
    TestCatalogue::of_edges("lineage", edges).get().lineage(&key(of), &query).unwrap().unwrap()
}

/// Nodes with their steps, and edges, as texts.
fn shown(found: &Lineage) -> (BTreeSet<String>, BTreeSet<String>) {
    let name = |place: usize| found.nodes[place].key.qualified_name.clone();
    let nodes = found.nodes.iter().map(|node| format!("{} {}", node.key.qualified_name, node.step)).collect();
    (nodes, found.edges.iter().map(|(from, to, _)| format!("{}→{}", name(*from), name(*to))).collect())
}

fn set(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn what_lies_beside_is_neither_upstream_nor_downstream() {
    let edges =
        ["raw→staged", "staged→here", "staged→beside", "here→chart", "other→chart", "box→here:contains"];
    let (nodes, edges) = shown(&around(&edges, "here", QUERY));
    assert_eq!(nodes, set(&["here 0", "staged -1", "raw -2", "chart 1"]));
    assert_eq!(edges, set(&["raw→staged", "staged→here", "here→chart"]));
}

#[test]
fn with_all_every_relationship_counts() {
    let edges = ["box→here:contains", "here→chart"];
    let (nodes, _) = shown(&around(&edges, "here", LineageQuery { all: true, ..QUERY }));
    assert_eq!(nodes, set(&["here 0", "box -1", "chart 1"]));
}

#[test]
fn cycles_end_and_a_relationship_to_itself_leads_nowhere() {
    let found = around(&["a→b", "b→a", "a→a"], "a", QUERY);
    assert_eq!(shown(&found).1, set(&["a→b", "b→a"]));
    assert!(!around(&["a→a"], "a", QUERY).has_edges());
}

#[test]
fn what_is_left_out_is_counted() {
    let mut edges: Vec<String> = (0..30).map(|n| format!("here→d{n:02}")).collect();
    edges.push("d00→e".into());
    let catalogue = TestCatalogue::of_edges("lineage", &edges);
    let found = |query: LineageQuery| catalogue.get().lineage(&key("here"), &query).unwrap().unwrap();
    let fan = found(LineageQuery { fan: 10, ..QUERY });
    assert_eq!((fan.nodes.iter().filter(|node| node.step == 1).count(), fan.nodes[0].more), (10, 20));
    let few = found(LineageQuery { entities: 5, ..QUERY });
    assert_eq!((few.nodes.len(), few.nodes[0].more), (5, 26));
    let near = found(LineageQuery { steps: 1, ..QUERY });
    assert_eq!(near.nodes.iter().filter(|node| node.more == 1).count(), 1, "d00 leads on to e");
    assert!(catalogue.get().lineage(&key("none"), &QUERY).unwrap().is_none());
}
