//! What an approval covers, and what it does not: changes that were not looked
//! at, repairs that came since, and files that are others by now.

mod support;

use std::path::PathBuf;
use std::time::Duration;

use support::batches::{Line, TestBatch, entity, says};
use support::world::World;
use tidegate::domain::ids::{BatchId, SourceId};
use tidegate::domain::publish_state::PublishStatus;

fn full(time: u32) -> TestBatch {
    TestBatch::full("alpha", time)
}

fn names(from: u32, to: u32) -> impl Iterator<Item = String> {
    (from..to).map(|n| format!("n{n:02}"))
}

fn lines(from: u32, to: u32, x: i64) -> impl Iterator<Item = Line> {
    names(from, to).map(move |name| says(entity(&name), x))
}

fn complete(world: &World, batch: &TestBatch) -> BatchId {
    let record = world.publish(batch);
    assert_eq!(record.status, PublishStatus::Complete, "{:?}", record.failure);
    record.batch_id
}

fn guarded() -> World {
    World::with(|settings| {
        let alpha = settings.sources.get_mut(&SourceId::new("alpha").unwrap()).unwrap();
        alpha.guards.delete_ratio = 0.1;
        alpha.guards.delete_min = 1;
        alpha.guards.update_ratio = 0.5;
        alpha.guards.update_min = 1;
    })
}

/// Parks a batch, has it approved while its source is paused, and then has
/// `late` published before it: whether the new plan of the first runs.
fn runs_after(parks: &TestBatch, late: &TestBatch) -> bool {
    let world = guarded();
    let alpha = SourceId::new("alpha").unwrap();
    // Another source keeps what these take back.
    complete(&world, &TestBatch::full("beta", 1).with(lines(20, 30, 1)));
    complete(&world, &full(10).with(lines(0, 20, 1)));
    let parked = world.deliver(parks).unwrap();
    world.work();
    assert_eq!(world.parked(), std::slice::from_ref(&parked));
    world.engine().pause_source(&alpha, "ann", "wait").unwrap();
    world.engine().approve(&parked, None, "ann", "looked at").unwrap();
    world.deliver(late).unwrap();
    world.engine().resume_source(&alpha, "ann", "go").unwrap();
    world.work();
    match world.batch(&parked).status {
        PublishStatus::Complete => true,
        _ => {
            assert_eq!(world.parked(), [parked]);
            false
        }
    }
}

#[test]
fn an_approval_covers_what_was_looked_at_and_no_more() {
    let parks = full(30).with(lines(0, 15, 1));
    let late = |lines: Vec<Line>| TestBatch::incremental("alpha", 20).with(lines);
    // What another batch changed meanwhile is not taken back.
    assert!(runs_after(&parks, &late(lines(40, 41, 1).take(0).collect())));
    assert!(runs_after(&parks, &late(lines(0, 5, 1).collect())));
    // Fewer deletions than were approved.
    assert!(runs_after(&parks, &late(vec![Line::Deleted(entity("n19"))])));
    // One more, of a key that shows for another source's sake all the same.
    assert!(!runs_after(&parks, &late(lines(20, 21, 7).collect())));
    assert!(!runs_after(&parks, &late(lines(20, 30, 1).collect())));
    // What did not live then is not approved, though the batch deletes it.
    let deletes = TestBatch::incremental("alpha", 30)
        .with(names(0, 5).chain(names(50, 60)).map(|name| Line::Deleted(entity(&name))));
    assert!(runs_after(&deletes, &late(lines(5, 6, 3).collect())));
    assert!(!runs_after(&deletes, &late(lines(50, 60, 1).collect())));
    // One more that shows.
    assert!(!runs_after(&parks, &late(lines(50, 51, 1).collect())));
}

#[test]
fn approved_updates_cover_no_others() {
    let parks = full(30).with(lines(0, 12, 2)).with(lines(12, 20, 1));
    let late = |lines: Vec<Line>| TestBatch::incremental("alpha", 20).with(lines);
    assert!(runs_after(&parks, &late(lines(0, 3, 2).collect())));
    // One that was equal is changed back.
    assert!(!runs_after(&parks, &late(lines(15, 16, 5).collect())));
}

#[test]
fn what_was_repaired_since_outlives_the_approval_of_withheld_deletions() {
    let world = World::new();
    complete(&world, &full(1).with(["k", "old", "rest"].map(|name| says(entity(name), 1))));
    let withheld = complete(&world, &full(2).with([says(entity("rest"), 1), Line::BadKeyless(0)]));
    let letter = world.dead_letters("alpha")[0].id;
    let content = br#"{"type":"t","qualified_name":"k","attributes":{"x":2}}"#;
    world.engine().edit_letter(letter, None, Some(content), "ann", "mended").unwrap();
    world.engine().requeue_letter(letter, None, "ann", "mended").unwrap();
    world.work();
    world.expect(&[(entity("k"), 2), (entity("old"), 1), (entity("rest"), 1)]);
    let again = world.engine().approve(&withheld, None, "ann", "old is gone").unwrap();
    world.work();
    assert_eq!(world.batch(&again.batch_id).status, PublishStatus::Complete);
    world.expect(&[(entity("k"), 2), (entity("rest"), 1)]);
    // Nor does it ask for the repair again.
    assert_eq!(world.dead_letters("alpha"), []);
    // What was refused and mended since is not what it was.
    let world = World::new();
    complete(&world, &full(1).with(["k", "old"].map(|name| says(entity(name), 1))));
    world.faults.refuse([entity("k")]);
    let withheld = complete(&world, &full(2).with([says(entity("k"), 3), Line::BadKeyless(0)]));
    world.faults.heal();
    let letters = world.dead_letters("alpha");
    let letter = letters.iter().find(|letter| letter.key.is_some()).unwrap().id;
    world.engine().edit_letter(letter, None, Some(content), "ann", "mended").unwrap();
    world.engine().requeue_letter(letter, None, "ann", "mended").unwrap();
    world.work();
    world.engine().approve(&withheld, None, "ann", "old is gone").unwrap();
    world.work();
    world.expect(&[(entity("k"), 2)]);
}

#[test]
fn files_that_were_changed_are_not_read_for_an_approval() {
    let world = World::new();
    complete(&world, &full(1).with(["k", "old"].map(|name| says(entity(name), 1))));
    let withheld = complete(&world, &full(2).with([says(entity("k"), 1), Line::BadKeyless(0)]));
    let path = world.batch(&withheld).folder.join("entities-00000.ndjson");
    let text = std::fs::read_to_string(&path).unwrap();
    let written = std::fs::metadata(&path).unwrap().modified().unwrap();
    std::fs::write(&path, text.replace("\"x\":1", "\"x\":8")).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(written + Duration::from_secs(3)).unwrap();
    let again = world.engine().approve(&withheld, None, "ann", "old is gone").unwrap();
    world.work();
    let record = world.batch(&again.batch_id);
    assert_eq!(record.status, PublishStatus::Failed);
    assert_eq!(record.failure.unwrap().error_code, "BATCH_CHANGED");
    world.expect(&[(entity("k"), 1), (entity("old"), 1)]);
}

/// The files of the newest plan of a batch, by the ends of their names.
fn plan_file(world: &World, id: &BatchId, ending: &str) -> PathBuf {
    let plan = world.batch(id).plan_id.unwrap();
    let mut folders = vec![world.data.path().join("state")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if *entry.file_name() == *format!("{plan}{ending}") {
                return entry.path();
            }
        }
    }
    panic!("plan {plan} has no {ending}");
}

#[test]
fn a_parked_plan_whose_files_were_damaged_meanwhile_is_made_again() {
    for ending in [".layer", ".pack", ".plan"] {
        for gone in [false, true] {
            let world = guarded();
            complete(&world, &full(1).with(lines(0, 20, 1)));
            let parks = full(2).with(lines(0, 10, 2));
            let parked = world.publish(&parks).batch_id;
            assert_eq!(world.parked(), std::slice::from_ref(&parked));
            let file = plan_file(&world, &parked, ending);
            let mut bytes = std::fs::read(&file).unwrap();
            bytes[24] ^= 1;
            match gone {
                true => std::fs::remove_file(&file).unwrap(),
                false => std::fs::write(&file, bytes).unwrap(),
            }
            world.approve(&parked);
            let timeline = world.timeline(&parked);
            let told = timeline.iter().filter(|line| line.contains("the files of its plan are damaged"));
            assert_eq!(told.count(), 1, "{ending} {gone}: {timeline:#?}");
            // It does the same, so nobody is asked again.
            assert_eq!(world.batch(&parked).status, PublishStatus::Complete, "{ending} {gone}");
            let next = full(3).with(lines(0, 9, 2));
            world.publish(&next);
            world.expect_batches(&[&full(1).with(lines(0, 20, 1)), &parks, &next]);
        }
    }
}

#[test]
fn a_plan_tells_of_older_batches_that_come_before_it() {
    let world = guarded();
    complete(&world, &full(1).with(lines(0, 20, 1)));
    let planned = |time: u32| {
        let folder = full(time).with(lines(0, 20, 3)).write(&world.data.path().join("elsewhere"));
        world.engine().plan_only(&folder, |plan| Ok(plan.manifest().warnings.clone())).unwrap()
    };
    assert_eq!(planned(20), [""; 0]);
    let parked = world.publish(&full(10).with(lines(0, 5, 2))).batch_id;
    let told = format!(
        "batch {parked} of source alpha is older and comes before this one: this plan is made from what is published now"
    );
    assert_eq!(planned(20), [told]);
    assert_eq!(planned(9), [""; 0]);
    world.deliver(&full(11).with(lines(0, 20, 4))).unwrap();
    let [warning] = &planned(20)[..] else { panic!("one warning") };
    assert!(
        warning.starts_with("2 batches of source alpha are older and come before this one, "),
        "{warning}"
    );
}
