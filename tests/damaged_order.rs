//! A line order that is damaged: it only saves work, so planning goes on without it.

mod support;

use std::path::PathBuf;

use support::batches::{Line, TestBatch, entity, says};
use support::world::World;
use tidegate::domain::publish_state::PublishStatus;

fn batch(time: u32, changed: usize) -> TestBatch {
    let line = |n: usize| says(entity(&format!("n{n:04}")), if n == changed { i64::from(time) } else { 1 });
    TestBatch::full("alpha", time).with((0..600).map(line).collect::<Vec<Line>>())
}

fn orders(world: &World) -> Vec<PathBuf> {
    let folder = world.engine().state().source(&"alpha".parse().unwrap()).join("orders");
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_batch_is_planned_without_a_damaged_line_order_and_leaves_a_whole_one() {
    let whole = {
        let world = World::new();
        world.publish(&batch(1, 0));
        std::fs::read(&orders(&world)[0]).unwrap().len()
    };
    for place in
        [None, Some(3), Some(20), Some(whole / 3), Some(whole / 2), Some(whole - 60), Some(whole - 2)]
    {
        let world = World::new();
        let first = batch(1, 0);
        world.publish(&first);
        let [order] = &orders(&world)[..] else { panic!("one line order") };
        let mut bytes = std::fs::read(order).unwrap();
        match place {
            None => std::fs::remove_file(order).unwrap(),
            Some(place) => {
                bytes[place] ^= 1;
                std::fs::write(order, bytes).unwrap();
            }
        }
        let second = batch(2, 1);
        let record = world.publish(&second);
        assert_eq!(record.status, PublishStatus::Complete, "{place:?}: {:?}", record.failure);
        assert_eq!(world.plan(&record).lines_in_order, 0, "{place:?}");
        let third = batch(3, 2);
        let record = world.publish(&third);
        assert!(world.plan(&record).lines_in_order > 590, "{place:?}");
        world.expect_batches(&[&first, &second, &third]);
    }
}
