//! What has the shape of a secret, whoever's it is: headers of authorization,
//! bearer tokens, `password=…`, credentials and queries of URLs, keys that
//! name themselves.

use super::scrub::GONE;

/// Parts of names whose values are secrets.
const SECRET: [&str; 12] = [
    "SECRET",
    "TOKEN",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "ACCESS_KEY",
    "ACCESSKEY",
    "API_KEY",
    "APIKEY",
    "PRIVATE",
    "SIGNATURE",
];
/// Headers that are secrets as a whole.
const HEADERS: [&str; 2] = ["AUTHORIZATION", "COOKIE"];
/// What keys of well-known services begin with.
const BEGINNINGS: [&str; 7] = ["whsec_", "ghp_", "gho_", "github_pat_", "glpat-", "xoxb-", "xoxp-"];
/// What the ids of AWS keys begin with.
const AWS: [&str; 6] = ["AKIA", "ASIA", "ABIA", "ACCA", "AROA", "AIDA"];
/// Shorter values behind a colon are words of a sentence.
const SHORTEST: usize = 6;

/// Whether what has this name is a secret. What only says where a secret is,
/// is none.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase().replace('-', "_");
    let is_place = name.ends_with("_FILE") || name.ends_with("_ENV") || name.ends_with("_PATH");
    !is_place && speaks_of_one(&name)
}

/// Whether a name speaks of a secret, be it of the secret or of its place.
pub fn speaks_of_one(name: &str) -> bool {
    let name = name.to_ascii_uppercase().replace('-', "_");
    SECRET.iter().chain(&HEADERS).any(|part| name.contains(part))
}

/// A text without them.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_key = false;
    for line in text.split_inclusive('\n') {
        if in_key {
            in_key = !line.contains("-----END ");
            continue;
        }
        match line.find("-----BEGIN ").filter(|_| line.contains("PRIVATE KEY")) {
            Some(at) => {
                in_key = !line[at..].contains("-----END ");
                out.push_str(&words(&pairs(&bearer(&header(&urls(&line[..at]))))));
                out.push_str(GONE);
                out.push('\n');
            }
            None => out.push_str(&words(&pairs(&bearer(&header(&urls(line)))))),
        }
    }
    out
}

fn is_end(c: char) -> bool {
    c.is_whitespace() || "\"'`<>\\,;&()[]{}".contains(c)
}

/// URLs without user, password and query.
fn urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, url) = rest.split_at(at + 3);
        out.push_str(before);
        let end = url.find(|c: char| c.is_whitespace() || "\"'`<>\\".contains(c)).unwrap_or(url.len());
        let (url, after) = url.split_at(end);
        let place = url.find(['/', '?', '#']).unwrap_or(url.len());
        let (authority, path) = url.split_at(place);
        match authority.rsplit_once('@') {
            Some((_, host)) => out.extend([GONE, "@", host]),
            None => out.push_str(authority),
        }
        match path.split_once('?') {
            Some((path, query)) if !query.is_empty() => out.extend([path, "?", GONE]),
            Some(_) | None => out.push_str(path),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Headers that are secrets as a whole: up to the end of the quotes or the line.
fn header(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    'next: loop {
        let upper = rest.to_ascii_uppercase();
        let found = HEADERS.iter().filter_map(|name| Some((upper.find(name)?, name.len()))).min();
        let Some((at, length)) = found else { break };
        let (name, after) = rest.split_at(at + length);
        out.push_str(name);
        let value = after.trim_start_matches(['"', '\'', '`', '\\']).trim_start_matches(' ');
        let Some(value) = value.strip_prefix([':', '=']) else {
            rest = after;
            continue 'next;
        };
        let value = value.trim_start_matches([' ', '[']);
        out.push_str(&after[..after.len() - value.len()]);
        let (gone, after) = split_value(value, |c| c == '\n' || c == '\r');
        out.push_str(gone);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// What stands for a value, with its quotes, and what follows it. `ends`: what
/// ends one without quotes.
fn split_value(text: &str, ends: impl Fn(char) -> bool) -> (&'static str, &str) {
    for (quote, gone) in
        [("\\\"", "\\\"[removed]\\\""), ("\"", "\"[removed]\""), ("'", "'[removed]'"), ("`", "`[removed]`")]
    {
        let Some(inner) = text.strip_prefix(quote) else { continue };
        let mut from = 0;
        while let Some(at) = inner[from..].find(quote) {
            let end = from + at;
            // A quote that is escaped is a part of the value.
            if quote != "\"" || !inner[..end].ends_with('\\') {
                return (gone, &inner[end + quote.len()..]);
            }
            from = end + quote.len();
        }
        let line = inner.find('\n').unwrap_or(inner.len());
        return (GONE, &inner[line..]);
    }
    (GONE, &text[text.find(ends).unwrap_or(text.len())..])
}

/// Bearer tokens without the header.
fn bearer(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.to_ascii_uppercase().find("BEARER ") {
        let (before, token) = rest.split_at(at + "BEARER ".len());
        out.push_str(before);
        let end = token.find(is_end).unwrap_or(token.len());
        let (token, after) = token.split_at(end);
        out.push_str(if token.chars().count() >= SHORTEST { GONE } else { token });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Pairs such as `password=…` and `token: …`.
fn pairs(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['=', ':']) {
        let (before, after) = rest.split_at(at + 1);
        out.push_str(before);
        rest = after;
        let is_equal = before.ends_with('=');
        let name = before[..at].trim_end_matches([' ', '"', '\'', '`', '\\']);
        let name = &name[name.rfind(|c: char| !is_of_name(c)).map_or(0, |n| n + last_len(name, n))..];
        let named = is_secret(name) || is_equal && name.eq_ignore_ascii_case("key");
        let value = after.trim_start_matches([' ', '\t']);
        let is_other = !is_equal && value.starts_with([':', '/']);
        if !named || is_other || value.starts_with(GONE) {
            continue;
        }
        // A list of them.
        let value = value.trim_start_matches('[');
        let quoted = value.starts_with(['"', '\'', '`', '\\']);
        let length = value.find(is_end).unwrap_or(value.len());
        if !quoted && (length == 0 || !is_equal && value[..length].chars().count() < SHORTEST) {
            continue;
        }
        out.push_str(&after[..after.len() - value.len()]);
        let (gone, after) = split_value(value, is_end);
        out.push_str(gone);
        rest = after;
    }
    out.push_str(rest);
    out
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || "_-.".contains(c)
}

/// Bytes of the character that begins at `at`.
fn last_len(text: &str, at: usize) -> usize {
    text[at..].chars().next().map_or(1, char::len_utf8)
}

/// Keys that name themselves, and JSON Web Tokens.
fn words(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let length = rest.find(|c: char| !is_of_name(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(length);
        out.push_str(if names_itself(word) { GONE } else { word });
        let next = after.find(is_of_name).unwrap_or(after.len());
        out.push_str(&after[..next]);
        rest = &after[next..];
    }
    out
}

fn names_itself(word: &str) -> bool {
    let is_aws = AWS.iter().any(|start| word.starts_with(start))
        && word.len() >= 16
        && word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    let is_jwt = word.starts_with("eyJ") && word.contains('.') && word.len() > 20;
    is_aws
        || is_jwt
        || BEGINNINGS.iter().any(|start| word.starts_with(start) && word.len() >= start.len() + SHORTEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_the_shape_of_a_secret_goes_and_the_rest_stays() {
        for (text, cleaned) in [
            ("GET https://a:b@h:1/x?y=z#f \"ok\"", "GET https://[removed]@h:1/x?[removed] \"ok\""),
            ("Authorization: Basic abc= x\nnext", "Authorization: [removed]\nnext"),
            ("{\"authorization\": \"Bearer abc\", \"n\": 1}", "{\"authorization\": \"[removed]\", \"n\": 1}"),
            ("with bearer abcdefgh, and", "with bearer [removed], and"),
            ("the bearer is here", "the bearer is here"),
            ("password=x user=ann", "password=[removed] user=ann"),
            ("token = \"a \\\" b\" rest", "token = \"[removed]\" rest"),
            ("{\\\"api_key\\\":\\\"abc\\\",\\\"n\\\":1}", "{\\\"api_key\\\":\\\"[removed]\\\",\\\"n\\\":1}"),
            ("password: hunter2hunter2", "password: [removed]"),
            ("token: none", "token: none"),
            ("key=abc monkey=1", "key=[removed] monkey=1"),
            ("secret_file = \"/etc/x\"", "secret_file = \"/etc/x\""),
            ("x AKIAIOSFODNN7EXAMPLE y", "x [removed] y"),
            ("whsec_c2VjcmV0c2Vj.", "[removed]"),
            ("-----BEGIN EC PRIVATE KEY-----\nabc\n-----END EC PRIVATE KEY-----\nx", "[removed]\nx"),
            ("tidegate.toml:4: `sources.w.x` is not known", "tidegate.toml:4: `sources.w.x` is not known"),
            ("ä=1 größe: 12345678 ø:", "ä=1 größe: 12345678 ø:"),
        ] {
            assert_eq!(clean(text), cleaned, "{text}");
        }
    }

    #[test]
    fn no_text_is_too_odd() {
        for text in [
            "",
            "=",
            ":",
            "://",
            "bearer ",
            "key=",
            "token=\"",
            "token='ä",
            "password=\\",
            "secret=\\\"",
            "authorization:",
            "://@?",
            "\u{131}=ß://ä@",
        ] {
            clean(text);
        }
    }
}
