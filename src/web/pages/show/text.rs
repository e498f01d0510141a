//! Foreign text in HTML: escaped, apart from the text around it, and with
//! everything made visible that would make it read other than it is.

use super::Html;

/// Appends `text` for the inside of an element. Control characters, marks that
/// turn the direction of writing and characters without a width are shown as
/// what they are. With `lines`, line ends and tabs stay.
pub fn push(out: &mut String, text: &str, lines: bool) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' if lines => out.push(c),
            c if is_hidden(c) => {
                out.push_str("<span class=\"esc\">");
                out.extend(c.escape_default());
                out.push_str("</span>");
            }
            c => out.push(c),
        }
    }
}

/// The same of a message of ours: what stands between backticks is code.
pub fn push_said(out: &mut String, text: &str, lines: bool) {
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('`') {
        push(out, before, lines);
        match after.split_once('`') {
            Some((code, after)) if !code.is_empty() => {
                out.push_str("<code>");
                push(out, code, lines);
                out.push_str("</code>");
                rest = after;
            }
            Some(_) | None => {
                out.push('`');
                rest = after;
            }
        }
    }
    push(out, rest, lines);
}

fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text with what is hidden made visible, not escaped yet: for places that
/// hold no elements.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// Appends an attribute's value, without its quotes: escaped, and nothing else.
pub fn push_attribute(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
}

/// The first `most` characters, and whether something was cut off.
pub fn cut(text: &str, most: usize) -> (&str, bool) {
    match text.char_indices().nth(most) {
        Some((at, _)) => (&text[..at], true),
        None => (text, false),
    }
}

/// A value as a whole.
pub fn whole(text: &str) -> Html {
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str("<bdi>");
    push(&mut out, text, false);
    out.push_str("</bdi>");
    Html::trusted(out)
}

/// A value cut to `most` characters, for places that lead to the whole of it.
pub fn short(text: &str, most: usize) -> Html {
    let (start, more) = cut(text, most);
    let mut out = String::with_capacity(start.len() + 16);
    out.push_str("<bdi>");
    push(&mut out, start, false);
    out.push_str("</bdi>");
    if more {
        out.push('…');
    }
    Html::trusted(out)
}

/// A message of ours, cut to `most` characters.
pub fn said(text: &str, most: usize) -> Html {
    let (start, more) = cut(text, most);
    let mut out = String::from("<bdi>");
    push_said(&mut out, start, false);
    out.push_str(if more { "</bdi>…" } else { "</bdi>" });
    Html::trusted(out)
}

/// A message of ours that unfolds when it is longer than `most` characters.
pub fn said_folded(text: &str, most: usize) -> Html {
    if !cut(text, most).1 {
        return said(text, most);
    }
    unfolding(text, most, false, push_said)
}

/// The beginning of a text, which unfolds to all of it.
fn unfolding(text: &str, most: usize, lines: bool, push: fn(&mut String, &str, bool)) -> Html {
    let mut out = String::with_capacity(text.len() + 64);
    out.push_str("<details class=\"long\"><summary><bdi>");
    push(&mut out, cut(text, most).0, lines);
    out.push_str("</bdi>…</summary><bdi class=\"full\" dir=\"auto\">");
    push(&mut out, text, true);
    out.push_str("</bdi></details>");
    Html::trusted(out)
}

/// A value that unfolds when it is longer than `most` characters.
pub fn folded(text: &str, most: usize, lines: bool) -> Html {
    let (_, more) = cut(text, most);
    if !more && !lines {
        return whole(text);
    }
    if more {
        return unfolding(text, most, lines, push);
    }
    let mut out = String::from("<bdi class=\"value\" dir=\"auto\">");
    push(&mut out, text, true);
    out.push_str("</bdi>");
    Html::trusted(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_value_is_html() {
        let html = whole("<script>alert('x')</script>&\"");
        assert_eq!(html.as_str(), "<bdi>&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;</bdi>");
    }

    #[test]
    fn what_a_message_quotes_is_code_and_a_lone_mark_stays() {
        assert_eq!(said("set `a.<b>`, then", 80).as_str(), "<bdi>set <code>a.&lt;b&gt;</code>, then</bdi>");
        assert_eq!(said("a ` b", 80).as_str(), "<bdi>a ` b</bdi>");
        assert_eq!(said("a `` b", 80).as_str(), "<bdi>a `` b</bdi>");
        assert_eq!(said_folded("say `it`", 5).as_str().matches("<code>it</code>").count(), 1);
    }

    #[test]
    fn what_turns_or_hides_text_is_shown() {
        assert_eq!(
            whole("a\u{202e}b\n").as_str(),
            "<bdi>a<span class=\"esc\">\\u{202e}</span>b<span class=\"esc\">\\n</span></bdi>"
        );
        assert_eq!(whole("größe 顧客 שלום").as_str(), "<bdi>größe 顧客 שלום</bdi>");
    }

    #[test]
    fn long_values_are_cut_by_characters_and_stay_reachable() {
        let long = "é".repeat(10_000);
        assert_eq!(short(&long, 3).as_str(), "<bdi>ééé</bdi>…");
        assert!(folded(&long, 100, false).as_str().contains(&long));
        assert_eq!(folded("ab", 100, false).as_str(), "<bdi>ab</bdi>");
    }
}
