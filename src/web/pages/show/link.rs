//! Where things are shown. Everything that goes into an address is encoded.

use crate::domain::key::EntityKey;

/// Percent-encodes what is not plain in a path segment or a query's value.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                out.push(char::from(byte))
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// An address of path and query; parts without a value are left out.
pub fn with_query(path: &str, parts: &[(&str, Option<&str>)]) -> String {
    let mut out = path.to_owned();
    let mut sign = '?';
    for (name, value) in parts {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            out.push(sign);
            out.push_str(name);
            out.push('=');
            out.push_str(&encode(value));
            sign = '&';
        }
    }
    out
}

/// The page of a batch.
pub fn batch(id: &str) -> String {
    format!("/batches/{}", encode(id))
}

/// The page of a source.
pub fn source(id: &str) -> String {
    format!("/sources/{}", encode(id))
}

/// The page of an entity.
pub fn entity(key: &EntityKey) -> String {
    with_query("/catalogue/entity", &[("type", Some(&key.type_name)), ("name", Some(&key.qualified_name))])
}

/// The page that says why an entity looks as it does.
pub fn why(key: &EntityKey) -> String {
    with_query("/why", &[("type", Some(&key.type_name)), ("name", Some(&key.qualified_name))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_in_an_address_is_encoded() {
        let key = EntityKey::new("a&b", "x?y#z/ü<\"");
        assert_eq!(entity(&key), "/catalogue/entity?type=a%26b&name=x%3Fy%23z%2F%C3%BC%3C%22");
        assert_eq!(batch("w:20261124T010000Z_r~2"), "/batches/w:20261124T010000Z_r~2");
        assert_eq!(with_query("/x", &[("a", None), ("b", Some("")), ("c", Some("1"))]), "/x?c=1");
    }
}
