//! What the other side said when a request failed.

/// What its words follow in a chain of causes. They may name attribute values.
pub const IT_SAID: &str = "it said: ";
/// Most characters of its words in a reason; all of them are kept beside it.
const SAID: usize = 300;

/// What a store or a target said when it failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The status of an HTTP answer, such as `500 Internal Server Error`.
    pub status: Option<String>,
    /// How long it asked to be left alone.
    pub retry_after: Option<std::time::Duration>,
    /// Its own words, cut: may name attribute values, so they go into
    /// diagnostics and never into a log.
    pub text: String,
    /// Whether the request may have taken effect all the same.
    pub unsure: bool,
}

impl Answer {
    /// What it says, in one line. Of JSON the member that is meant for
    /// people: other causes are other reasons, also where only words tell
    /// them apart.
    pub fn said(&self) -> Option<String> {
        let member = |value: &serde_json::Value| {
            let named = |name| value.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
            ["detail", "message", "reason", "error", "title"].into_iter().find_map(named)
        };
        let text = match serde_json::from_str::<serde_json::Value>(&self.text) {
            Ok(value) => member(&value).or_else(|| value.get("error").and_then(member)),
            Err(_) => None,
        };
        let text = text.unwrap_or_else(|| self.text.clone());
        let words: Vec<&str> = text.split_whitespace().collect();
        let line = words.join(" ");
        match line.char_indices().nth(SAID) {
            Some((end, _)) => Some(format!("{}…", &line[..end])),
            None => Some(line).filter(|line| !line.is_empty()),
        }
    }
}

/// A text, of a long one the beginning.
pub fn cut(text: &str, most: usize) -> String {
    match text.len() > most {
        true => format!("{}…", &text[..text.floor_char_boundary(most)]),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_target_says_is_found_in_json_and_in_text() {
        let said = |text: &str| Answer { text: text.to_owned(), ..Answer::default() }.said();
        for (answer, expected) in [
            ("", None),
            (" \n", None),
            ("owner is\nnot known", Some("owner is not known")),
            (r#"{"title":"bad","detail":"owner is not known"}"#, Some("owner is not known")),
            (r#"{"error":{"code":7,"message":"too long"}}"#, Some("too long")),
            (r#"["x"]"#, Some(r#"["x"]"#)),
        ] {
            assert_eq!(said(answer).as_deref(), expected, "{answer}");
        }
        assert_eq!(said(&"ä".repeat(1000)).unwrap().chars().count(), SAID + 1);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(cut("äö", 4), "äö");
        assert_eq!(cut("äö", 3), "ä…");
    }
}
