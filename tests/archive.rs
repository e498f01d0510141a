//! Where a deletion archives: what goes is kept out of sight, and comes back as it is
//! asserted then, with its history.

mod support;

use support::batches::{Line, TestBatch, edge, entity, says};
use support::world::World;
use tidegate::domain::key::Key;
use tidegate::domain::settings::Deletion;
use tidegate::targets::embedded::EntityView;

fn world() -> World {
    World::with(|settings| {
        settings.targets.values_mut().for_each(|target| target.deletion = Deletion::Archive);
    })
}

fn view(world: &World, name: &str) -> EntityView {
    let Key::Entity(key) = entity(name) else { unreachable!() };
    world.engine().catalogue(None).unwrap().get(&key, 10).unwrap().unwrap()
}

fn archived(world: &World) -> Vec<bool> {
    ["a", "b"].map(|name| view(world, name).archived).to_vec()
}

#[test]
fn an_archive_counts_as_deleted_and_a_revival_as_created() {
    let world = world();
    let of = |time, lines: &[Line]| TestBatch::full("alpha", time).with(lines.iter().cloned());
    let counts = |batch: &TestBatch| {
        let m = world.publish(batch).metrics.unwrap();
        let entities = (m.entities_created, m.entities_updated, m.entities_deleted);
        (entities, (m.relationships_created, m.relationships_updated, m.relationships_deleted))
    };
    let all = [says(entity("a"), 1), says(entity("b"), 1), says(edge("a", "b"), 1)];
    assert_eq!(counts(&of(1, &all)), ((2, 0, 0), (1, 0, 0)));
    let created = view(&world, "b");

    // It goes with its relationship, and is still there for whoever asks for it.
    assert_eq!(counts(&of(2, &all[..1])), ((0, 0, 1), (0, 0, 1)));
    assert_eq!(archived(&world), [false, true]);
    world.expect(&[(entity("a"), 1)]);
    let gone = view(&world, "b");
    assert_eq!((gone.version, gone.attributes.get()), (created.version + 1, created.attributes.get()));
    // Saying nothing of it again changes nothing.
    assert_eq!(counts(&of(3, &all[..1])), ((0, 0, 0), (0, 0, 0)));

    // It comes back with another value, and so does the relationship.
    let back = [says(entity("a"), 1), says(entity("b"), 2), says(edge("a", "b"), 1)];
    assert_eq!(counts(&of(4, &back)), ((1, 0, 0), (1, 0, 0)));
    assert_eq!(archived(&world), [false, false]);
    world.expect(&[(entity("a"), 1), (entity("b"), 2), (edge("a", "b"), 1)]);
    let revived = view(&world, "b");
    assert_eq!(revived.version, gone.version + 1);
    assert_eq!(revived.history.len(), 2);
    assert!(revived.created.batch.to_string().ends_with("_r4"), "{:?}", revived.created);

    // The same by name, and the value that it had. The relationship is still
    // asserted, and waits meanwhile.
    let gone = TestBatch::incremental("alpha", 5).with([Line::Deleted(entity("b"))]);
    assert_eq!(counts(&gone), ((0, 0, 1), (0, 0, 1)));
    world.expect(&[(entity("a"), 1)]);
    let back = TestBatch::incremental("alpha", 6).with([says(entity("b"), 2)]);
    assert_eq!(counts(&back), ((1, 0, 0), (1, 0, 0)));
    world.expect(&[(entity("a"), 1), (entity("b"), 2), (edge("a", "b"), 1)]);
    world.expect_counts();
}
