//! Taking secrets out of what is written into an archive: those that settings
//! and environments are known to hold, wherever they stand, and what has the
//! shape of one.

use serde_json::Value;

use super::known::Known;
use super::shapes;

/// What stands where something was taken out.
pub const GONE: &str = "[removed]";

/// Takes them out.
pub struct Scrub(Known);

impl Scrub {
    /// One that knows these.
    pub fn new(known: Known) -> Self {
        Self(known)
    }

    /// A text without secrets.
    pub fn text(&self, text: &str) -> String {
        shapes::clean(&self.0.clean(text))
    }

    /// A value without secrets: names of members say what they hold.
    pub fn json(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(list) => list.iter_mut().for_each(|item| self.json(item)),
            Value::Object(members) => {
                for (name, member) in members {
                    if shapes::is_secret(name) { remove(member) } else { self.json(member) }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// A log without secrets: its lines may be JSON or text.
    pub fn log(&self, log: &str) -> String {
        let (mut out, mut text) = (String::with_capacity(log.len()), String::new());
        for line in log.split_inclusive('\n') {
            match serde_json::from_str::<Value>(line) {
                Ok(mut value @ Value::Object(_)) => {
                    out.push_str(&self.text(&std::mem::take(&mut text)));
                    self.json(&mut value);
                    out.push_str(&value.to_string());
                    out.push('\n');
                }
                // A key may have several lines.
                Ok(_) | Err(_) => text.push_str(line),
            }
        }
        out.push_str(&self.text(&text));
        out
    }
}

/// Every text and number of a value.
fn remove(value: &mut Value) {
    match value {
        Value::String(_) | Value::Number(_) => *value = GONE.into(),
        Value::Array(list) => list.iter_mut().for_each(remove),
        Value::Object(members) => members.values_mut().for_each(remove),
        Value::Null | Value::Bool(_) => {}
    }
}
