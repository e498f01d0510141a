//! A key and what is asserted of it, as a line of a batch.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::domain::key::Key;
use crate::error::{Error, Result};

fn members(key: &Key) -> Vec<(&'static str, Value)> {
    let entity = |key: &crate::domain::key::EntityKey| json!({"type": key.type_name, "qualified_name": key.qualified_name});
    match key {
        Key::Entity(key) => {
            vec![("type", json!(key.type_name)), ("qualified_name", json!(key.qualified_name))]
        }
        Key::Relationship(key) => {
            let mut members =
                vec![("type", json!(key.type_name)), ("from", entity(&key.from)), ("to", entity(&key.to))];
            if !key.label.is_empty() {
                members.push(("label", json!(key.label)));
            }
            members
        }
    }
}

fn line(key: &Key, last: &str, value: &str) -> String {
    let mut text = String::from("{");
    for (name, value) in members(key) {
        text.push_str(&format!("\"{name}\":{value},"));
    }
    text.push_str(&format!("\"{last}\":{value}}}"));
    text
}

/// The line that asserts these attributes.
///
/// # Errors
/// When the attributes are no JSON, which published ones are.
pub fn of_value(key: &Key, attributes: &[u8]) -> Result<Vec<u8>> {
    let raw: &RawValue =
        serde_json::from_slice(attributes).map_err(|e| Error::internal("a value").caused_by(e))?;
    Ok(line(key, "attributes", raw.get()).into_bytes())
}

/// The line that asserts absence.
///
/// # Errors
/// None.
pub fn of_absence(key: &Key) -> Result<Vec<u8>> {
    Ok(line(key, "deleted", "true").into_bytes())
}
