//! Search finds what is in the catalogue, the best first, whatever is typed,
//! and its index follows the catalogue whatever happens to either.

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use support::batches::{TestBatch, entity, says};
use support::catalogue::{TestCatalogue, change, create};
use support::world::World;
use tidegate::domain::change::Action;
use tidegate::domain::key::EntityKey;
use tidegate::domain::publish_state::PublishStatus;
use tidegate::domain::settings::Deletion;
use tidegate::error::ErrorKind;
use tidegate::service::Service;
use tidegate::targets::embedded::{FindOrder, FindPage, FindQuery, SearchQuery};

fn shop() -> TestCatalogue {
    let mut catalogue = TestCatalogue::new(Deletion::Delete);
    catalogue.create(&[
        ("db", "shop", r#"{"comment":"The shop"}"#),
        ("table", "shop.sales.orders", r#"{"description":"Every order that was placed","owner":"Ann Lee"}"#),
        ("table", "shop.sales.orderLines", r#"{"description":"Lines of orders","owner":"Bob"}"#),
        ("table", "shop.orders.archive", r#"{"description":"Old"}"#),
        ("column", "shop.sales.orders.id", r#"{"data_type":"bigint"}"#),
        (
            "dashboard",
            "revenue",
            r#"{"charts":[{"title":"Gross margin of orders","size":[4,2.5]}],"live":true}"#,
        ),
        ("table", "orders", r#"{"owner":"Ann Bell"}"#),
    ]);
    catalogue
}

#[test]
fn what_is_called_so_comes_before_what_has_it_in_its_name_and_that_before_what_speaks_of_it() {
    let catalogue = shop();
    assert_eq!(
        catalogue.names("orders"),
        [
            "orders",
            "shop.sales.orders",
            "shop.orders.archive",
            "shop.sales.orders.id",
            "revenue",
            "shop.sales.orderLines",
        ]
    );
    assert_eq!(catalogue.names("shop.sales.orders")[..2], ["shop.sales.orders", "shop.sales.orders.id"]);
    assert_eq!(catalogue.names("SHOP.SALES.ORDERS")[0], "shop.sales.orders");
    assert_eq!(catalogue.names("sales orders")[0], "shop.sales.orders");
    assert_eq!(catalogue.names("order lines")[0], "shop.sales.orderLines");
    assert_eq!(catalogue.names("orderlines"), ["shop.sales.orderLines"]);
}

#[test]
fn words_are_found_wherever_they_are_and_the_last_one_by_its_beginning() {
    let catalogue = shop();
    for (text, names) in [
        ("gross margin", vec!["revenue"]),
        ("margin gross", vec!["revenue"]),
        ("\"gross margin\"", vec!["revenue"]),
        ("\"margin gross\"", vec![]),
        ("grossMargin", vec!["revenue"]),
        ("marginGross", vec![]),
        ("gros", vec!["revenue"]),
        ("gros margin", vec![]),
        ("2.5", vec!["revenue"]),
        ("true", vec!["revenue"]),
        ("title", vec![]),
        ("owner:ann", vec!["orders", "shop.sales.orders"]),
        ("owner:an", vec!["orders", "shop.sales.orders"]),
        ("owner:\"ann bell\"", vec!["orders"]),
        ("owner:ann sales", vec!["shop.sales.orders"]),
        ("owner:orders", vec![]),
        ("name:archive", vec!["shop.orders.archive"]),
        ("name:old", vec![]),
        ("type:dashboard", vec!["revenue"]),
        ("type:dash", vec!["revenue"]),
        ("type:column orders", vec!["shop.sales.orders.id"]),
        ("nothing:orders archive", vec![]),
    ] {
        assert_eq!(catalogue.names(text), names, "{text}");
    }
}

#[test]
fn a_typo_is_forgiven_in_a_word_of_five_letters_two_in_one_of_eight() {
    let mut catalogue = shop();
    catalogue.create(&[
        ("table", "hr.employees", "{}"),
        ("table", "hr.ordesr", "{}"),
        ("table", "x.abcd", "{}"),
    ]);
    assert_eq!(catalogue.names("employes"), ["hr.employees"]);
    assert_eq!(catalogue.names("emploiyes"), ["hr.employees"]);
    assert_eq!(catalogue.names("reveune"), ["revenue"]);
    assert_eq!(catalogue.names("revxxue"), [""; 0]);
    assert_eq!(catalogue.names("abdc"), [""; 0]);
    assert_eq!(catalogue.names("20267 2.55"), [""; 0]);
    // What has it as it was typed comes first.
    let names = catalogue.names("ordesr");
    assert_eq!(names[0], "hr.ordesr");
    assert!(names.contains(&"shop.sales.orders".into()), "{names:?}");
    let page = catalogue.find("reveune");
    assert_eq!(page.items[0].matched[0].attribute, "qualified_name");
}

#[test]
fn hits_say_where_they_are_met() {
    let catalogue = shop();
    let page = catalogue.find("orders");
    let hit = page.items.iter().find(|hit| hit.key.qualified_name == "revenue").unwrap();
    let [matched] = &hit.matched[..] else { panic!("{hit:?}") };
    assert_eq!((matched.attribute.as_str(), matched.text.as_str()), ("charts", "Gross margin of orders"));
    let [range] = matched.ranges[..] else { panic!("{matched:?}") };
    assert_eq!(&matched.text[range.from..range.to], "orders");
    assert_eq!(hit.updated.to_string(), "2026-11-24T00:00:01Z");
    assert!(page.items[0].score > page.items[1].score);
}

#[test]
fn a_look_through_names_can_be_bounded_and_goes_on_where_it_was() {
    let mut catalogue = TestCatalogue::new(Deletion::Delete);
    catalogue.apply((0..40).map(|n| create(["table", "view"][n % 2], &format!("t{n:02}"), "{}")).collect());
    for contains in ["7", "t", "none"] {
        let query = SearchQuery { contains: Some(contains.into()), limit: 3, ..SearchQuery::default() };
        let whole = catalogue.get().search(&SearchQuery { limit: 1_000, ..query.clone() }).unwrap();
        assert_eq!(whole.next, None);
        for examine in [1, 2, 7, 40, 41] {
            let (mut found, mut parts, mut after) = (Vec::new(), 0, None);
            loop {
                let query = SearchQuery { examine, after, ..query.clone() };
                let page = catalogue.get().search(&query).unwrap();
                assert!(page.items.len() <= examine.min(3), "{examine}");
                found.extend(page.items);
                parts += 1;
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(found, whole.items, "{contains} by {examine}");
            assert!(parts > 40 / examine.max(3), "{contains} by {examine}: {parts}");
        }
    }
}

/// Words of which one is only begun and stands for hundreds: few documents in
/// question are looked for in all of theirs.
#[test]
fn a_word_that_is_only_begun_may_stand_for_very_many() {
    let mut catalogue = TestCatalogue::new(Deletion::Delete);
    let note = |n: u32| match n % 30 {
        0 => format!(r#"{{"note":"kept 4{n:03}"}}"#),
        1 => format!(r#"{{"note":"kept 5{n:03}"}}"#),
        _ => format!(r#"{{"note":"4{n:03}"}}"#),
    };
    // In letters, so that no name has such a word.
    let name = |n: u32| -> String {
        format!("{n:03}").chars().map(|c| char::from(b'a' + c.to_digit(10).unwrap() as u8)).collect()
    };
    catalogue.apply((0..600).map(|n| create("table", &name(n), &note(n))).collect());
    let kept: Vec<String> = (0..600).step_by(30).map(name).collect();
    assert_eq!(catalogue.names("kept 4"), kept);
    assert_eq!(catalogue.names("kept 40"), kept[..4]);
    assert_eq!(catalogue.names("kept 4090"), [kept[3].clone()]);
    assert_eq!(catalogue.find("4").total, 580);
}

#[test]
fn counts_pages_and_types_go_together() {
    let mut catalogue = TestCatalogue::new(Deletion::Delete);
    let many: Vec<_> = (0..150)
        .map(|n| create(if n % 3 == 0 { "view" } else { "table" }, &format!("s.t{n:03}.rows"), "{}"))
        .collect();
    catalogue.apply(many);
    catalogue.get().index_now().unwrap();
    let find = |types: &[&str], offset, limit| {
        let types = types.iter().map(|t| (*t).to_owned()).collect();
        let query = FindQuery { text: "rows".into(), types, offset, limit, ..FindQuery::default() };
        catalogue.get().find(&query).unwrap()
    };
    let page = find(&[], 0, 100);
    assert_eq!((page.items.len(), page.total, page.more), (100, 150, true));
    let counts: Vec<_> = page.types.iter().map(|count| (count.type_name.as_str(), count.count)).collect();
    assert_eq!(counts, [("table", 100), ("view", 50)]);
    let names = |page: &tidegate::targets::embedded::FindPage| -> Vec<String> {
        page.items.iter().map(|hit| hit.key.qualified_name.clone()).collect()
    };
    let second = find(&[], 100, 100);
    assert_eq!((second.items.len(), second.more), (50, false));
    let all: BTreeSet<String> = names(&page).into_iter().chain(names(&second)).collect();
    assert_eq!(all.len(), 150);
    assert!(names(&page).is_sorted());
    let views = find(&["view"], 45, 10);
    assert_eq!((views.items.len(), views.total, views.more), (5, 50, false));
    assert_eq!(views.types, page.types);
    assert_eq!(find(&["unheard"], 0, 10).total, 0);
    let error = catalogue.get().find(&FindQuery { offset: 1_001, ..FindQuery::default() }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
}

#[test]
fn an_empty_text_finds_everything_and_the_newest_can_come_first() {
    let mut catalogue = shop();
    catalogue.apply(vec![change(Action::Update, "db", "shop", r#"{"comment":"Shop"}"#)]);
    assert_eq!(catalogue.find("").total, 7);
    let query = FindQuery { order: FindOrder::Newest, limit: 2, ..FindQuery::default() };
    let page = catalogue.get().find(&query).unwrap();
    assert_eq!(page.items[0].key, EntityKey::new("db", "shop"));
}

#[test]
fn names_of_signs_are_found_as_they_are_written() {
    let mut catalogue = TestCatalogue::new(Deletion::Delete);
    catalogue.create(&[("t", "***", "{}"), ("t", "**", "{}"), ("t", "a", "{}")]);
    assert_eq!(catalogue.names("***"), ["***"]);
    assert_eq!(catalogue.names("**"), ["**", "***"]);
    assert_eq!(catalogue.names("+"), [""; 0]);
}

#[test]
fn the_index_follows_what_changes() {
    let mut catalogue = shop();
    assert_eq!(catalogue.names("placed"), ["shop.sales.orders"]);
    catalogue.apply(vec![change(
        Action::Update,
        "table",
        "shop.sales.orders",
        r#"{"description":"Renewed"}"#,
    )]);
    let page = catalogue.get().find(&FindQuery { text: "renewed".into(), ..FindQuery::default() }).unwrap();
    assert_eq!((page.total, page.behind), (0, 1));
    assert_eq!(catalogue.names("placed"), [""; 0]);
    assert_eq!(catalogue.names("renewed"), ["shop.sales.orders"]);
    catalogue.delete("table", "shop.sales.orders");
    // Not even before the index has seen it.
    let page = catalogue.get().find(&FindQuery { text: "renewed".into(), ..FindQuery::default() }).unwrap();
    assert_eq!((page.items.len(), page.behind), (0, 1));
    assert_eq!(catalogue.names("renewed"), [""; 0]);
    let set = br#"{"note":"typed by hand"}"#;
    catalogue.get().edit(&EntityKey::new("db", "shop"), set, &[], "ann").unwrap();
    assert_eq!(catalogue.names("typed"), ["shop"]);
}

#[test]
fn archived_entities_are_found_when_asked_for() {
    let mut catalogue = TestCatalogue::new(Deletion::Archive);
    catalogue.create(&[("t", "a.old", "{}"), ("t", "a.new", "{}")]);
    catalogue.get().index_now().unwrap();
    catalogue.delete("t", "a.old");
    let find = |catalogue: &TestCatalogue, archived| {
        let query = FindQuery { text: "a".into(), archived, ..FindQuery::default() };
        let page = catalogue.get().find(&query).unwrap();
        page.items.into_iter().map(|hit| (hit.key.qualified_name, hit.archived)).collect::<Vec<_>>()
    };
    assert_eq!(find(&catalogue, false), [("a.new".to_owned(), false)]);
    catalogue.get().index_now().unwrap();
    assert_eq!(find(&catalogue, false), [("a.new".to_owned(), false)]);
    assert_eq!(find(&catalogue, true), [("a.new".to_owned(), false), ("a.old".to_owned(), true)]);
    catalogue.create(&[("t", "a.old", "{}")]);
    assert_eq!(catalogue.names("old"), ["a.old"]);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        // A file that was merged away just now is not needed.
        if let Err(error) = std::fs::copy(entry.path(), to.join(entry.file_name())) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        }
    }
}

#[test]
fn an_index_that_is_of_no_use_is_built_anew() {
    let mut catalogue = shop();
    assert_eq!(catalogue.names("archive"), ["shop.orders.archive"]);
    // Gone.
    catalogue.close();
    std::fs::remove_dir_all(catalogue.index()).unwrap();
    catalogue.restart();
    let page = catalogue.get().find(&FindQuery { text: "archive".into(), ..FindQuery::default() }).unwrap();
    assert_eq!((page.total, page.behind), (0, 7));
    assert_eq!(catalogue.names("archive"), ["shop.orders.archive"]);
    // Damaged, each file in turn.
    catalogue.close();
    let whole = catalogue.folder.path().join("whole");
    copy(&catalogue.index(), &whole);
    let files: Vec<_> = std::fs::read_dir(&whole).unwrap().map(|e| e.unwrap().file_name()).collect();
    for file in files {
        let name = file.to_string_lossy().into_owned();
        let path = catalogue.index().join(&file);
        let mut bytes = std::fs::read(whole.join(&file)).unwrap();
        if name.ends_with(".lock") || bytes.is_empty() {
            continue;
        }
        std::fs::remove_dir_all(catalogue.index()).unwrap();
        copy(&whole, &catalogue.index());
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        std::fs::write(&path, &bytes).unwrap();
        catalogue.restart();
        let following = catalogue.get().index_behind().unwrap();
        wait_until_seen(&catalogue);
        assert_eq!(catalogue.names("archive"), ["shop.orders.archive"], "{name}");
        drop(following);
        catalogue.close();
    }
    // Another catalogue's.
    let mut other = TestCatalogue::new(Deletion::Delete);
    other.create(&[("t", "other", "{}")]);
    assert_eq!(other.names("other"), ["other"]);
    other.close();
    std::fs::remove_dir_all(other.index()).unwrap();
    copy(&whole, &other.index());
    std::fs::write(other.index().join("notes.txt"), "mine").unwrap();
    other.restart();
    assert_eq!(other.names("archive"), [""; 0]);
    assert_eq!(other.names("other"), ["other"]);
    assert!(other.index().join("notes.txt").exists());
    // On demand.
    other.get().rebuild_search().unwrap();
    assert_eq!(other.names("other"), ["other"]);
}

#[test]
fn a_catalogue_put_back_to_an_earlier_state_gets_a_new_index() {
    let mut catalogue = shop();
    catalogue.get().index_now().unwrap();
    catalogue.close();
    let backup = catalogue.folder.path().join("backup");
    std::fs::copy(catalogue.file(), &backup).unwrap();
    catalogue.restart();
    catalogue.create(&[("t", "lost", "{}")]);
    assert_eq!(catalogue.names("lost"), ["lost"]);
    catalogue.close();
    std::fs::copy(&backup, catalogue.file()).unwrap();
    catalogue.restart();
    assert_eq!(catalogue.names("lost"), [""; 0]);
    // And goes on differently, as far as it was before.
    catalogue.create(&[("t", "mine", "{}")]);
    catalogue.close();
    let ahead = catalogue.folder.path().join("ahead");
    std::fs::copy(catalogue.file(), &ahead).unwrap();
    std::fs::copy(&backup, catalogue.file()).unwrap();
    catalogue.restart();
    catalogue.create(&[("t", "theirs", "{}")]);
    assert_eq!(catalogue.names("theirs"), ["theirs"]);
    catalogue.close();
    std::fs::copy(&ahead, catalogue.file()).unwrap();
    catalogue.restart();
    assert_eq!(catalogue.names("theirs"), [""; 0]);
    assert_eq!(catalogue.names("mine"), ["mine"]);
}

/// Waits for the thread that follows.
fn wait_until_seen(catalogue: &TestCatalogue) {
    for _ in 0..3_000 {
        let page = catalogue.get().find(&FindQuery { text: "x".into(), ..FindQuery::default() }).unwrap();
        if page.behind == 0 {
            return;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
    panic!("the index does not catch up");
}

#[test]
fn a_thread_keeps_the_index_behind_publishing_and_ends_when_told() {
    let mut catalogue = TestCatalogue::new(Deletion::Delete);
    let following = catalogue.get().index_behind().unwrap();
    assert!(catalogue.get().index_behind().is_err());
    for n in 0..30 {
        catalogue.create(&[("t", &format!("name.n{n}"), "{}")]);
    }
    wait_until_seen(&catalogue);
    assert_eq!(catalogue.find("name").total, 30);
    catalogue.get().rebuild_search().unwrap();
    wait_until_seen(&catalogue);
    assert_eq!(catalogue.find("name").total, 30);
    following.stop();
    catalogue.create(&[("t", "name.after", "{}")]);
    let following = catalogue.get().index_behind().unwrap();
    wait_until_seen(&catalogue);
    assert_eq!(catalogue.find("name").total, 31);
    drop(following);
    assert_eq!(Arc::strong_count(catalogue.get()), 1);
}

#[test]
fn an_operation_too_large_to_list_is_found_by_walking_over_the_rows() {
    let mut catalogue = TestCatalogue::new(Deletion::Delete);
    catalogue.create(&[("t", "first", "{}"), ("u", "second", "{}")]);
    assert_eq!(catalogue.names("first"), ["first"]);
    let name = |n: u32| format!("many.n{n:05}");
    catalogue.apply((0..30_000).map(|n| create("t", &name(n), r#"{"a":"word"}"#)).collect());
    assert_eq!(catalogue.find("many").total, 30_000);
    let doomed = (0..26_000).map(|n| change(Action::Delete, "t", &name(n), "{}"));
    let changed = (29_990..30_000).map(|n| change(Action::Update, "t", &name(n), r#"{"a":"other"}"#));
    catalogue.apply(doomed.chain(changed).collect());
    // Stopped on the way, and taken up again.
    for _ in 0..3 {
        let count = AtomicU32::new(0);
        catalogue.get().index_until(&|| count.fetch_add(1, Ordering::Relaxed) > 2).unwrap();
        catalogue.restart();
    }
    assert_eq!(catalogue.find("many").total, 4_000);
    assert_eq!(catalogue.find("other").total, 10);
    assert_eq!(catalogue.names("first"), ["first"]);
    assert_eq!(catalogue.names("second"), ["second"]);
}

const PARTS: [&str; 9] = ["sales", "Orders", "orderLines", "v2", "Größe", "HTTPServer", "売上", "a", "x_y"];

/// What happens to a catalogue and its index.
#[derive(Debug, Clone)]
enum Event {
    /// Changes: what is done with the entity of which number.
    Apply(Vec<(u8, u8)>),
    /// The index looks, but is cut off after so many looks at the clock.
    Index(u32),
    /// The process ends and starts again.
    Restart,
    /// The folder is put aside.
    Keep,
    /// The process ends, and the folder is what was put aside: all commits
    /// since are lost.
    PutBack,
    /// The folder goes.
    Remove,
    Rebuild,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let changes = prop::collection::vec((0u8..3, 0u8..24), 1..6).prop_map(Event::Apply);
    let event = prop_oneof![
        8 => changes,
        4 => (1u32..6).prop_map(Event::Index),
        2 => Just(Event::Restart),
        1 => Just(Event::Keep),
        1 => Just(Event::PutBack),
        1 => Just(Event::Remove),
        1 => Just(Event::Rebuild),
    ];
    prop::collection::vec(event, 1..30)
}

fn numbered(number: u8) -> (&'static str, String) {
    let part = |n: u8| PARTS[usize::from(n) % PARTS.len()];
    (["t", "u"][usize::from(number % 2)], format!("{}.{}", part(number / 2), part(number)))
}

fn happen(catalogue: &mut TestCatalogue, event: &Event, step: usize) {
    let kept = catalogue.folder.path().join("kept");
    match event {
        Event::Apply(changes) => {
            let mut seen = BTreeSet::new();
            let changes =
                changes.iter().filter(|(_, number)| seen.insert(*number)).map(|(action, number)| {
                    let action = [Action::Create, Action::Update, Action::Delete][usize::from(*action)];
                    let (type_name, name) = numbered(*number);
                    let json = format!(r#"{{"note":"step{step} of {}"}}"#, PARTS[step % PARTS.len()]);
                    change(action, type_name, &name, if action == Action::Delete { "{}" } else { &json })
                });
            let changes = changes.collect();
            catalogue.apply(changes);
        }
        Event::Index(looks) => {
            let count = AtomicU32::new(0);
            catalogue.get().index_until(&|| count.fetch_add(1, Ordering::Relaxed) >= *looks).unwrap();
        }
        Event::Restart => catalogue.restart(),
        Event::Keep => {
            if catalogue.index().exists() {
                let _ = std::fs::remove_dir_all(&kept);
                copy(&catalogue.index(), &kept);
            }
        }
        Event::PutBack => {
            catalogue.close();
            if kept.exists() {
                let _ = std::fs::remove_dir_all(catalogue.index());
                copy(&kept, &catalogue.index());
            }
            catalogue.restart();
        }
        Event::Remove => {
            catalogue.close();
            let _ = std::fs::remove_dir_all(catalogue.index());
            catalogue.restart();
        }
        Event::Rebuild => catalogue.get().rebuild_search().unwrap(),
    }
}

/// All that a text finds is there, whether the index has seen all or not.
fn finds_nothing_that_is_not_there(catalogue: &TestCatalogue, there: &BTreeSet<(EntityKey, bool)>) {
    for text in PARTS.iter().copied().chain([""]) {
        let query = FindQuery { text: text.into(), archived: true, limit: 100, ..FindQuery::default() };
        for hit in catalogue.get().find(&query).unwrap().items {
            assert!(there.contains(&(hit.key.clone(), hit.archived)), "{text} finds {:?}", hit.key);
        }
    }
}

fn there(catalogue: &TestCatalogue) -> BTreeSet<(EntityKey, bool)> {
    let query = SearchQuery { archived: true, limit: 1_000, ..SearchQuery::default() };
    let page = catalogue.get().search(&query).unwrap();
    page.items.into_iter().map(|hit| (hit.key, hit.archived)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    #[test]
    fn after_any_history_search_finds_by_every_word_of_a_name_what_the_catalogue_has(
        events in events(),
        archive in any::<bool>(),
    ) {
        let deletion = if archive { Deletion::Archive } else { Deletion::Delete };
        let mut catalogue = TestCatalogue::new(deletion);
        for (step, event) in events.iter().enumerate() {
            happen(&mut catalogue, event, step);
            finds_nothing_that_is_not_there(&catalogue, &there(&catalogue));
        }
        catalogue.get().index_now().unwrap();
        let there = there(&catalogue);
        finds_nothing_that_is_not_there(&catalogue, &there);
        let all = FindQuery { archived: true, limit: 100, ..FindQuery::default() };
        let page = catalogue.get().find(&all).unwrap();
        prop_assert_eq!((page.total, page.behind), (there.len() as u64, 0));
        for (key, archived) in &there {
            for word in key.qualified_name.split(['.', '_']) {
                let query = FindQuery { text: word.into(), archived: true, limit: 100, ..FindQuery::default() };
                let found = catalogue.get().find(&query).unwrap();
                let met = found.items.iter().find(|hit| hit.key == *key);
                prop_assert_eq!(met.map(|hit| hit.archived), Some(*archived), "{} by {}", key, word);
                let view = catalogue.get().get(key, 0).unwrap().unwrap();
                let note = view.attributes.get().split('"').nth(3).unwrap_or_default().to_owned();
                let query = FindQuery { text: format!("\"{note}\""), archived: true, limit: 100, ..FindQuery::default() };
                let found = catalogue.get().find(&query).unwrap();
                prop_assert!(note.is_empty() || found.items.iter().any(|hit| hit.key == *key), "{key} by {note}");
            }
        }
    }
}

/// Words too short for typos.
const SHORT: [&str; 7] = ["abc", "abd", "ab", "x", "xy", "q1", "zed"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_query_finds_what_has_all_its_words_and_nothing_else(
        entities in prop::collection::vec((prop::collection::vec(0usize..7, 1..4), prop::collection::vec(0usize..7, 0..4)), 1..300),
        queries in prop::collection::vec((prop::collection::vec(0usize..7, 1..5), any::<bool>()), 1..20),
        split in 1usize..4,
    ) {
        let mut catalogue = TestCatalogue::new(Deletion::Delete);
        let texts = |words: &[usize]| words.iter().map(|n| SHORT[*n]).collect::<Vec<_>>().join(" ");
        let name = |n: usize, words: &[usize]| format!("{}.n{n:03}", texts(words).replace(' ', "."));
        // Several operations, each indexed on its own, make several segments.
        for part in 0..split {
            let part = entities.iter().enumerate().filter(|(n, _)| n % split == part);
            let changes = part.map(|(n, (words, text))| {
                create("t", &name(n, words), &format!(r#"{{"text":"{}"}}"#, texts(text)))
            });
            catalogue.apply(changes.collect());
            catalogue.get().index_now().unwrap();
        }
        for (words, in_name) in queries {
            let (last, first) = words.split_last().unwrap();
            let expected = entities.iter().enumerate().filter(|(_, (of_name, text))| {
                let all: Vec<&str> = if in_name { of_name.iter().map(|n| SHORT[*n]).collect() } else {
                    of_name.iter().chain(text).map(|n| SHORT[*n]).collect()
                };
                // Parts as wholes, and what they are made of.
                let has = |word: &str| all.contains(&word);
                let begun = |word: &str| all.iter().any(|have| have.starts_with(word));
                first.iter().all(|n| has(SHORT[*n])) && begun(SHORT[*last])
            });
            let expected: BTreeSet<String> = expected.map(|(n, (words, _))| name(n, words)).collect();
            let text = words.iter().map(|n| format!("{}{}", if in_name { "name:" } else { "" }, SHORT[*n]));
            let text = text.collect::<Vec<_>>().join(" ");
            let mut found = BTreeSet::new();
            for offset in [0, 100, 200] {
                let query = FindQuery { text: text.clone(), offset, limit: 100, ..FindQuery::default() };
                let page = catalogue.get().find(&query).unwrap();
                prop_assert_eq!(page.total, expected.len() as u64, "{}", text);
                found.extend(page.items.into_iter().map(|hit| hit.key.qualified_name));
            }
            prop_assert_eq!(&found, &expected, "{}", text);
        }
    }
}

#[test]
fn what_the_service_publishes_is_found() {
    let mut world = World::new();
    let service = Service::start(world.shared()).unwrap();
    let id = world.deliver(&TestBatch::full("alpha", 1).with([says(entity("a"), 1)])).unwrap();
    let query = FindQuery { text: "a".into(), ..FindQuery::default() };
    let mut page = FindPage::default();
    for _ in 0..3_000 {
        page = world.engine().find(None, &query).unwrap();
        if page.total == 1 && page.behind == 0 {
            break;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
    assert_eq!(page.items.len(), 1, "{page:?}");
    assert_eq!(world.batch(&id).status, PublishStatus::Complete);
    service.stop();
    service.wait().unwrap();
    // And without the service.
    world.restart();
    world.publish(&TestBatch::full("alpha", 2).with([says(entity("a"), 1), says(entity("b"), 1)]));
    assert_eq!(world.engine().find(None, &FindQuery::default()).unwrap().total, 2);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_text_and_no_name_makes_search_fail(
        name in "\\PC{1,40}",
        value in "\\PC{0,80}",
        texts in prop::collection::vec("\\PC{0,30}|[a:\"*. ()]{0,12}", 1..4),
    ) {
        let mut catalogue = TestCatalogue::new(Deletion::Delete);
        let json = serde_json::json!({ "v": value, "w": [{ "x": name }] });
        let mut canonical = Vec::new();
        tidegate::domain::json::canonicalize(json.to_string().as_bytes(), &mut canonical).unwrap();
        catalogue.create(&[("t", &name, std::str::from_utf8(&canonical).unwrap())]);
        catalogue.get().index_now().unwrap();
        for text in texts.iter().chain([&name, &value]) {
            let query = FindQuery { text: text.clone(), ..FindQuery::default() };
            let page = catalogue.get().find(&query).unwrap();
            for matched in page.items.iter().flat_map(|hit| &hit.matched) {
                for range in &matched.ranges {
                    prop_assert!(matched.text.get(range.from..range.to).is_some_and(|met| !met.is_empty()));
                }
            }
        }
        // A name finds what is called so.
        let query = FindQuery { text: name.clone(), ..FindQuery::default() };
        if !name.trim().is_empty() && name.trim() == name {
            prop_assert_eq!(catalogue.get().find(&query).unwrap().total, 1);
        }
    }
}
