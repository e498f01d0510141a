//! In which line of a settings file a key stands, whatever other sections have
//! keys of the same name.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::read::join;

/// The line of every key of a file, by its path, such as `webhook[1].url`.
#[derive(Debug, Default)]
pub struct Places(BTreeMap<String, usize>);

impl Places {
    /// Those of a text; none when it is no TOML.
    pub fn of(text: &str) -> Self {
        let mut places = Self::default();
        if let Ok(table) = DeTable::parse(text) {
            places.table(text, "", table.get_ref());
        }
        places
    }

    /// The line of a key; where it is not there, that of the nearest section
    /// around it.
    pub fn line(&self, key: &str) -> Option<usize> {
        let mut path = key;
        loop {
            if let Some(line) = self.0.get(path) {
                return Some(*line);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    fn table(&mut self, text: &str, path: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let key = join(path, name.get_ref());
            self.0.insert(key.clone(), line_of(text, name.span().start));
            self.value(text, &key, value.get_ref());
        }
    }

    fn value(&mut self, text: &str, path: &str, value: &DeValue<'_>) {
        match value {
            DeValue::Table(table) => self.table(text, path, table),
            DeValue::Array(list) => {
                for (n, item) in list.iter().enumerate() {
                    let key = format!("{path}[{n}]");
                    self.0.insert(key.clone(), line_of(text, item.span().start));
                    self.value(text, &key, item.get_ref());
                }
            }
            _ => {}
        }
    }
}

/// The line that a byte lies in; the first is 1.
pub fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_its_own_section() {
        let text = "[a]\nx = 1\n\n[b]\nx = 2\n[[c]]\ny = 1\n[[c]]\nx = [\n  { z = 1 },\n  { z = 2 } ]\n\"x.y\" = 3\n";
        let places = Places::of(text);
        for (key, line) in [
            ("a", 1),
            ("a.x", 2),
            ("b.x", 5),
            ("c[0].y", 7),
            ("c[1].x", 9),
            ("c[1].x[0].z", 10),
            ("c[1].x[1].z", 11),
            ("c[1].x.y", 12),
            // What is not there is told of the section that it is missing in.
            ("c[0].url", 6),
            ("c[1].url", 8),
            ("b.away.x", 4),
        ] {
            assert_eq!(places.line(key), Some(line), "{key}");
        }
        assert_eq!(places.line("d"), None);
        assert_eq!(Places::of("[a\nx = 1").line("a"), None);
    }
}
