//! Files under the state folder that nothing needs: collected when they are older
//! than the grace time, and not before.

mod support;

use std::collections::BTreeSet;
use std::fs::File;
use std::time::{Duration, SystemTime};

use support::batches::{TestBatch, entity, says};
use support::world::World;
use tidegate::clock::Clock;
use tidegate::domain::ids::SourceId;

#[test]
fn what_nothing_needs_is_kept_for_the_grace_time() {
    let world = World::forgetful();
    let publish =
        |time| world.publish(&TestBatch::full("alpha", time).with([says(entity("a"), time.into())]));
    publish(1);
    let root = world.engine().state().source(&SourceId::new("alpha").unwrap());
    let now = SystemTime::try_from(world.clock.now()).unwrap();
    let minute = Duration::from_secs(60);
    let strays = [
        ("packs/old.pack", now - 2 * minute),
        ("layers/old.layer", now - 2 * minute),
        ("packs/young.pack", now - minute / 2),
        ("layers/young.layer", now - minute / 2),
        // By a clock that was ahead: nobody knows how old it is.
        ("packs/future.pack", now + 10 * minute),
    ];
    for (name, at) in strays {
        File::create(root.join(name)).unwrap().set_modified(at).unwrap();
    }
    publish(2);
    let left: BTreeSet<&str> =
        strays.iter().map(|(name, _)| *name).filter(|name| root.join(name).exists()).collect();
    assert_eq!(left, BTreeSet::from(["packs/young.pack", "layers/young.layer", "packs/future.pack"]));
    // What is needed stays, and is all that is needed.
    world.expect(&[(entity("a"), 2)]);
    assert_eq!(std::fs::read_dir(root.join("snapshots/catalogue")).unwrap().count(), 1);
    world.clock.advance(minute);
    publish(3);
    assert!(!root.join("packs/young.pack").exists() && root.join("packs/future.pack").exists());
    world.expect(&[(entity("a"), 3)]);
}
