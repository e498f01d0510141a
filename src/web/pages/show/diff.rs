//! Attributes before and after: short values side by side, long text by its
//! lines or words, as in a review of code.

use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;
use similar::{ChangeTag, TextDiff};

use super::{Html, text};

/// A JSON object of attributes.
pub type Object = serde_json::Map<String, Value>;

/// Values with more characters are shown by what differs, or unfold.
const LONG: usize = 120;
/// Texts with more bytes are not compared line by line.
const COMPARED: usize = 64 << 10;
/// How deep objects are looked into.
const NESTED: usize = 4;
/// Equal lines around a difference.
const AROUND: usize = 3;
/// Lines of a difference that are shown.
const LINES: usize = 400;
/// How long one comparison may take.
const PATIENCE: Duration = Duration::from_millis(50);

/// One attribute of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// Its values.
    pub html: Html,
}

/// The attributes of a JSON object; none of anything else.
pub fn object(raw: Option<&RawValue>) -> Object {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

/// Every attribute that differs, by name. Where both sides have an object, what
/// differs within it, by its path.
pub fn changed(before: &Object, after: &Object) -> Vec<Attribute> {
    let mut out = Vec::new();
    collect(&mut out, "", before, after, 0);
    out
}

fn collect(out: &mut Vec<Attribute>, path: &str, before: &Object, after: &Object, depth: usize) {
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let (old, new) = (before.get(name), after.get(name));
        if old == new {
            continue;
        }
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match (old, new) {
            (Some(Value::Object(old)), Some(Value::Object(new))) if depth < NESTED => {
                collect(out, &path, old, new, depth + 1);
            }
            (_, _) => out.push(Attribute { name: path, html: change(old, new) }),
        }
    }
}

/// The attributes of what comes or goes.
pub fn plain(values: &Object) -> Vec<Attribute> {
    values.iter().map(|(name, value)| Attribute { name: name.clone(), html: value_html(value) }).collect()
}

/// One value.
pub fn value_html(value: &Value) -> Html {
    match value {
        Value::String(string) if string.contains('\n') => text::folded(string, 2_000, true),
        Value::String(string) => text::folded(string, 400, false),
        Value::Array(_) | Value::Object(_) => {
            let flat = value.to_string();
            if flat.chars().count() <= LONG {
                text::whole(&flat)
            } else {
                text::folded(&pretty(value), 2_000, true)
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => text::folded(&value.to_string(), 400, false),
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string())
}

fn change(before: Option<&Value>, after: Option<&Value>) -> Html {
    if let (Some(before), Some(after)) = (before, after) {
        let (old, new) = (comparable(before), comparable(after));
        if (is_long(&old) || is_long(&new)) && old.len() <= COMPARED && new.len() <= COMPARED {
            return if old.contains('\n') || new.contains('\n') {
                lines(&old, &new)
            } else {
                words(&old, &new)
            };
        }
    }
    let mut out = String::new();
    side(&mut out, before, "del", "old");
    out.push_str(" <span class=\"arrow\" aria-hidden=\"true\">→</span><span class=\"visually-hidden\"> becomes </span>");
    side(&mut out, after, "ins", "new");
    Html::trusted(out)
}

/// Text as it is; anything else as JSON, on lines of its own when it is long.
fn comparable(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Object(_) => {
            let flat = value.to_string();
            if flat.chars().count() > LONG { pretty(value) } else { flat }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn is_long(text: &str) -> bool {
    text.contains('\n') || text.chars().count() > LONG
}

fn side(out: &mut String, value: Option<&Value>, element: &str, class: &str) {
    let Some(value) = value else {
        out.push_str("<span class=\"none\">not asserted</span>");
        return;
    };
    let json = value.to_string();
    let long = is_long(&json);
    out.push_str(&format!("<{element} class=\"{class}\">"));
    let (start, _) = text::cut(&json, LONG);
    out.push_str("<bdi>");
    text::push(out, if long { start } else { &json }, false);
    out.push_str(if long { "</bdi>…" } else { "</bdi>" });
    out.push_str(&format!("</{element}>"));
    if long {
        out.push_str("<details class=\"long\"><summary>all of it</summary><bdi class=\"full\" dir=\"auto\">");
        text::push(out, &json, true);
        out.push_str("</bdi></details>");
    }
}

/// Differences of two texts by lines.
fn lines(old: &str, new: &str) -> Html {
    let diff = TextDiff::configure().timeout(PATIENCE).diff_lines(old, new);
    let mut out = String::from("<div class=\"diff\">");
    let mut shown = 0;
    for (n, group) in diff.grouped_ops(AROUND).iter().enumerate() {
        if n > 0 {
            out.push_str("<div class=\"d-gap\"><span></span><span>…</span></div>");
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            shown += 1;
            if shown > LINES {
                continue;
            }
            let (class, sign, word) = match change.tag() {
                ChangeTag::Delete => ("d-old", '−', "before: "),
                ChangeTag::Insert => ("d-new", '+', "after: "),
                ChangeTag::Equal => ("d-same", ' ', ""),
            };
            out.push_str(&format!(
                "<div class=\"{class}\"><span aria-hidden=\"true\">{sign}</span><span><span class=\"visually-hidden\">{word}</span><bdi>"
            ));
            text::push(&mut out, change.value().trim_end_matches(['\n', '\r']), true);
            out.push_str("</bdi></span></div>");
        }
    }
    if shown > LINES {
        out.push_str(&format!(
            "<div class=\"d-gap\"><span></span><span>{} more lines</span></div>",
            super::number::thousands((shown - LINES) as u64)
        ));
    }
    out.push_str("</div>");
    Html::trusted(out)
}

/// Differences of two long texts of one line each, by words.
fn words(old: &str, new: &str) -> Html {
    let diff = TextDiff::configure().timeout(PATIENCE).diff_words(old, new);
    let alike = diff.ratio() > 0.35;
    let mut out = String::from("<div class=\"diff\">");
    for (class, sign, word, gone) in
        [("d-old", '−', "before: ", ChangeTag::Insert), ("d-new", '+', "after: ", ChangeTag::Delete)]
    {
        out.push_str(&format!(
            "<div class=\"{class}\"><span aria-hidden=\"true\">{sign}</span><span><span class=\"visually-hidden\">{word}</span><bdi>"
        ));
        let mut open: Option<&str> = None;
        for change in diff.iter_all_changes().filter(|change| change.tag() != gone) {
            let element = match change.tag() {
                ChangeTag::Equal => None,
                ChangeTag::Delete => alike.then_some("del"),
                ChangeTag::Insert => alike.then_some("ins"),
            };
            if element != open {
                if let Some(open) = open {
                    out.push_str(&format!("</{open}>"));
                }
                if let Some(element) = element {
                    out.push_str(&format!("<{element}>"));
                }
                open = element;
            }
            text::push(&mut out, change.value(), true);
        }
        if let Some(open) = open {
            out.push_str(&format!("</{open}>"));
        }
        out.push_str("</bdi></span></div>");
    }
    out.push_str("</div>");
    Html::trusted(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object_of(json: &str) -> Object {
        serde_json::from_str(json).unwrap()
    }

    fn html(before: &str, after: &str) -> String {
        changed(&object_of(before), &object_of(after)).into_iter().map(|a| a.html.to_string()).collect()
    }

    #[test]
    fn short_values_stand_side_by_side_and_missing_ones_say_so() {
        let shown = html(r#"{"owner":"<a>"}"#, r#"{"owner":"b"}"#);
        assert!(shown.contains("&quot;&lt;a&gt;&quot;") && !shown.contains("<a>"), "{shown}");
        assert!(html("{}", r#"{"owner":"b"}"#).contains("not asserted"));
        assert_eq!(html(r#"{"a":1}"#, r#"{"a":1}"#), "");
    }

    #[test]
    fn within_objects_only_what_differs_is_shown_by_its_path() {
        let (before, after) = (r#"{"s":{"rows":1,"at":"x"}}"#, r#"{"s":{"rows":2,"at":"x"}}"#);
        let found = changed(&object_of(before), &object_of(after));
        let names: Vec<&str> = found.iter().map(|attribute| attribute.name.as_str()).collect();
        assert_eq!(names, ["s.rows"]);
    }

    #[test]
    fn long_text_is_compared_by_lines_and_by_words() {
        let old: String = (0..30).map(|n| format!("line {n}\n")).collect();
        let new = old.replace("line 3\n", "line three\n");
        let (old, new) = (serde_json::json!({ "d": old }), serde_json::json!({ "d": new }));
        let shown = html(&old.to_string(), &new.to_string());
        assert!(shown.contains("d-old") && shown.contains("line three") && !shown.contains("line 20"));

        let old = "one word after the other ".repeat(10);
        let new = old.replacen("word", "<b>word</b>", 1);
        let (old, new) = (serde_json::json!({ "d": old }), serde_json::json!({ "d": new }));
        let shown = html(&old.to_string(), &new.to_string());
        assert!(shown.contains("<ins>") && shown.contains("&lt;b&gt;") && !shown.contains("<b>"), "{shown}");
    }
}
