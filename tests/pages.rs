//! The pages, as a browser gets them from a real server: they answer, nothing
//! of a value is HTML, every link leads somewhere, nothing comes from
//! elsewhere.

mod support;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use serde_json::json;
use support::batches::{Line, TestBatch, entity, says, value};
use tidegate::clock::{Clock, ManualClock, SystemClock};
use tidegate::config::{LoadOptions, Settings};
use tidegate::domain::key::{EntityKey, Key, RelationshipKey};
use tidegate::service::Engine;
use tidegate::service::issues::Declared;
use tidegate::service::query::Times;
use tidegate::store::{DeadLetter, DeadLetterState};

/// A server on a data directory of its own.
struct Server {
    url: String,
    engine: Arc<Engine>,
    client: reqwest::blocking::Client,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    data: tempfile::TempDir,
}

impl Server {
    fn new(engine: Engine, data: tempfile::TempDir) -> Self {
        let engine = Arc::new(engine);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (bound, address) = std::sync::mpsc::channel();
        let served = Arc::clone(&engine);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                bound.send(listener.local_addr().unwrap()).unwrap();
                let shutdown = async {
                    let _ = stopped.await;
                };
                tidegate::web::serve(served, listener, shutdown).await.unwrap();
            });
        });
        let address = address.recv().unwrap();
        let client =
            reqwest::blocking::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self {
            url: format!("http://{address}"),
            engine,
            client,
            stop: Some(stop),
            thread: Some(thread),
            data,
        }
    }

    /// One on a data directory with test batches.
    fn with(batches: &[TestBatch]) -> Self {
        let data = support::folder();
        let clock = Arc::new(ManualClock::new("2026-11-24T00:00:00Z".parse().unwrap(), 7)) as Arc<dyn Clock>;
        let engine = Engine::open(data.path(), Settings::defaults(data.path()), clock).unwrap();
        for batch in batches {
            engine.accept(&batch.write(&data.path().join("delivered"))).unwrap();
            engine.run_until_idle().unwrap();
        }
        Self::new(engine, data)
    }

    /// One on the demo company, the parked plan still parked.
    fn of_the_demo() -> Self {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data/demo");
        let data = support::folder();
        std::fs::copy(root.join("tidegate.toml"), data.path().join("tidegate.toml")).unwrap();
        let options = LoadOptions { data: Some(data.path().into()), file: None, environment: [].into() };
        let clock = Arc::new(SystemClock::default());
        let engine = Engine::open(data.path(), Settings::load(&options).unwrap(), clock).unwrap();
        let story: Vec<serde_json::Value> =
            serde_json::from_slice(&std::fs::read(root.join("story.json")).unwrap()).unwrap();
        for step in &story {
            let folder = root.join("batches").join(step["batch"].as_str().unwrap());
            engine.accept(&folder).unwrap();
            engine.run_until_idle().unwrap();
            if step["expect"] == "parked-then-rejected" {
                break;
            }
        }
        let inbox = data.path().join("inbox/warehouse/20261107T010000Z_run-0007");
        std::fs::create_dir_all(&inbox).unwrap();
        std::fs::write(inbox.join("entities-00000.ndjson"), "").unwrap();
        Self::new(engine, data)
    }

    fn get(&self, path: &str) -> Answer {
        let request = self.client.get(format!("{}{path}", self.url)).header("accept", "text/html");
        let answer = request.send().unwrap();
        let header = |name: &str| {
            answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        Answer {
            status: answer.status().as_u16(),
            policy: header("content-security-policy"),
            media_type: header("content-type"),
            caching: header("cache-control"),
            text: answer.text().unwrap(),
        }
    }

    /// Every page that a link leads to from `/`, with what it answers.
    fn crawl(&self, most: usize) -> Vec<(String, Answer)> {
        let start = ["/", "/status", "/why"].map(str::to_owned);
        let mut seen: BTreeSet<String> = start.clone().into();
        let mut queue: VecDeque<String> = start.into();
        let mut pages = Vec::new();
        while let Some(path) = queue.pop_front() {
            if pages.len() == most {
                break;
            }
            let answer = self.get(&path);
            if answer.media_type.starts_with("text/html") {
                for link in links(&answer.text) {
                    assert!(link.starts_with('/') || link.starts_with('#'), "{path} leads elsewhere: {link}");
                    let link = link.split('#').next().unwrap().to_owned();
                    if !link.is_empty() && seen.insert(link.clone()) {
                        queue.push_back(link);
                    }
                }
            }
            pages.push((path, answer));
        }
        pages
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
        self.thread.take().unwrap().join().unwrap();
    }
}

struct Answer {
    status: u16,
    policy: String,
    media_type: String,
    caching: String,
    text: String,
}

impl Answer {
    #[track_caller]
    fn expect(self, status: u16, words: &[&str]) -> String {
        assert_eq!(self.status, status, "{}", self.text);
        for word in words {
            assert!(self.text.contains(word), "{word:?} is missing in\n{}", self.text);
        }
        self.text
    }
}

/// Values of an attribute, unescaped.
fn values(html: &str, attribute: &str) -> Vec<String> {
    let needle = format!(" {attribute}=\"");
    let found = html.match_indices(&needle).map(|(at, needle)| {
        let rest = &html[at + needle.len()..];
        rest[..rest.find('"').unwrap()].to_owned()
    });
    found.map(|value| value.replace("&#38;", "&").replace("&amp;", "&").replace("&#39;", "'")).collect()
}

fn links(html: &str) -> Vec<String> {
    let mut found = values(html, "href");
    found.extend(values(html, "src"));
    found.extend(values(html, "action"));
    found
}

/// Levels of the headings, in order.
fn headings(html: &str) -> Vec<u32> {
    let levels = html.match_indices("<h").filter_map(|(at, _)| html[at + 2..].chars().next()?.to_digit(10));
    levels.filter(|level| (1..=6).contains(level)).collect()
}

const NASTY: [&str; 5] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'; </title></svg><b>bold</b> &amp; {{7*7}}",
    "a\u{202e}gpj.exe\u{2066}\u{200b}",
    "javascript:alert(1)//%00%2e%2e/?a=b&c=d#e",
];

fn nasty_key(n: usize) -> EntityKey {
    EntityKey::new(format!("t{n}{}", NASTY[n]), format!("n{n}{}", NASTY[n]))
}

fn many(name: &str) -> Key {
    Key::Entity(EntityKey::new("many", name))
}

/// Batches with hostile names, values, labels and workflows, a plan that a
/// guard parks, and a batch that fails.
fn nasty() -> Vec<TestBatch> {
    let mut lines = Vec::new();
    for (n, nasty) in NASTY.iter().enumerate() {
        let key = nasty_key(n);
        let attributes = [
            ((*nasty).to_owned(), json!(*nasty)),
            ("long".to_owned(), json!(format!("{nasty}\n").repeat(20))),
            ("deep".to_owned(), json!({ *nasty: [*nasty, { *nasty: *nasty }] })),
        ];
        lines.push(Line::Value(Key::Entity(key.clone()), attributes.into(), 0));
        let relationship = RelationshipKey {
            type_name: format!("lineage {nasty}"),
            from: key,
            to: nasty_key((n + 1) % NASTY.len()),
            label: (*nasty).to_owned(),
        };
        lines.push(Line::Value(
            Key::Relationship(relationship),
            [((*nasty).to_owned(), json!(*nasty))].into(),
            0,
        ));
    }
    let long = EntityKey::new("long", "<i>é".repeat(2_500));
    lines.push(Line::Value(Key::Entity(long), [("x".to_owned(), json!("<u>".repeat(10_000)))].into(), 0));
    for n in 0..40 {
        lines.push(says(many(&format!("<b>{n}</b>")), n));
    }
    let mut first = TestBatch::full("alpha", 1).with(lines.clone());
    first.workflow = NASTY[1].to_owned();
    let changed = lines.iter().map(|line| match line {
        Line::Value(key, attributes, style) => {
            let mut attributes = attributes.clone();
            attributes.insert("changed <by> it".to_owned(), json!(NASTY[0]));
            Line::Value(key.clone(), attributes, *style)
        }
        other => other.clone(),
    });
    let second = TestBatch::incremental("alpha", 2).with(changed);
    let parked = TestBatch::full("alpha", 3).with([says(many("<b>0</b>"), 0)]);
    let bad = TestBatch::incremental("beta", 1).with([
        Line::BadKeyed(Key::Entity(nasty_key(0))),
        Line::Value(Key::Entity(nasty_key(1)), value(&[("x", 1)]), 0),
    ]);
    vec![first, second, parked, bad]
}

#[test]
fn every_page_answers_under_its_heading() {
    let server = Server::of_the_demo();
    let parked = "warehouse:20261106T010000Z_run-0005";
    let table = "/catalogue/entity?type=dbt_model&name=halden_analytics.mart_revenue_daily";
    let why = "/why?type=dbt_model&name=halden_analytics.mart_revenue_daily";
    for (path, words) in [
        ("/", &["<h1>Overview</h1>", "Needs a person", parked, "Last results"][..]),
        ("/batches", &["<h1>Batches</h1>", "Parked", "Complete in part"]),
        ("/batches?source=dbt&status=COMPLETE&order=oldest", &["dbt:20261102T020000Z_run-0001"]),
        (&format!("/batches/{parked}"), &["Parked: a person decides", "Approve", "Timeline", "Plan"]),
        ("/queue", &["<h1>Queue</h1>", parked, "importance"]),
        ("/dlq", &["<h1>Dead letters</h1>", "By reason", "LINE_INVALID", "Requeue all open ones"]),
        ("/dlq?state=all&name=*&kind=entity", &["LINE_INVALID"]),
        ("/dlq/1", &["What to do", "Attempts and actions", "Original", "Edit the line", "Discard"]),
        ("/sources", &["<h1>Sources</h1>", "warehouse", "dbt"]),
        ("/sources/warehouse", &["Settings in force", "sources.warehouse.importance", "Newest snapshots"]),
        ("/inbox", &["<h1>Inboxes</h1>", "20261107T010000Z_run-0007"]),
        ("/catalogue?q=revenue", &["<h1>Catalogue</h1>", "mart_revenue_daily"]),
        (table, &["Attributes", "Lineage", "Relationships", "History", "<svg", "upstream"]),
        (why, &["Who won each attribute", "What each source says", "dbt"]),
        ("/why", &["Why does it look like that?"]),
        ("/status", &["<h1>Data status</h1>", "warehouse"]),
    ] {
        let answer = server.get(path);
        assert_eq!(answer.media_type, "text/html; charset=utf-8", "{path}");
        answer.expect(200, words);
    }
}

#[test]
fn every_link_from_the_overview_on_leads_somewhere() {
    let server = Server::of_the_demo();
    let pages = server.crawl(500);
    let wrong: Vec<_> =
        pages.iter().filter(|(_, answer)| answer.status != 200).map(|(path, a)| (path, a.status)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let paths: Vec<&str> = pages.iter().map(|(path, _)| path.split(['?', '#']).next().unwrap()).collect();
    for path in ["/catalogue/entity", "/why", "/queue", "/inbox", "/sources/bi", "/status"] {
        assert!(paths.contains(&path), "no link leads to {path}");
    }
    assert!(paths.iter().any(|path| path.starts_with("/snapshots/")));
}

#[test]
fn nothing_of_a_value_is_html_on_any_page() {
    let server = Server::with(&nasty());
    let pages = server.crawl(400);
    assert!(pages.len() > 60, "only {} pages", pages.len());
    for (path, answer) in pages.iter().filter(|(_, answer)| answer.media_type.starts_with("text/html")) {
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        for raw in [
            "<script>",
            "<img",
            "onerror=alert(1)>",
            "<b>",
            "<i>",
            "<u>",
            "</svg><b",
            "<by>",
            "href=\"javascript",
            "href='",
        ] {
            assert!(!answer.text.contains(raw), "{path} has {raw:?}");
        }
        // What a field holds is sent back as it is; everywhere else a mark is shown.
        let mut read = answer.text.clone();
        for field in values(&answer.text, "value") {
            read = read.replace(&format!(" value=\"{field}\""), "");
        }
        for mark in ["\u{202e}", "\u{2066}", "\u{200b}"] {
            assert!(!read.contains(mark), "{path} has {mark:?}");
        }
    }
    let parked = server.get("/batches/alpha:20261101T000300Z_r3").expect(200, &["Parked", "\\u{202e}"]);
    assert!(parked.contains("&lt;script&gt;"));
}

#[test]
fn long_names_are_cut_and_stay_reachable() {
    let server = Server::with(&nasty());
    let name = "<i>é".repeat(2_500);
    let escaped = name.replace('<', "&lt;").replace('>', "&gt;");
    let list = server.get("/catalogue?type=long").expect(200, &["&lt;i&gt;é"]);
    assert!(!list.contains(&escaped), "a list shows 10,000 characters of one name");
    let link = links(&list).into_iter().find(|link| link.starts_with("/catalogue/entity?type=long")).unwrap();
    server.get(&link).expect(200, &[&escaped]);
}

#[test]
fn pages_keep_to_a_strict_policy_and_load_nothing_from_elsewhere() {
    let server = Server::of_the_demo();
    for (path, answer) in server.crawl(120) {
        let policy = &answer.policy;
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        if !answer.media_type.starts_with("text/html") {
            continue;
        }
        let html = &answer.text;
        assert_eq!(html.matches("<script").count(), html.matches("<script src=\"/static/").count(), "{path}");
        for inline in ["<style", " style=\"", " onclick=", " onload=", " onsubmit=", "javascript:", "//cdn"] {
            assert!(!html.contains(inline), "{path} has {inline}");
        }
        for link in links(html) {
            assert!(
                link.starts_with('/') && !link.starts_with("//") || link.starts_with('#'),
                "{path}: {link}"
            );
        }
    }
}

#[test]
fn assets_are_kept_by_their_content() {
    let server = Server::with(&[]);
    let page = server.get("/").expect(200, &[]);
    let assets: Vec<String> = links(&page).into_iter().filter(|link| link.starts_with("/static/")).collect();
    assert_eq!(assets.len(), 3, "{assets:?}");
    for asset in &assets {
        let answer = server.get(asset);
        assert_eq!(answer.status, 200);
        assert!(answer.caching.contains("immutable"), "{asset}: {}", answer.caching);
        assert!(!answer.text.replace("http://www.w3.org/2000/svg", "").contains("://"), "{asset}");
    }
    server.get("/static/tidegate.0000000000000000.css").expect(404, &[]);
}

#[test]
fn a_page_can_be_read_by_its_structure() {
    let server = Server::of_the_demo();
    for (path, answer) in
        server.crawl(60).iter().filter(|(_, answer)| answer.media_type.starts_with("text/html"))
    {
        let html = &answer.text;
        let levels = headings(html);
        assert_eq!(levels.first(), Some(&1), "{path}: {levels:?}");
        assert_eq!(levels.iter().filter(|level| **level == 1).count(), 1, "{path}");
        assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{path} skips a level: {levels:?}");
        for part in ["<html lang=\"en\"", "<main id=\"main\"", "<title>", "name=\"viewport\""] {
            assert!(html.contains(part), "{path} has no {part}");
        }
        let ids = values(html, "id");
        let unique: BTreeSet<&String> = ids.iter().collect();
        assert_eq!(ids.len(), unique.len(), "{path} has an id twice");
        for label in values(html, "aria-labelledby") {
            assert!(ids.contains(&label), "{path}: nothing has the id {label}");
        }
    }
}

#[test]
fn empty_pages_say_what_to_do_next() {
    let server = Server::with(&[]);
    for (path, words) in [
        ("/", "tidegate publish"),
        ("/batches", "tidegate batches write"),
        ("/sources", "tidegate publish"),
        ("/catalogue", "tidegate publish"),
        ("/queue", "The queue is empty."),
        ("/dlq", "There are no open dead letters."),
        ("/status", "Nothing has been published yet."),
        ("/catalogue?q=nothing", "Nothing fits."),
    ] {
        server.get(path).expect(200, &[words]);
    }
}

#[test]
fn wrong_addresses_are_explained() {
    let server = Server::with(&[]);
    for (path, status, words) in [
        ("/nowhere", 404, "Check the address"),
        ("/batches/rubbish", 404, "batch id"),
        ("/batches/alpha:20261124T010000Z_r", 404, "What to do"),
        ("/sources/nobody", 404, "What to do"),
        ("/dlq/1", 404, "What to do"),
        ("/dlq/one", 404, "such as 12"),
        ("/batches/xxx", 404, "such as warehouse:20261124T010000Z_run-1"),
        ("/snapshots/z%20z", 404, "1 to 63 characters"),
        ("/dlq?since=soon", 400, "2026-11-24T01:00"),
        ("/dlq?cursor=zz", 400, "next_cursor"),
        ("/catalogue?q=a&cursor=zz", 400, "whole number"),
        ("/catalogue/entity?type=t&name=n&before=x", 404, "catalogue"),
        ("/dlq?state=lost", 400, "discarded"),
        ("/dlq?batch=%3Cb%3E", 400, "batch"),
        ("/sources/%3Cb%3E", 404, "&lt;b&gt;"),
        ("/snapshots/none", 404, "What to do"),
        ("/batches?status=FINISHED", 400, "COMPLETE"),
        ("/batches?source=%20%21", 400, "source"),
        ("/batches?since=yesterday", 400, "2026-11-24T01:00"),
        ("/batches?cursor=zz", 400, "cursor"),
        ("/queue?cursor=%00", 400, "cursor"),
        ("/catalogue/entity", 400, "type"),
        ("/catalogue/entity?type=t&name=n", 404, "catalogue"),
    ] {
        let page = server.get(path).expect(status, &[words, "<h1>"]);
        assert!(!page.contains("<b>"), "{path}");
    }
    let problem = server.client.get(format!("{}/nowhere", server.url)).send().unwrap();
    assert_eq!(problem.status(), 404);
    assert_eq!(problem.headers()["content-type"], "application/problem+json");
}

#[test]
fn a_page_brings_itself_up_to_date_with_its_live_part_alone() {
    let server = Server::of_the_demo();
    let parked = "/batches/warehouse:20261106T010000Z_run-0005";
    for path in ["/", "/batches", "/queue", "/sources", "/sources/warehouse", "/inbox", "/status", parked] {
        let whole = server.get(path).expect(200, &["<html"]);
        let part = server.get(&format!("{path}?fragment=1")).expect(200, &["<div id=\"live\""]);
        assert!(!part.contains("<html") && !part.contains("<dialog"), "{path}");
        assert!(part.len() < whole.len(), "{path}");
    }
}

#[test]
fn an_approval_names_the_plan_that_is_looked_at() {
    let server = Server::of_the_demo();
    let id = "warehouse:20261106T010000Z_run-0005";
    let digest = server.engine.batch_view(&id.parse().unwrap()).unwrap().plan.unwrap().digest.to_string();
    let page = server.get(&format!("/batches/{id}")).expect(200, &[]);
    assert!(page.contains(&format!("data-post=\"/api/v1/batches/{id}/approve\"")), "{page}");
    assert!(page.contains(&format!("name=\"plan_digest\" value=\"{digest}\"")));
    let post = |digest: &str| {
        let body = json!({ "plan_digest": digest, "reason": "looked at" }).to_string();
        let request = server.client.post(format!("{}/api/v1/batches/{id}/approve", server.url));
        request.header("content-type", "application/json").body(body).send().unwrap().status().as_u16()
    };
    assert_eq!(post(&"0".repeat(32)), 409);
    assert!((200..300).contains(&post(&digest)));
    server.engine.run_until_idle().unwrap();
    let page = server.get(&format!("/batches/{id}")).expect(200, &["Approved", "looked at"]);
    assert!(!page.contains("d-approve"), "an approved plan can't be approved again");
}

#[test]
fn customers_see_nothing_of_the_inside() {
    let server = Server::of_the_demo();
    let page = server.get("/status").expect(200, &["warehouse", "Up to date"]);
    for inside in ["run-0005", "/batches", "file:", "GUARD", "guard", "digest", "/api/", "/queue", "sources."]
    {
        assert!(!page.contains(inside), "{inside}");
    }
}

#[test]
fn a_plan_of_100_000_changes_is_shown_in_parts() {
    let lines: Vec<Line> = (0..100_000).map(|n| says(entity(&format!("e{n:06}")), n)).collect();
    let changed = (0..100_000).map(|n| says(entity(&format!("e{n:06}")), n + 1));
    let first = TestBatch::full("alpha", 1).with(lines);
    let second = TestBatch::full("alpha", 2).with(changed);
    let server = Server::with(&[first, second]);
    let address = "/batches/alpha:20261101T000200Z_r2";
    let page = server.get(address).expect(200, &["100,000", "Parked", "rel=\"next\""]);
    assert!(page.len() < 300_000, "{} bytes", page.len());
    let next = links(&page).into_iter().find(|link| link.contains("cursor=")).unwrap();
    let page = server.get(next.split('#').next().unwrap()).expect(200, &["rel=\"next\"", "First page"]);
    assert!(page.len() < 300_000, "{} bytes", page.len());
    server.get(&format!("{address}?text=e099999")).expect(200, &["e099999", "Clear"]);
    server.get(&format!("{address}?action=delete")).expect(200, &["No change fits."]);
}

/// A dead letter for each of these names, of one reason, and a failed batch.
fn letters(names: &[&str]) -> Server {
    let bad = names.iter().map(|name| Line::BadKeyed(entity(name)));
    let server = Server::with(&[TestBatch::incremental("alpha", 1).with(bad)]);
    let broken = TestBatch::full("beta", 1).with([says(entity("b"), 1)]);
    let folder = broken.write(&server.data.path().join("delivered"));
    std::fs::write(folder.join("entities-00000.ndjson"), "cut").unwrap();
    server.engine.accept(&folder).unwrap();
    server.engine.run_until_idle().unwrap();
    server
}

impl Server {
    fn post(&self, path: &str, body: serde_json::Value) -> u16 {
        let request = self.client.post(format!("{}{path}", self.url));
        let request = request.header("content-type", "application/json").body(body.to_string());
        request.send().unwrap().status().as_u16()
    }

    /// Where an address leads instead.
    fn redirect(&self, path: &str) -> String {
        let answer = self.client.get(format!("{}{path}", self.url)).send().unwrap();
        assert_eq!(answer.status(), 303, "{path}");
        answer.headers()["location"].to_str().unwrap().to_owned()
    }
}

#[test]
fn an_alert_leads_to_its_one_dead_letter_or_to_all_of_its_group() {
    let group = |server: &Server, id: u64| {
        format!("/dlq?signature={}", server.engine.letter(id).unwrap().letter.signature)
    };
    let server = letters(&["a*"]);
    let alert = group(&server, 1);
    assert_eq!(server.redirect(&alert), "/dlq/1");
    assert_eq!(server.redirect(&group(&server, 2)), "/dlq/2");
    server.engine.discard_letter(1, None, "ann", "a test").unwrap();
    // Who comes later sees that it is over, and what became of it.
    server.get(&alert).expect(200, &["All dead letters of this reason are settled.", "Discarded", "/dlq/1"]);

    for unknown in ["signature=deadbeefdeadbeef", "source=nosuch", "code=NOPE"] {
        server.get(&format!("/dlq?{unknown}")).expect(404, &[]);
    }

    let server = letters(&["a", "b", "c"]);
    let page =
        server.get(&group(&server, 1)).expect(200, &["What to do:", "3 dead letters", "/dlq/1", "/dlq/3"]);
    assert!(page.contains("LINE_INVALID") && !page.contains("BATCH_SIZE_MISMATCH"), "{page}");
}

#[test]
fn a_repair_is_shown_before_it_is_requeued_and_its_end_is_told() {
    let server = letters(&["a"]);
    let open = server.get("/dlq/1").expect(
        200,
        &[
            "data-check=\"/api/v1/dlq/1/check\"",
            "data-then=\"d-repair\"",
            "data-post=\"/api/v1/dlq/1/requeue\" data-content=\"content\"",
            "Requeue as it is",
        ],
    );
    assert!(!open.contains("Nothing is left to repair"));
    let batch = server.get("/dlq/2").expect(200, &["Edit the manifest", "Show its plan and requeue"]);
    assert!(!batch.contains("d-skip"), "a batch is no key that can be skipped");
    server.get("/batches/beta:20261101T000100Z_r1").expect(200, &["Repair it", "href=\"/dlq/2\""]);
    let good = "{\"type\":\"t\",\"qualified_name\":\"a\",\"attributes\":{\"x\":1}}";
    let body = json!({ "content": good, "revision": 1, "reason": "typo", "actor": "ann" });
    assert_eq!(server.post("/api/v1/dlq/1/requeue", body), 200);
    let queued = server.get("/dlq/1").expect(200, &["In the queue again", "Pending", "r1~1"]);
    assert!(!queued.contains("id=\"edit\""));
    server.engine.run_until_idle().unwrap();
    let part = server.get("/dlq/1?fragment=1");
    part.expect(200, &["Nothing is left to repair", "Complete", "r1~1"]);
    server.get("/dlq/1").expect(200, &["typo", "ann</bdi>"]);
}

#[test]
fn a_key_is_skipped_from_its_dead_letter_and_the_skip_is_lifted_there_or_at_its_source() {
    let server = letters(&["a*b"]);
    // The key alone is skipped, whatever is in its name.
    let page = server.get("/dlq/1").expect(
        200,
        &["Skip this entity", "data-post=\"/api/v1/sources/alpha/skip\"", "name=\"name\" value=\"a\\*b\""],
    );
    assert!(!page.contains("Lift the skip"));
    let skip = json!({ "type": "t", "name": "a\\*b", "reason": "owner is told", "actor": "ann" });
    assert_eq!(server.post("/api/v1/sources/alpha/skip", skip.clone()), 200);
    let words =
        ["Skipped by an operator", "ann</bdi> skips", "without an end", "owner is told", "Lift the skip"];
    let page = server.get("/dlq/1").expect(200, &words);
    assert!(!page.contains("Skip this entity"));
    // It can't be requeued until then, so nothing offers it.
    assert!(!page.contains("data-opens=\"d-requeue\"") && !page.contains("id=\"edit\""));
    let requeue =
        json!({ "content": "{\"type\":\"t\",\"qualified_name\":\"a*b\",\"attributes\":{}}", "reason": "x" });
    assert_eq!(server.post("/api/v1/dlq/1/requeue", requeue), 409);
    let words = ["no end", "data-opens=\"d-unskip-0\"", "data-post=\"/api/v1/sources/alpha/unskip\""];
    let page = server.get("/sources/alpha").expect(200, &words);
    assert!(!page.contains(">lifted<"), "{page}");
    assert_eq!(server.post("/api/v1/sources/alpha/unskip", skip), 200);
    assert!(!server.get("/sources/alpha").expect(200, &[]).contains("d-unskip"));
    server.get("/dlq/1").expect(200, &["Skip this entity"]);
}

#[test]
fn a_batch_that_came_with_dead_letters_of_its_own_is_not_told_as_repaired() {
    let server = letters(&[]);
    let folder = server.data.path().join("delivered/beta/20261101T000100Z_r1");
    let lines = "{\"type\":\"t\",\"qualified_name\":\"b\",\"attributes\":{}}\n{\"type\":\"t\",\"qualified_name\":\"c\",\"attributes\":7}\n";
    std::fs::write(folder.join("entities-00000.ndjson"), lines).unwrap();
    let letter = server.engine.letter(1).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_str(&letter.content.unwrap()).unwrap();
    for member in ["bytes", "xxh3", "count"] {
        manifest["files"][0][member] = serde_json::Value::Null;
    }
    let body = json!({ "content": manifest.to_string(), "reason": "written again" });
    assert_eq!(server.post("/api/v1/dlq/1/requeue", body), 200);
    server.engine.run_until_idle().unwrap();
    let page = server.get("/dlq/1").expect(200, &["Published in part", "the dead letter", "that it left"]);
    assert!(!page.contains("Nothing is left to repair"));
}

#[test]
fn actions_on_all_dead_letters_are_offered_also_where_the_open_ones_come_later() {
    let server = Server::with(&[TestBatch::incremental("alpha", 1).with([Line::BadKeyed(entity("a"))])]);
    // The 50 newest are all requeued.
    let requeue = |n: u32| {
        server.engine.store().write(move |tx| {
            let like = tx.expect_dead_letter(1)?;
            let key = Some(entity(&format!("n{n}")));
            let id = tx.open_dead_letter(DeadLetter { key, ..like.clone() })?;
            let state =
                DeadLetterState::Requeued { batch: like.batch_id, at: like.opened_at, by: "ann".into() };
            let letter = tx.expect_dead_letter(id)?;
            tx.put_dead_letter(DeadLetter { state, ..letter })
        })
    };
    (0..50).for_each(|n| drop(requeue(n).unwrap()));
    server.get("/dlq").expect(200, &["Requeue all open ones", "Discard all open ones"]);
}

fn bad_keyed(count: u32) -> impl Iterator<Item = Line> {
    (0..count).map(|n| Line::BadKeyed(entity(&format!("bad{n}"))))
}

#[test]
fn a_source_whose_batch_waits_for_a_known_issue_is_delayed_and_not_tried_again() {
    let server = Server::with(&[TestBatch::full("alpha", 1).with([says(entity("a"), 1)])]);
    let calm = server.get("/status").expect(200, &["All sources are current"]);
    assert!(!calm.contains("calm-warn"));
    let declared = Declared {
        source: Some("alpha".parse().unwrap()),
        note: "the index is built anew".into(),
        ..Declared::default()
    };
    server.engine.declare_issue(declared, "ann").unwrap();
    let next = TestBatch::full("alpha", 2).with([says(entity("a"), 2)]);
    server.engine.accept(&next.write(&server.data.path().join("delivered"))).unwrap();
    server.engine.run_until_idle().unwrap();
    for (path, words) in [
        ("/", &["Delayed"][..]),
        ("/sources", &["Delayed", "<bdi>a known issue is being solved"]),
        ("/sources/alpha", &["Delayed", "<bdi>a known issue is being solved"]),
        // A warning has the colour of one.
        (
            "/status",
            &["Delayed", "<bdi>a known issue is being solved", "calm calm-warn", "1 source is delayed"],
        ),
    ] {
        let page = server.get(path).expect(200, words);
        assert!(!page.contains("Retrying"), "{path}: {page}");
    }
}

#[test]
fn what_a_held_source_waits_for_is_told_once() {
    let server = Server::with(&[TestBatch::incremental("alpha", 1).with(bad_keyed(30))]);
    let id = "alpha:20261101T000100Z_r1";
    let page =
        server.get("/sources/alpha").expect(200, &["Held", "a person has to look at it", "30 of 30 lines"]);
    assert!(!page.contains("held: a person"), "{page}");
    assert!(page.contains(&format!("batch {id} failed: 30 of")), "{page}");
    server.get("/").expect(200, &[&format!("batch {id} failed: 30 of")]);
}

#[test]
fn a_message_keeps_the_letters_of_a_file_and_what_it_quotes_is_code() {
    let bad = [Line::BadKeyed(entity("a")), Line::BadKeyless(1)];
    let server = Server::with(&[TestBatch::incremental("alpha", 1).with(bad)]);
    let keyed = |id: u64| server.engine.letter(id).unwrap().letter.key.is_some();
    let (with, without) = if keyed(1) { (1, 2) } else { (2, 1) };
    for id in [with, without] {
        let page =
            server.get(&format!("/dlq/{id}")).expect(200, &["<code>", "<bdi>entities-00000.ndjson line"]);
        assert!(!page.contains('`'), "{page}");
        for (at, _) in page.match_indices("<bdi>entities-") {
            assert!(!page[..at].rsplit('<').next().unwrap().contains("sentence"), "{page}");
        }
    }
    server.get(&format!("/dlq/{with}")).expect(200, &["good line for the key", "the key stays"]);
    // What has no key is found by no newer line.
    let words = ["the next full batch of everything", "give it a type and a name", "the line says its key"];
    let page = server.get(&format!("/dlq/{without}")).expect(200, &words);
    assert!(!page.contains("line for the key") && !page.contains("the key stays"), "{page}");
    let list = server.get("/dlq").expect(200, &["<code>"]);
    assert!(!list.contains('`'), "{list}");
}

#[test]
fn what_waits_is_counted_alike_in_all_places_of_the_overview() {
    let first = TestBatch::full("alpha", 1).with((0..30).map(|n| says(entity(&format!("e{n}")), 1)));
    let parked = TestBatch::full("alpha", 2).with([says(entity("e0"), 1)]);
    let server = Server::with(&[first, parked]);
    let behind = TestBatch::incremental("alpha", 3).with([says(entity("e1"), 3)]);
    server.engine.accept(&behind.write(&server.data.path().join("delivered"))).unwrap();
    server.get("/").expect(
        200,
        &["<dt>Waiting</dt><dd><a href=\"/queue\">1</a></dd>", "<span>1 waiting, 1 parked</span>"],
    );
}

#[test]
fn batches_that_ended_otherwise_are_not_called_failed() {
    let server = Server::of_the_demo();
    let word = "Failed or ended otherwise";
    let list =
        server.get("/sources").expect(200, &[&format!("{word}</th>"), &format!("data-label=\"{word}\"")]);
    assert!(!list.contains(">Failed</th>"), "{list}");
    for path in ["/", "/sources/warehouse"] {
        server.get(path).expect(200, &[&format!("<dt>{word}</dt>")]);
    }
}

#[test]
fn a_timeline_has_the_whole_of_every_cause() {
    let key = |n: u32| Key::Entity(EntityKey::new(format!("type{}", n % 8), format!("e{n}")));
    let first = TestBatch::full("alpha", 1).with((0..80).map(|n| says(key(n), 1)));
    let parked = TestBatch::full("alpha", 2).with([says(key(0), 1)]);
    let server = Server::with(&[first, parked]);
    let id = "alpha:20261101T000200Z_r2";
    let page = server.get(&format!("/batches/{id}")).expect(200, &[]);
    let items = server.engine.timeline(&id.parse().unwrap(), &Times::first(50)).unwrap().items;
    assert!(items.iter().any(|item| item.cause.len() > 300), "{items:?}");
    for item in items.iter().filter(|item| item.event.is_some()) {
        assert!(page.contains(&item.cause.replace('\'', "&#39;")), "{:?} is not on {page}", item.cause);
    }
}

#[test]
fn half_an_hour_is_told_without_seconds() {
    let data = support::folder();
    let clock = Arc::new(ManualClock::new("2026-11-24T00:00:00Z".parse().unwrap(), 7)) as Arc<dyn Clock>;
    let mut settings = Settings::defaults(data.path());
    settings.priority.half_life_seconds = 1800.0;
    let server = Server::new(Engine::open(data.path(), settings, clock).unwrap(), data);
    server.get("/queue").expect(200, &["per 30 min)"]);
}

#[test]
fn the_style_keeps_an_id_on_its_line_and_a_state_at_the_edge() {
    let server = Server::with(&[]);
    let page = server.get("/").expect(200, &[]);
    let sheet = links(&page).into_iter().find(|link| link.ends_with(".css")).unwrap();
    let sheet = server.get(&sheet).expect(200, &[]);
    let rule = |selector: &str| {
        let at = sheet.lines().find(|line| line.contains(selector)).unwrap_or_default();
        at.split_once('{').map_or("", |(_, rule)| rule)
    };
    // A column gets the room of its longest word: an id breaks where it must.
    assert!(rule(".rows td .id, .rows th > a, .rows th.name > bdi").contains("overflow-wrap: break-word"));
    assert!(rule(".depth > li > span:nth-child(even)").contains("justify-self: end"));
}
