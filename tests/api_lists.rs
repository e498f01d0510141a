//! Lists come in parts, whatever they list: versions of an entity, targets, what
//! a search by name finds.

mod support;

use serde_json::Value;
use support::batches::{TestBatch, entity, says};
use support::server::Server;
use tidegate::config::TargetKind;
use tidegate::domain::ids::TargetName;

/// A server whose entity `a` has had `versions` values.
fn of_many_versions(versions: u32) -> Server {
    let server = Server::with(|settings| {
        let target = settings.targets.values_mut().next().unwrap();
        let TargetKind::Embedded(embedded) = &mut target.kind else { panic!("{target:?}") };
        embedded.history = 100;
    });
    for number in 1..=versions {
        server.publish(&TestBatch::full("alpha", number).with([says(entity("a"), number.into())]));
    }
    server
}

#[test]
fn an_entity_is_shown_with_its_newest_versions_and_the_page_leads_to_the_others() {
    let server = of_many_versions(24);
    let page = server.fetch("/api/v1/entities/t/a");
    let entity = &page["entity"];
    assert_eq!(entity["history"].as_array().unwrap().len(), 20);
    assert_eq!(entity["more_history"], true);
    assert_eq!(server.all("/api/v1/entities/t/a/history", 7).len(), 23);

    let page = |query: &str| {
        let answer = server.get(&format!("/catalogue/entity?type=t&name=a{query}"));
        assert_eq!(answer.status, 200, "{query}");
        String::from_utf8(answer.body).unwrap()
    };
    let newest = page("");
    assert!(newest.contains("Version 23 ended") && newest.contains("Version 4 ended"), "{newest}");
    assert!(!newest.contains("Version 3 ended"), "{newest}");
    let older = newest.split("href=\"").find(|part| part.contains("before=4#h-history")).expect("a link");
    assert!(older.starts_with("/catalogue/entity?type=t&"), "{older}");
    let oldest = page("&before=4");
    assert!(oldest.contains("Version 3 ended") && !oldest.contains("Version 4 ended"), "{oldest}");
    // What a version was replaced by is on the part before.
    let step = oldest.split("Version 3 ended").nth(1).unwrap().split("</li>").next().unwrap();
    assert!(step.contains("<bdi>3</bdi>") && step.contains("<bdi>4</bdi>"), "{step}");
    assert!(!oldest.contains("before=1#"), "{oldest}");
    assert_eq!(server.get("/catalogue/entity?type=t&name=a&before=x").status, 400);
}

#[test]
fn targets_are_listed_in_parts_like_everything_else() {
    let server = Server::with(|settings| {
        let (name, target) = settings.targets.first_key_value().unwrap();
        let other = TargetName::new(format!("{name}-2")).unwrap();
        let mut second = target.clone();
        let TargetKind::Embedded(embedded) = &mut second.kind else { panic!("{second:?}") };
        embedded.path = embedded.path.with_file_name("second.redb");
        settings.targets.insert(other, second);
    });
    let names = |limit| -> Vec<String> {
        let items = server.all("/api/v1/targets", limit);
        items.iter().map(|item| item["target"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(1), ["catalogue", "catalogue-2"]);
    assert_eq!(names(1), names(2));
    server.get("/api/v1/targets?limit=0").problem(400, "USAGE");
    server.get("/api/v1/targets?cursor=zz").problem(400, "USAGE");
    server.get("/api/v1/targets?unknown=1").problem(400, "USAGE");
}

#[test]
fn a_part_of_a_search_by_name_is_full_where_there_is_more_behind_many_others() {
    let server = Server::new();
    let others = (0..30_000).map(|n| says(entity(&format!("n{n:05}")), 1));
    server.publish(
        &TestBatch::full("alpha", 1).with(others).with([says(entity("z1"), 1), says(entity("z2"), 1)]),
    );
    let page = server.fetch("/api/v1/entities?q=z&limit=1");
    assert_eq!(page["items"][0]["qualified_name"], "z1", "{page}");
    let page = server.fetch("/api/v1/entities?q=z&limit=2");
    assert_eq!((page["items"].as_array().unwrap().len(), &page["next_cursor"]), (2, &Value::Null), "{page}");
}
