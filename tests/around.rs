//! What lies around an entity is shown page by page and as a graph, whatever
//! there is of it.

mod support;

use std::collections::BTreeSet;

use proptest::prelude::*;
use support::catalogue::{TestCatalogue, change, create, relate};
use tidegate::domain::change::Action;
use tidegate::domain::key::{EntityKey, Key};
use tidegate::domain::settings::Deletion;
use tidegate::error::ErrorKind;
use tidegate::targets::embedded::{Direction, Neighbourhood};

fn key(name: &str) -> EntityKey {
    EntityKey::new("t", name)
}

/// The graph as text: nodes with their distance, edges by names.
fn shown(found: &Neighbourhood) -> (Vec<String>, BTreeSet<String>) {
    let name = |place: usize| found.nodes[place].key.qualified_name.clone();
    let node = |n: usize| {
        format!("{} {}{}", name(n), found.nodes[n].distance, if found.nodes[n].more { " +" } else { "" })
    };
    let edges =
        found.edges.iter().map(|edge| format!("{}→{}:{}", name(edge.from), name(edge.to), edge.type_name));
    ((0..found.nodes.len()).map(node).collect(), edges.collect())
}

#[test]
fn a_neighbourhood_follows_relationships_both_ways_and_keeps_their_direction() {
    let catalogue = TestCatalogue::of_edges("flows", &["a→b", "b→c", "x→b:holds", "c→d", "z→z"]);
    let found = catalogue.get().neighbourhood(&key("b"), 1, 100).unwrap().unwrap();
    let (mut nodes, edges) = shown(&found);
    nodes.sort();
    assert_eq!(nodes, ["a 1", "b 0", "c 1", "x 1"]);
    assert_eq!(edges, ["a→b:flows", "b→c:flows", "x→b:holds"].map(str::to_owned).into());
    assert!(!found.cut);
    assert_eq!(found.nodes[0].key, key("b"));
    let found = catalogue.get().neighbourhood(&key("b"), 0, 100).unwrap().unwrap();
    assert_eq!((found.nodes.len(), found.edges.len()), (1, 0));
    assert_eq!(catalogue.get().neighbourhood(&key("none"), 1, 100).unwrap(), None);
}

#[test]
fn cycles_and_relationships_to_itself_end() {
    let catalogue = TestCatalogue::of_edges("flows", &["a→b", "b→c", "c→a", "a→a"]);
    let found = catalogue.get().neighbourhood(&key("a"), 10, 100).unwrap().unwrap();
    let (nodes, edges) = shown(&found);
    assert_eq!(nodes.len(), 3);
    assert_eq!(edges, ["a→a:flows", "a→b:flows", "b→c:flows", "c→a:flows"].map(str::to_owned).into());
    assert_eq!(found.edges.len(), 4);
}

#[test]
fn of_very_many_relationships_some_of_each_type_are_shown_and_the_rest_is_owned_up_to() {
    let mut catalogue = TestCatalogue::new(Deletion::Delete);
    let hub = key("hub");
    let leaf = |n: u32| key(&format!("leaf{n}"));
    catalogue.apply(vec![create("t", "hub", "{}"), create("t", "source", "{}")]);
    for part in 0..5 {
        let range = part * 20_000..(part + 1) * 20_000;
        catalogue.apply(range.clone().map(|n| create("t", &leaf(n).qualified_name, "{}")).collect());
        catalogue.apply(range.map(|n| relate("columns", &hub, &leaf(n), "")).collect());
    }
    catalogue.apply(vec![relate("lineage", &key("source"), &hub, "")]);
    let found = catalogue.get().neighbourhood(&hub, 3, 50).unwrap().unwrap();
    assert_eq!(found.nodes.len(), 50);
    assert!(found.cut && found.nodes[0].more);
    assert!(found.nodes.iter().any(|node| node.key == key("source")), "{:?}", shown(&found));
    // From a leaf the hub is found, but not all that hangs on it.
    let found = catalogue.get().neighbourhood(&leaf(7), 2, 1_000_000).unwrap().unwrap();
    assert!(found.cut && found.nodes.len() <= 500, "{}", found.nodes.len());
    assert!(found.nodes.iter().any(|node| node.key == hub && node.more));

    // Page by page all of them come, each once.
    let mut after: Option<String> = None;
    let mut seen = BTreeSet::new();
    loop {
        let page = catalogue.get().relationships(&hub, None, None, after.as_deref(), 500).unwrap().unwrap();
        assert!(page.items.len() <= 500);
        for item in page.items {
            assert!(seen.insert((item.direction == Direction::In, item.key)));
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 100_001);
    // One of a rare type among them takes some pages, each of which is cheap.
    let of_type = |name: &str, direction| {
        let (mut after, mut count, mut pages) = (None::<String>, 0, 0);
        loop {
            let page = catalogue
                .get()
                .relationships(&hub, direction, Some(name), after.as_deref(), 500)
                .unwrap()
                .unwrap();
            (count, pages, after) = (count + page.items.len(), pages + 1, page.next);
            if after.is_none() {
                return (count, pages);
            }
        }
    };
    assert_eq!(of_type("lineage", Some(Direction::In)), (1, 1));
    assert_eq!(of_type("lineage", None).0, 1);
    assert_eq!(of_type("none", Some(Direction::Out)), (0, 50));
}

#[test]
fn a_page_of_relationships_begins_where_the_one_before_ended() {
    let catalogue = TestCatalogue::of_edges("flows", &["m→a", "m→b", "m→c:x", "d→m", "e→m:x", "m→m"]);
    for limit in 1..8 {
        for (direction, type_name, count) in [
            (None, None, 7),
            (Some(Direction::Out), None, 4),
            (Some(Direction::In), None, 3),
            (None, Some("x"), 2),
            (Some(Direction::In), Some("flows"), 2),
        ] {
            let (mut after, mut found) = (None::<String>, Vec::new());
            loop {
                let page =
                    catalogue.get().relationships(&key("m"), direction, type_name, after.as_deref(), limit);
                let page = page.unwrap().unwrap();
                assert!(page.items.len() <= limit);
                found.extend(page.items.into_iter().map(|item| (item.direction == Direction::In, item.key)));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(found.len(), count, "{limit} {direction:?} {type_name:?}");
            assert!(found.is_sorted_by_key(|(incoming, _)| *incoming));
        }
    }
    for bad in ["", "out-", "up-00", "out-zz", "in-+0000000000000000000000000000001", "aus"] {
        let error = catalogue.get().relationships(&key("m"), None, None, Some(bad), 5).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{bad}");
    }
    assert!(catalogue.get().relationships(&key("none"), None, None, None, 5).unwrap().is_none());
}

#[test]
fn versions_come_page_by_page_newest_first() {
    let mut catalogue = TestCatalogue::new(Deletion::Delete);
    catalogue.create(&[("t", "a", r#"{"n":0}"#)]);
    for n in 1..=9 {
        catalogue.apply(vec![change(Action::Update, "t", "a", &format!(r#"{{"n":{n}}}"#))]);
    }
    // Ten versions; the newest is the present one, and five before it are kept.
    let key = Key::Entity(key("a"));
    for limit in 1..8 {
        let (mut before, mut found) = (None, Vec::new());
        loop {
            let page = catalogue.get().history(&key, before, limit).unwrap();
            assert!(page.items.len() <= limit);
            found.extend(page.items.iter().map(|item| (item.version, item.attributes.get().to_owned())));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        let expected: Vec<_> = (5..=9).rev().map(|n| (n, format!(r#"{{"n":{}}}"#, n - 1))).collect();
        assert_eq!(found, expected, "{limit}");
    }
    // What is deleted has a history too.
    catalogue.delete("t", "a");
    let page = catalogue.get().history(&key, None, 2).unwrap();
    let versions: Vec<u32> = page.items.iter().map(|item| item.version).collect();
    assert_eq!((versions, page.next), (vec![10, 9], Some(9)));
    let none = catalogue.get().history(&Key::Entity(EntityKey::new("t", "never")), None, 2).unwrap();
    assert!(none.items.is_empty() && none.next.is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_neighbourhood_is_what_a_naive_walk_finds(
        edges in prop::collection::btree_set((0u8..12, 0u8..12), 1..25),
        depth in 0u32..4,
    ) {
        let names: Vec<String> = edges.iter().map(|(from, to)| format!("n{from}→n{to}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let catalogue = TestCatalogue::of_edges("flows", &names);
        let start = edges.iter().next().unwrap().0;
        let mut distances = std::collections::BTreeMap::from([(start, 0)]);
        for step in 0..depth {
            for (from, to) in &edges {
                for (a, b) in [(from, to), (to, from)] {
                    if distances.get(a) == Some(&step) {
                        distances.entry(*b).or_insert(step + 1);
                    }
                }
            }
        }
        let found = catalogue.get().neighbourhood(&key(&format!("n{start}")), depth, 100).unwrap().unwrap();
        let nodes: BTreeSet<(String, u32)> =
            found.nodes.iter().map(|node| (node.key.qualified_name.clone(), node.distance)).collect();
        let expected: BTreeSet<(String, u32)> = distances.iter().map(|(n, d)| (format!("n{n}"), *d)).collect();
        prop_assert_eq!(nodes, expected);
        prop_assert!(!found.cut);
        let expected: BTreeSet<String> = edges
            .iter()
            .filter(|(from, to)| [from, to].iter().any(|end| distances.get(end).is_some_and(|d| *d < depth)))
            .map(|(from, to)| format!("n{from}→n{to}:flows"))
            .collect();
        prop_assert_eq!(shown(&found).1, expected);
    }
}
