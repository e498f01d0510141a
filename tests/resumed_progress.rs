//! After a restart a batch goes on from its journal: what another run of the
//! process did is done, and says nothing of how fast this one is.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::batches::{TestBatch, entity, says};
use support::world::World;
use tidegate::domain::publish_state::PublishStatus;

#[test]
fn the_rate_after_a_restart_is_that_of_this_run() {
    let mut world = World::new();
    let lines = (0..15).map(|n| says(entity(&format!("t{n:02}")), 1));
    let id = world.deliver(&TestBatch::full("alpha", 1).with(lines)).unwrap();
    // Operations have three changes. The process ends before the fourth.
    let stopping = Arc::downgrade(&world.shared());
    world.faults.before(move |operation| {
        if operation.no.0 == 2 {
            stopping.upgrade().unwrap().stop();
        }
        Ok(())
    });
    world.work();
    assert_eq!(world.batch(&id).status, PublishStatus::Executing);
    world.faults.heal();
    world.restart();

    let seen = Arc::new(Mutex::new(Vec::new()));
    let (engine, clock, told, of) =
        (Arc::downgrade(&world.shared()), Arc::clone(&world.clock), Arc::clone(&seen), id.clone());
    world.faults.before(move |operation| {
        clock.advance(Duration::from_secs(1));
        let view = engine.upgrade().unwrap().batch_view(&of).unwrap();
        let progress = view.progress.unwrap();
        told.lock().unwrap().push((operation.no.0, progress.done, progress.rate));
        Ok(())
    });
    world.work();
    world.faults.heal();
    assert_eq!(world.batch(&id).status, PublishStatus::Complete);
    assert_eq!(*seen.lock().unwrap(), [(3, 9, None), (4, 12, Some(1.5))]);
}
