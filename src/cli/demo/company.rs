//! The demo company as its systems would tell it now: what each source
//! asserts, kept as the lines of its next batch. Begins with the material and
//! changes with every delivery; nothing here knows of Tidegate's own state.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::material;
use crate::error::{Error, Result};

/// The type and the name of an entity.
pub type Name = (String, String);

/// What one source asserts.
#[derive(Debug, Default, Clone)]
pub struct Book {
    entities: BTreeMap<Name, Map<String, Value>>,
    relationships: BTreeMap<String, Value>,
}

/// The end of a relationship, as a line names it.
fn end(name: &Name) -> Value {
    json!({ "type": name.0, "qualified_name": name.1 })
}

/// An entity's line.
pub fn entity_line(name: &Name, attributes: &Map<String, Value>) -> Value {
    json!({ "type": name.0, "qualified_name": name.1, "attributes": attributes })
}

/// The line that says that an entity is gone.
pub fn gone_line(name: &Name) -> Value {
    json!({ "type": name.0, "qualified_name": name.1, "deleted": true })
}

/// A relationship's line.
pub fn edge_line(type_name: &str, from: &Name, to: &Name, attributes: Option<Value>) -> Value {
    let mut line = json!({ "type": type_name, "from": end(from), "to": end(to) });
    if let Some(attributes) = attributes {
        line["attributes"] = attributes;
    }
    line
}

/// A relationship's line that says that it is gone.
pub fn edge_gone_line(type_name: &str, from: &Name, to: &Name) -> Value {
    json!({ "type": type_name, "from": end(from), "to": end(to), "deleted": true })
}

/// What tells a relationship from others.
fn edge_key(line: &Value) -> String {
    format!("{}\n{}\n{}\n{}", line["type"], line["from"], line["to"], line["label"])
}

fn name_of(value: &Value) -> Name {
    let text = |member: &str| value[member].as_str().unwrap_or_default().to_owned();
    (text("type"), text("qualified_name"))
}

impl Book {
    /// What a source asserts after these batches of the material, in order.
    pub fn read(batches: &[&str]) -> Result<Self> {
        let mut book = Self::default();
        for batch in batches {
            for text in material::lines(batch)? {
                let line: Value = serde_json::from_str(&text)
                    .map_err(|e| Error::internal("a line of the demo's material").caused_by(e))?;
                // A bad line of the story: nothing of it is published.
                if line.get("attributes").is_none_or(Value::is_object) {
                    book.take(&line);
                }
            }
        }
        Ok(book)
    }

    /// Takes a line over.
    pub fn take(&mut self, line: &Value) {
        let gone = line["deleted"] == true;
        if line["from"].is_object() {
            let key = edge_key(line);
            if gone {
                self.relationships.remove(&key);
            } else {
                self.relationships.insert(key, line.clone());
            }
        } else if gone {
            self.entities.remove(&name_of(line));
        } else {
            let attributes = line["attributes"].as_object().cloned().unwrap_or_default();
            self.entities.insert(name_of(line), attributes);
        }
    }

    /// Every line of it: a full batch.
    pub fn lines(&self) -> Vec<Value> {
        let entities = self.entities.iter().map(|(name, attributes)| entity_line(name, attributes));
        entities.chain(self.relationships.values().cloned()).collect()
    }

    /// An entity's attributes.
    pub fn attributes(&self, name: &Name) -> Option<&Map<String, Value>> {
        self.entities.get(name)
    }

    /// Names of the entities of a type, in order.
    pub fn names(&self, type_name: &str) -> Vec<Name> {
        self.entities.keys().filter(|name| name.0 == type_name).cloned().collect()
    }

    /// The entities that relationships of this type lead to.
    pub fn ends(&self, type_name: &str, from: &Name) -> Vec<Name> {
        let from = end(from);
        let edges = self.relationships.values();
        edges.filter(|e| e["type"] == type_name && e["from"] == from).map(|e| name_of(&e["to"])).collect()
    }
}
