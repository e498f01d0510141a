//! The publish state against the specification's own model: the JSON parses
//! with pydantic, and has exactly the model's members.

#[path = "support/python.rs"]
mod python;
#[path = "support/store.rs"]
mod support;

use support::{filled, pending, stamp};
use tidegate::domain::publish_state::PublishStatus;

#[test]
fn every_status_parses_with_the_specifications_model() {
    let mut states = Vec::new();
    let mut expected = String::new();
    for status in PublishStatus::ALL {
        for mut record in [pending(&stamp(1, "run-1")), filled(&stamp(2, "run-2"))] {
            record.status = status;
            expected += &format!("{} {}\n", record.batch_id, status.as_str());
            states.push(record.publish_state());
        }
    }
    python::expect_publish_states(&states, &expected);
}
