//! The secrets that settings and environments are known to hold, whether the
//! settings are valid or not, and whether they are TOML at all.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use toml::{Table, Value};
use url::Url;

use super::scrub::GONE;
use super::shapes::{is_secret, speaks_of_one};

/// Shorter values can't be told from plain text.
const SHORTEST: usize = 6;
/// A part of a URL's path that is so long may be a secret of its own.
const LONG: usize = 16;
/// Most bytes of a file with a secret.
const FILE: u64 = 64 << 10;

/// What is found, and what stands in its place.
#[derive(Default)]
pub struct Known {
    replaced: Vec<(String, String)>,
    /// Variables whose values are secrets, whatever they are called.
    variables: BTreeSet<String>,
    base: PathBuf,
}

impl Known {
    /// What a settings file and environments hold. `base`: what paths are
    /// relative to.
    pub fn of(settings: &str, base: &Path, environment: &[(String, String)]) -> Self {
        let mut known = Self { base: base.into(), ..Self::default() };
        match settings.parse::<Table>() {
            Ok(table) => known.table(None, &table),
            Err(_) => settings.lines().for_each(|line| known.line(line)),
        }
        for (name, value) in environment {
            known.variable(name, value.trim());
        }
        for (name, value) in environment {
            if known.variables.contains(name) {
                known.secret(value.trim());
            }
        }
        // The longer ones first: another may be a part of one.
        known.replaced.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        known.replaced.dedup_by(|a, b| a.0 == b.0);
        known
    }

    /// A text without them.
    pub fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (found, instead) in &self.replaced {
            if text.contains(found.as_str()) {
                text = text.replace(found.as_str(), instead);
            }
            // As JSON and TOML write it.
            let quoted = serde_json::to_string(found).unwrap_or_default();
            let inner = quoted.trim_matches('"');
            if inner != found.as_str() && text.contains(inner) {
                text = text.replace(inner, instead);
            }
        }
        text
    }

    fn secret(&mut self, text: &str) {
        if text.chars().count() >= SHORTEST {
            self.replaced.push((text.to_owned(), GONE.to_owned()));
        }
    }

    fn file(&mut self, path: &str) {
        let mut text = String::new();
        let opened = std::fs::File::open(self.base.join(path));
        // What is no text, or is not there, is nobody's secret here.
        if opened.is_ok_and(|file| file.take(FILE).read_to_string(&mut text).is_ok()) {
            self.secret(text.trim());
            text.lines().for_each(|line| self.secret(line.trim()));
        }
    }

    /// `root`: the section of the file that it stands in.
    fn table(&mut self, root: Option<&str>, table: &Table) {
        for (name, value) in table {
            self.value(root.unwrap_or(name), name, value);
        }
    }

    fn value(&mut self, root: &str, name: &str, value: &Value) {
        match value {
            Value::String(text) => self.text(root, name, text),
            Value::Array(list) => list.iter().for_each(|item| self.value(root, name, item)),
            Value::Table(inner) => self.table(Some(root), inner),
            other if is_secret(name) => self.secret(&other.to_string()),
            _ => {}
        }
    }

    fn text(&mut self, root: &str, name: &str, text: &str) {
        if is_secret(name) {
            self.secret(text);
        } else if speaks_of_one(name) && name.ends_with("_file") {
            self.file(text);
        } else if speaks_of_one(name) && name.ends_with("_env") {
            self.variables.insert(text.to_owned());
            // Whoever took it for the place of the secret itself.
            if !text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_') {
                self.secret(text);
            }
        } else if let Ok(url) = Url::parse(text) {
            self.url(text, &url, root == "webhook");
        }
    }

    /// Of a URL of HTTP only the place is kept; of others user, password and
    /// query go. `private`: the path is known to its owner alone.
    fn url(&mut self, text: &str, url: &Url, private: bool) {
        let user = Some(url.username()).filter(|user| !user.is_empty());
        for part in [user, url.password(), url.query(), url.fragment()].into_iter().flatten() {
            self.secret(part);
        }
        for (_, value) in url.query_pairs() {
            self.secret(&value);
        }
        if !["http", "https"].contains(&url.scheme()) {
            return;
        }
        let path = url.path().trim_end_matches('/');
        if private {
            self.secret(path);
        }
        path.split('/').filter(|part| part.len() >= LONG).for_each(|part| self.secret(part));
        let place = url.origin().ascii_serialization();
        for whole in [text, url.as_str()] {
            let whole = whole.trim_end_matches('/');
            if whole.len() > place.len() {
                self.replaced.push((whole.to_owned(), place.clone()));
            }
        }
    }

    /// A line of a file that is no TOML.
    fn line(&mut self, line: &str) {
        if let Ok(table) = line.parse::<Table>() {
            return self.table(None, &table);
        }
        let Some((name, rest)) = line.split_once('=') else { return };
        let quotes = ['"', '\''];
        let parts = rest.split(quotes).skip(1).step_by(2).chain([rest.trim().trim_matches(quotes)]);
        for part in parts {
            if speaks_of_one(line) {
                self.secret(part);
            }
            // The secret of a webhook is as good as any.
            self.text("webhook", name.trim(), part);
        }
    }

    fn variable(&mut self, name: &str, value: &str) {
        if is_secret(name) {
            self.secret(value);
        } else if speaks_of_one(name) && name.ends_with("_FILE") {
            self.file(value);
        } else if speaks_of_one(name) && name.ends_with("_ENV") {
            self.variables.insert(value.to_owned());
        } else if let Ok(url) = Url::parse(value) {
            self.url(value, &url, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(settings: &str, environment: &[(&str, &str)]) -> Known {
        let environment: Vec<_> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Known::of(settings, Path::new("."), &environment)
    }

    #[test]
    fn values_of_variables_that_are_named_as_secrets_go_wherever_they_stand() {
        let known = known(
            "[targets.x]\ntoken_env = \"PLAIN\"\n",
            &[
                ("AWS_SECRET_ACCESS_KEY", "abcdef/123"),
                ("AWS_REGION", "eu-central-1"),
                ("PROXY", "s3://anna:hunter22@proxy:3128/"),
                ("X_TOKEN", "abc"),
                ("PLAIN", "not so plain"),
            ],
        );
        let text = known.clean("abcdef/123 in eu-central-1 through hunter22 abc not so plain");
        assert_eq!(text, format!("{GONE} in eu-central-1 through {GONE} abc {GONE}"));
    }

    #[test]
    fn of_a_url_the_place_is_kept() {
        let known = known(
            "[targets.x]\nurl = \"http://h:1/tenants/a\"\n[[webhook]]\nurl = \"https://h/T0/hook\"\n",
            &[],
        );
        let text = known.clean("http://h:1/tenants/a/v1 https://h/T0/hook?y /tenants/a /T0/hook");
        assert_eq!(text, format!("http://h:1/v1 https://h?y /tenants/a {GONE}"));
    }

    #[test]
    fn a_secret_is_found_as_json_writes_it_too() {
        let known = known("", &[("DB_PASSWORD", "with \"quotes\"")]);
        assert!(!known.clean("{\"a\":\"with \\\"quotes\\\"\"}").contains("quotes"));
    }
}
