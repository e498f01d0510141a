//! Plans as text: what changed is seen, however long the values are, and all
//! of it with `--full`.

mod support;

use serde_json::{Value, json};
use support::batches::{Line, TestBatch, edge, entity, says};
use support::shell::Shell;

/// Lines `L0`, `L1`, …, some of them changed.
fn text(lines: usize, changed: &[usize]) -> String {
    let line = |n| format!("L{n}{}", if changed.contains(&n) { "!" } else { "" });
    (0..lines).map(line).collect::<Vec<_>>().join("\n")
}

fn with(name: &str, attributes: Value) -> Line {
    let Value::Object(attributes) = attributes else { panic!("{attributes}") };
    Line::Value(entity(name), attributes.into_iter().collect(), 0)
}

/// Publishes entities with these attributes, and hands out the plan of others,
/// as it is and with `--full`.
fn plans(shell: &Shell, before: Vec<Line>, after: Vec<Line>) -> [String; 2] {
    shell.expect(0, &["publish", &shell.write(&TestBatch::full("alpha", 1).with(before))]);
    let folder = shell.write(&TestBatch::full("alpha", 2).with(after));
    [shell.expect(2, &["plan", &folder]), shell.expect(2, &["plan", &folder, "--full"])]
}

/// The plan of one attribute's change.
fn plan_of(before: Value, after: Value) -> [String; 2] {
    let one = |value| vec![with("a", json!({"d": value}))];
    plans(&Shell::new(), one(before), one(after))
}

fn longest(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap()
}

#[test]
fn long_text_is_shown_around_what_changed() {
    let [cut, full] = plan_of(text(60, &[]).into(), text(60, &[30]).into());
    let expected = "~ t a
      d:
          … 27 lines unchanged
          L27
          L28
          L29
        - L30
        + L30!
          L31
          L32
          L33
          … 26 lines unchanged
";
    assert!(cut.contains(expected), "{cut}");
    for line in ["          L0\n", "        - L30\n        + L30!\n", "          L59\n"] {
        assert!(full.contains(line), "{full}");
    }
    assert!(!full.contains('…'), "{full}");
    // Several places, the first and the last line among them.
    let [cut, _] = plan_of(text(60, &[]).into(), text(60, &[0, 15, 30, 59]).into());
    for n in [0, 15] {
        assert!(cut.contains(&format!("        - L{n}\n        + L{n}!\n")), "{cut}");
    }
    assert!(
        cut.contains("… 8 lines unchanged\n") && cut.contains("more lines; --full shows them\n"),
        "{cut}"
    );
}

#[test]
fn text_that_is_replaced_is_shown_of_both_sides_and_cut() {
    let all: Vec<usize> = (0..60).collect();
    let [cut, full] = plan_of(text(60, &[]).into(), text(60, &all).into());
    assert!(cut.contains("- L0\n") && cut.contains("+ L0!\n"), "{cut}");
    assert!(cut.contains("          … and 100 more lines; --full shows them\n"), "{cut}");
    assert_eq!(cut.lines().filter(|line| line.trim_start().starts_with(['-', '+'])).count(), 20, "{cut}");
    assert_eq!(full.matches("!\n").count(), 60);
    assert!(!full.contains("more lines"), "{full}");
}

#[test]
fn a_line_feed_at_the_end_is_a_difference_that_is_seen() {
    let [cut, _] = plan_of("a\nb".into(), "a\nb\n".into());
    assert!(cut.contains("      d:\n          a\n          b\n        + \n"), "{cut}");
}

#[test]
fn a_group_has_the_same_difference_once() {
    let all = |d: String| (0..4).map(|n| with(&format!("z{n}"), json!({"d": d, "o": d.len()}))).collect();
    let [cut, full] = plans(&Shell::new(), all(text(60, &[])), all(text(60, &[40])));
    let expected = "~ d, o on 4 t
      t z0
      t z1
      t z2
      … and 1 more; --full shows them
      d:
          … 37 lines unchanged
          L37
          L38
          L39
        - L40
        + L40!
          L41
          L42
          L43
          … 16 lines unchanged
      o: ";
    assert!(cut.contains(expected), "{cut}");
    assert_eq!(cut.matches("L40!").count(), 1);
    assert_eq!(full.matches("+ L40!\n").count(), 4);
}

#[test]
fn groups_of_short_values_stay_on_one_line() {
    let all = |x: i32| (0..3).map(|n| with(&format!("z{n}"), json!({"x": x, "y": [x]}))).collect();
    let [cut, _] = plans(&Shell::new(), all(1), all(2));
    assert!(cut.contains("~ x 1 → 2, y [1] → [2] on 3 t\n      t z0\n"), "{cut}");
}

#[test]
fn long_json_is_shown_by_its_lines() {
    let big: Vec<u32> = (0..400).collect();
    let [cut, full] = plan_of(json!({"big": big, "z": 1}), json!({"big": big, "z": 2}));
    assert!(cut.contains("… 400 lines unchanged\n"), "{cut}");
    assert!(cut.contains("        -   \"z\": 1\n        +   \"z\": 2\n"), "{cut}");
    assert!(full.contains("    0,\n") && full.contains("    399\n") && !full.contains('…'), "{full}");
    let mut other = big.clone();
    other[299] = 7;
    let [cut, full] = plan_of(json!(big), json!(other));
    assert!(cut.contains("        -   299,\n        +   7,\n"), "{cut}");
    assert!(full.contains("        -   299,\n        +   7,\n"), "{full}");
    // Three alike are told the same way.
    let all = |list: &Vec<u32>| (0..3).map(|n| with(&format!("z{n}"), json!({"o": list}))).collect();
    let [cut, _] = plans(&Shell::new(), all(&big), all(&other));
    assert!(cut.contains("~ o on 3 t\n") && cut.contains("        -   299,\n        +   7,\n"), "{cut}");
    assert!(cut.lines().count() < 40, "{cut}");
    // Short JSON stays beside what it becomes.
    let [cut, _] = plan_of(json!({"z": [1]}), json!({"z": [2]}));
    assert!(cut.contains("      d: {\"z\":[1]} → {\"z\":[2]}\n"), "{cut}");
}

#[test]
fn one_long_line_is_cut_around_the_first_difference() {
    let (old, new) = ("word ".repeat(2_000), "word ".repeat(1_999) + "end");
    let [cut, full] = plan_of(old.as_str().into(), new.as_str().into());
    assert!(cut.contains("rd word word word word \" → …"), "{cut}");
    assert!(cut.contains("rd word word word end\"\n") && longest(&cut) < 200, "{cut}");
    assert!(full.contains(&format!("      d: \"{old}\" → \"{new}\"\n")), "{full}");
    // One that becomes something else altogether, at its beginning.
    let [cut, _] = plan_of(old.as_str().into(), json!(["a"]));
    assert!(cut.contains("      d: \"word word") && cut.contains("… → [\"a\"]\n"), "{cut}");
    assert!(longest(&cut) < 200, "{cut}");
    // A long line among others.
    let [cut, full] = plan_of(format!("a\n{old}").into(), format!("a\n{new}").into());
    assert!(cut.contains("        - …") && cut.contains("word end\n") && longest(&cut) < 200, "{cut}");
    assert!(full.contains(&format!("        + {new}\n")), "{full}");
}

#[test]
fn full_shows_what_is_created_and_what_is_removed() {
    let long = text(60, &[]);
    let line = "word ".repeat(100);
    let before = vec![with("a", json!({"d": long, "w": line, "x": 1})), with("b", json!({}))];
    let after =
        vec![with("a", json!({"x": 1})), with("b", json!({})), with("n", json!({"d": long, "w": line}))];
    let [cut, full] = plans(&Shell::new(), before, after);
    assert!(full.contains("+ t n\n      d =\n          L0\n          L1\n"), "{full}");
    assert!(full.contains(&format!("          L59\n      w = \"{line}\"\n")), "{full}");
    assert!(full.contains("      d: → (none)\n        - L0\n") && full.contains("        - L59\n"), "{full}");
    assert!(full.contains(&format!("      w: \"{line}\" → (none)\n")), "{full}");
    assert!(longest(&cut) < 200 && cut.lines().count() < 50, "{cut}");
    assert!(cut.contains("        - L19\n          … and 40 more lines; --full shows them\n"), "{cut}");
    assert!(cut.contains("      d = \"L0\\nL1\\n"), "{cut}");
}

#[test]
fn values_can_not_pretend_to_be_lines_of_the_plan() {
    let [cut, full] = plan_of("a\u{1b}[31m\nb".into(), "a\u{202e}\nb\r".into());
    for shown in [cut, full] {
        assert!(shown.contains("- a\\u{1b}[31m\n") && shown.contains("+ a\\u{202e}\n"), "{shown}");
        assert!(shown.contains("+ b\\u{d}\n"), "{shown}");
    }
}

#[test]
fn a_difference_of_snapshots_is_cut_as_a_plan_is() {
    let shell = Shell::new();
    for (time, last, x) in [(1, "word", 1), (2, "end", 2)] {
        let list = json!([vec![0; 5_000], vec![x]].concat());
        let lines =
            [with("a", json!({"w": "word ".repeat(2_000) + last, "o": list})), with("b", json!({"x": x}))];
        shell.expect(0, &["publish", &shell.write(&TestBatch::full("alpha", time).with(lines))]);
    }
    let list = shell.json(0, &["snapshots", "list"]);
    let [newer, older] = [0, 1].map(|n| list["items"][n]["snapshot_id"].as_str().unwrap().to_owned());
    let shown = shell.expect(0, &["snapshots", "diff", &older, &newer]);
    assert!(shown.contains("~ entity t a\n      o:\n          … 4,998 lines unchanged\n"), "{shown}");
    assert!(shown.contains("        -   1\n        +   2\n") && shown.contains(" end\"\n"), "{shown}");
    assert!(shown.contains("~ entity t b  {\"x\":1} → {\"x\":2}\n"), "{shown}");
    assert!(longest(&shown) < 200, "{shown}");
}

#[test]
fn an_entity_has_its_text_on_lines_of_their_own() {
    let shell = Shell::new();
    let value = "first\n\tsecond\u{1b}[31m\u{202e}\nversion 9";
    let batch = TestBatch::full("alpha", 1).with([with("a", json!({"d": value, "x": "y"}))]);
    shell.expect(0, &["publish", &shell.write(&batch)]);
    let shown = shell.expect(0, &["catalogue", "get", "t", "a"]);
    let expected = "t a\n  d =\n      first\n      \tsecond\\u{1b}[31m\\u{202e}\n      version 9\n  x = y\n\nversion 1\n";
    assert!(shown.starts_with(expected), "{shown}");
}

#[test]
fn one_of_a_thing_is_named_as_one() {
    let shell = Shell::new();
    let waits = support::batches::says(support::batches::edge("a", "nowhere"), 1);
    let batch = TestBatch::full("alpha", 1).with([with("a", json!({})), waits]);
    let folder = shell.write(&batch);
    let plan = shell.expect(2, &["plan", &folder]);
    assert!(plan.contains(", 1 relationship waiting for an end.\n"), "{plan}");
    shell.expect(0, &["publish", &folder]);
    let source = shell.expect(0, &["sources", "show", "alpha"]);
    assert!(source.contains(" 1 entity, "), "{source}");
}

#[test]
fn bad_lines_are_told_with_their_places() {
    let shell = Shell::new();
    shell.settings("[sources.alpha.isolation]\ncount = 100\n");
    let bad = |count: usize| (0..count).map(|n| Line::BadKeyed(entity(&format!("b{n}"))));
    let batch = TestBatch::incremental("alpha", 1).with([with("a", json!({}))]).with(bad(2));
    let plan = shell.expect(2, &["plan", &shell.write(&batch)]);
    let told = |plan: &str| -> Vec<String> {
        let lines = plan.lines().map(str::to_owned);
        lines
            .skip_while(|line| line != "lines that become dead letters:")
            .skip(1)
            .take_while(|l| !l.is_empty())
            .collect()
    };
    let found = told(&plan);
    assert_eq!(found.len(), 2, "{plan}");
    assert!(found[0].starts_with("  entities-00000.ndjson:2: attributes "), "{plan}");
    assert!(found[1].starts_with("  entities-00000.ndjson:3: attributes "), "{plan}");
    // Many are cut.
    let batch = TestBatch::incremental("alpha", 2).with([with("a", json!({}))]).with(bad(12));
    let folder = shell.write(&batch);
    let found = told(&shell.expect(2, &["plan", &folder]));
    assert_eq!(found.len(), 11, "{found:?}");
    assert_eq!(found[10], "  … and 2 more; `tidegate batches check` shows them");
    let json: Value = serde_json::from_str(&shell.expect(2, &["plan", &folder, "--json"])).unwrap();
    assert_eq!(
        (json["bad_line_count"].as_u64(), json["bad_lines"][9]["line"].as_u64()),
        (Some(12), Some(11))
    );
    assert_eq!(told(&shell.expect(2, &["plan", &folder, "--summary"])).len(), 11);
}

#[test]
fn relationships_that_begin_to_wait_are_no_deletions() {
    let shell = Shell::new();
    let names = ["a", "b", "c", "d", "z"];
    let edges = |to: &'static str| ["a", "b", "c", "d"].map(|from| says(edge(from, to), 1));
    let before = TestBatch::full("alpha", 1)
        .with(names.map(|name| says(entity(name), 1)))
        .with(edges("z"))
        .with([says(edge("a", "b"), 1)]);
    shell.expect(0, &["publish", &shell.write(&before)]);
    // An end of four goes, and the batch takes back one whose ends stay.
    let next =
        TestBatch::incremental("alpha", 2).with([Line::Deleted(entity("z")), Line::Deleted(edge("a", "b"))]);
    let folder = shell.write(&next);
    let plan = shell.expect(2, &["plan", &folder]);
    assert!(plan.contains("- 4 r (waits for an end)\n      r a → z\n"), "{plan}");
    let table: Vec<Vec<&str>> = plan
        .lines()
        .skip_while(|line| !line.starts_with("TYPE"))
        .take_while(|line| !line.is_empty())
        .map(|line| line.split_whitespace().collect())
        .collect();
    let expected = [
        vec!["TYPE", "CREATE", "UPDATE", "DELETE", "WAIT"],
        vec!["t", "+0", "~0", "-1", "0"],
        vec!["r", "+0", "~0", "-1", "4"],
    ];
    assert_eq!(table, expected, "{plan}");
    assert!(plan.contains("2 to delete"), "{plan}");
    assert!(plan.contains("4 relationships waiting for an end"), "{plan}");
    let full = shell.expect(2, &["plan", &folder, "--full"]);
    assert_eq!(full.matches(" → z (waits for an end)\n").count(), 4, "{full}");
    let json: Value = serde_json::from_str(&shell.expect(2, &["--json", "plan", &folder])).unwrap();
    let changes = json["changes"].as_array().unwrap();
    let moved = changes.iter().filter(|change| change["moved"] == true && change["action"] == "delete");
    assert_eq!((changes.len(), moved.count()), (6, 4));
}

#[test]
fn updates_that_differ_in_volatile_attributes_alone_are_one_group() {
    let shell = Shell::new();
    shell.settings("[sources.alpha]\nvolatile = [\"stamp\", \"profile.*\"]\n[sources.alpha.guards]\nupdate_ratio = 1.0\n");
    let line = |n: i64, owner: &str, stamp: i64| {
        let value = json!({"owner": owner, "stamp": stamp + n, "profile": {"rows": stamp * n}});
        with(&format!("c{n}"), value)
    };
    let batch = |time, owner: &'static str, stamp| {
        TestBatch::full("alpha", time).with((0..20).map(move |n| line(n, owner, stamp)))
    };
    shell.expect(0, &["publish", &shell.write(&batch(1, "ann", 100))]);
    let folder = shell.write(&batch(2, "ben", 200));
    let plan = shell.expect(2, &["plan", &folder]);
    assert!(plan.contains("~ owner \"ann\" → \"ben\" on 20 t\n") && plan.contains("20 to update"), "{plan}");
    let changes = plan.split("TYPE").next().unwrap();
    assert!(!changes.contains("stamp") && !changes.contains("profile"), "{plan}");
    // What is sent is all of it.
    shell.expect(0, &["publish", &folder]);
    assert!(shell.expect(0, &["catalogue", "export"]).contains("\"stamp\":205"));
}

#[test]
fn updated_attributes_are_counted_and_it_is_told_how_many_are_left_out() {
    let of = |x: i64| {
        let all = (0..15).map(|n| (format!("a{n:02}"), json!(if n < 14 { x } else { 0 })));
        with("a", Value::Object(all.collect()))
    };
    let other = |x: i64| with("b", json!({ "a03": x }));
    let [cut, full] = plans(&Shell::new(), vec![of(1), other(1)], vec![of(2), other(2)]);
    let counted = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("Updated attributes: ")).unwrap();
        (
            line.contains("a03 2, a00 1, a01 1"),
            line.split(", ").count(),
            line.ends_with(" … and 2 more; --full shows them"),
        )
    };
    assert_eq!(counted(&cut), (true, 12, true), "{cut}");
    assert_eq!(counted(&full), (true, 14, false), "{full}");
}
