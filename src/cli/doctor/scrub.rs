//! Taking secrets out of what is written into an archive: those that the
//! settings and the environment are known to hold, wherever they stand, and
//! what URLs carry besides their place.

use url::Url;

use crate::config::Settings;

/// What stands where something was taken out.
const GONE: &str = "[removed]";
/// Shorter values can't be told from plain text.
const SHORTEST: usize = 6;
/// Parts of names of variables whose values are secrets.
const SECRET: [&str; 8] =
    ["SECRET", "TOKEN", "PASSWORD", "PASSWD", "CREDENTIAL", "ACCESS_KEY", "API_KEY", "PRIVATE"];

/// Texts that must not leave the machine.
pub struct Scrub(Vec<String>);

impl Scrub {
    /// What these settings and this environment hold.
    pub fn new(settings: Option<&Settings>, environment: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut secrets = Vec::new();
        let mut named = Vec::new();
        for webhook in settings.iter().flat_map(|settings| &settings.webhooks) {
            if let Some(Ok(secret)) = webhook.secret.as_ref().map(|secret| secret.text()) {
                secrets.push(secret);
            }
            if let Some(crate::config::Secret::Env(name)) = &webhook.secret {
                named.push(name.clone());
            }
            secrets.extend(parts_of(&webhook.url, true));
        }
        for inbox in settings.iter().flat_map(|settings| &settings.inboxes) {
            secrets.extend(parts_of(&inbox.url, false));
        }
        for (name, value) in environment {
            let upper = name.to_uppercase();
            if SECRET.iter().any(|part| upper.contains(part)) || named.contains(&name) {
                secrets.push(value.trim().to_owned());
            } else if let Ok(url) = Url::parse(value.trim()) {
                secrets.extend(parts_of(&url, false));
            }
        }
        secrets.retain(|secret| secret.len() >= SHORTEST);
        // The longer ones first: another may be a part of one.
        secrets.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        secrets.dedup();
        Self(secrets)
    }

    /// A text without them.
    pub fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), GONE);
            }
            // As JSON and TOML write it.
            let quoted = serde_json::to_string(secret).unwrap_or_default();
            let inner = quoted.trim_matches('"');
            if inner != secret.as_str() && text.contains(inner) {
                text = text.replace(inner, GONE);
            }
        }
        text
    }
}

/// What a URL says besides its place: user and password, query, and of a
/// webhook its path, which is a secret with many receivers.
fn parts_of(url: &Url, path: bool) -> Vec<String> {
    let mut parts = Vec::new();
    if !url.username().is_empty() {
        parts.push(url.username().to_owned());
    }
    parts.extend(url.password().map(str::to_owned));
    parts.extend(url.query().map(str::to_owned));
    if path && url.path().len() > 1 {
        parts.push(url.path().to_owned());
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrub(environment: &[(&str, &str)]) -> Scrub {
        Scrub::new(None, environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn values_of_variables_that_are_named_as_secrets_go_wherever_they_stand() {
        let scrub = scrub(&[
            ("AWS_SECRET_ACCESS_KEY", "abcdef/123"),
            ("AWS_REGION", "eu-central-1"),
            ("PROXY", "http://ann:hunter22@proxy:3128/"),
            ("X_TOKEN", "abc"),
        ]);
        let text = scrub.clean("key abcdef/123 in eu-central-1 through http://ann:hunter22@proxy:3128/ abc");
        assert_eq!(text, format!("key {GONE} in eu-central-1 through http://ann:{GONE}@proxy:3128/ abc"));
    }

    #[test]
    fn a_secret_is_found_as_json_writes_it_too() {
        let scrub = scrub(&[("DB_PASSWORD", "with \"quotes\"")]);
        assert!(!scrub.clean("{\"a\":\"with \\\"quotes\\\"\"}").contains("quotes"));
    }
}
