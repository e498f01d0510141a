//! As many versions are kept as the settings say, whatever they said before.

mod support;

use support::catalogue::{TestCatalogue, change, create};
use tidegate::domain::change::Action;
use tidegate::domain::key::{EntityKey, Key};
use tidegate::domain::settings::Deletion;

/// Updates the entity so many times.
fn update(catalogue: &mut TestCatalogue, value: &mut u32, times: u32) {
    for _ in 0..times {
        *value += 1;
        catalogue.apply(vec![change(Action::Update, "t", "a", &format!(r#"{{"x":{value}}}"#))]);
    }
}

fn versions(catalogue: &TestCatalogue) -> Vec<u32> {
    let key = Key::Entity(EntityKey::new("t", "a"));
    let page = catalogue.get().history(&key, None, 100).unwrap();
    page.items.iter().map(|item| item.version).collect()
}

#[test]
fn a_lowered_limit_drops_what_is_past_it_at_the_next_change() {
    let mut catalogue = TestCatalogue::new(Deletion::Delete);
    let mut value = 0;
    catalogue.apply(vec![create("t", "a", "{}")]);
    update(&mut catalogue, &mut value, 9);
    assert_eq!(versions(&catalogue), [9, 8, 7, 6, 5]);
    catalogue.history = 2;
    catalogue.restart();
    update(&mut catalogue, &mut value, 1);
    assert_eq!(versions(&catalogue), [10, 9]);
    catalogue.history = 0;
    catalogue.restart();
    update(&mut catalogue, &mut value, 3);
    assert!(versions(&catalogue).is_empty());
    let view = catalogue.get().get(&EntityKey::new("t", "a"), 0).unwrap().unwrap();
    assert!(serde_json::to_string(&view).unwrap().contains(&format!("\"x\":{value}")));
    catalogue.history = 3;
    catalogue.restart();
    update(&mut catalogue, &mut value, 2);
    assert_eq!(versions(&catalogue).len(), 2);
}
