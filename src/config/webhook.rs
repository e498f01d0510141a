//! `[[webhook]]`: where notices are sent, and how their receiver knows that
//! they are ours.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use toml::{Table, Value};
use url::Url;

use super::read::{Reading, join};
use super::values::{self, at_least, duration, text, texts};
use super::{Settings, reference};
use crate::domain::notice::NoticeKind;
use crate::error::{Error, ErrorKind, Result};

/// Where a secret is kept. It is read when it is needed, so that it can be
/// changed at any time, and never shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// In a file.
    File(PathBuf),
    /// In a variable of the environment.
    Env(String),
}

/// What a secret begins with whose rest is base64, as in the Standard
/// Webhooks specification.
const ENCODED: &str = "whsec_";

impl Secret {
    /// The secret's bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] when there is none where it should be.
    pub fn read(&self) -> Result<Vec<u8>> {
        let text = self.text()?;
        match text.strip_prefix(ENCODED) {
            Some(rest) => STANDARD.decode(rest).map_err(|_| {
                Error::new(
                    ErrorKind::Settings,
                    format!("{}: what follows whsec_ is not base64", self.place()),
                )
            }),
            None => Ok(text.into_bytes()),
        }
    }

    /// The secret as a bearer token.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] when there is none, or one that no header can carry.
    pub fn token(&self) -> Result<Vec<u8>> {
        let token = self.read()?;
        if token.iter().any(u8::is_ascii_control) {
            let setting = match self {
                Self::File(_) => "token_file",
                Self::Env(_) => "token_env",
            };
            let text = format!(
                "{}: the token that `{setting}` leads to has a control character, which no header can carry; \
                 it is one line",
                self.place()
            );
            return Err(Error::new(ErrorKind::Settings, text));
        }
        Ok(token)
    }

    fn place(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Env(name) => format!("the variable {name}"),
        }
    }

    /// The secret as it is written.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`] when there is none where it should be.
    pub fn text(&self) -> Result<String> {
        let text = match self {
            Self::File(path) => std::fs::read_to_string(path).ok(),
            Self::Env(name) => std::env::var(name).ok(),
        };
        let text = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let missing = || format!("{}: there is no secret that can be read", self.place());
        text.ok_or_else(|| Error::new(ErrorKind::Settings, missing()))
    }
}

/// A receiver of notices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSettings {
    /// Where they are sent.
    pub url: Url,
    /// What it wants to hear of.
    pub events: Vec<NoticeKind>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long a notice is tried to be delivered.
    pub give_up: Duration,
    /// What notices are signed with.
    pub secret: Option<Secret>,
}

impl WebhookSettings {
    /// Those of a URL with everything else left out.
    pub fn new(url: Url) -> Self {
        Self {
            url,
            events: NoticeKind::ALL.to_vec(),
            timeout: Duration::from_secs(10),
            give_up: Duration::from_secs(24 * 3600),
            secret: None,
        }
    }

    /// Scheme, host and port: all that logs tell of the URL, whose path may be
    /// known to its owner alone.
    pub fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }
}

/// A URL that something is reached at over HTTP.
pub(super) fn url(value: &Value) -> Result<Url, String> {
    let url = Url::parse(&text(value)?).map_err(|e| format!("is not a URL: {e}"))?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err(format!("has the scheme {}; there are: http, https", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or a password".into());
    }
    Ok(url)
}

impl Reading {
    /// The array `webhook`.
    pub(super) fn webhooks(&mut self, table: &Table, base: &Path, settings: &mut Settings) {
        let list = match table.get("webhook") {
            None => return,
            Some(Value::Array(list)) => list,
            Some(_) => return self.problem("webhook", "must be written as [[webhook]]"),
        };
        for (n, value) in list.iter().enumerate() {
            let path = format!("webhook[{n}]");
            let Value::Table(webhook) = value else {
                self.problem(&path, "must be a section");
                continue;
            };
            self.unknown(webhook, &path, &reference::names("webhook"));
            let mut at = None;
            if !webhook.contains_key("url") {
                self.problem(&join(&path, "url"), "is missing");
            }
            self.value(webhook, &path, "url", &mut at, |value| url(value).map(Some));
            let Some(mut entry) = at.map(WebhookSettings::new) else { continue };
            self.value(webhook, &path, "events", &mut entry.events, |value| {
                texts(value)?.iter().map(|name| name.parse()).collect()
            });
            self.value(webhook, &path, "timeout", &mut entry.timeout, |value| {
                match at_least(value, Duration::from_millis(100))? {
                    long if long > Duration::from_secs(60) => Err("must be at most \"60s\"".into()),
                    timeout => Ok(timeout),
                }
            });
            self.value(webhook, &path, "give_up", &mut entry.give_up, duration);
            let secret = &mut entry.secret;
            self.value(webhook, &path, "secret_file", secret, |value| {
                Ok(Some(Secret::File(values::path(value, base)?)))
            });
            self.value(webhook, &path, "secret_env", secret, |value| Ok(Some(Secret::Env(text(value)?))));
            if webhook.contains_key("secret_file") && webhook.contains_key("secret_env") {
                self.problem(
                    &join(&path, "secret_env"),
                    "stands beside `secret_file`: leave one of them out",
                );
            } else if let Some(Err(error)) = entry.secret.as_ref().map(Secret::read) {
                let name = if webhook.contains_key("secret_env") { "secret_env" } else { "secret_file" };
                self.problem(&join(&path, name), format!("can't be used: {}", error.message()));
            }
            if settings.webhooks.iter().any(|other| other.url == entry.url) {
                self.problem(&join(&path, "url"), "is that of a webhook before it");
                continue;
            }
            settings.webhooks.push(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::LoadOptions;
    use super::*;

    fn check(text: &str) -> (Settings, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tidegate.toml");
        std::fs::write(&file, text).unwrap();
        std::fs::write(folder.path().join("key"), "whsec_c2VjcmV0\n").unwrap();
        let options = LoadOptions { file: Some(file), ..LoadOptions::default() };
        let (settings, problems) = super::super::read::load(&options).unwrap();
        let secrets: Vec<_> =
            settings.webhooks.iter().filter_map(|w| w.secret.as_ref()?.read().ok()).collect();
        assert!(secrets.iter().all(|secret| secret == b"secret"));
        let strip = format!("{}/", folder.path().display());
        (settings, problems.into_iter().map(|p| p.replace(&strip, "")).collect())
    }

    #[test]
    fn a_webhook_is_read_with_its_secret() {
        let (settings, problems) = check(
            "[[webhook]]\nurl = \"https://example.org/h?x=1\"\n[[webhook]]\nurl = \"http://localhost:9/\"\nevents = [\"batch.ended\"]\ntimeout = \"2s\"\ngive_up = \"1h\"\nsecret_file = \"key\"\n",
        );
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(settings.webhooks[0], WebhookSettings::new("https://example.org/h?x=1".parse().unwrap()));
        assert_eq!(settings.webhooks[0].origin(), "https://example.org");
        assert_eq!(settings.webhooks[1].timeout, Duration::from_secs(2));
        assert!(matches!(&settings.webhooks[1].secret, Some(Secret::File(path)) if path.ends_with("key")));
    }

    #[test]
    fn what_can_not_be_a_webhook_is_told() {
        let (settings, problems) = check(
            "[[webhook]]\nurl = \"ftp://example.org/\"\n[[webhook]]\nurl = \"http://a:b@example.org/\"\n[[webhook]]\nevents = []\n[[webhook]]\nurl = \"http://a/\"\nevents = [\"batch.begun\"]\nsecret_env = \"NO_SUCH_VARIABLE_OF_TIDEGATE\"\n[[webhook]]\nurl = \"http://a/\"\nsecrets = 1\n",
        );
        let all = problems.join("\n");
        assert_eq!(problems.len(), 7, "{all}");
        for text in [
            "scheme ftp",
            "user or a password",
            "is missing",
            "batch.ended",
            "no secret",
            "before it",
            "].secrets`",
        ] {
            assert!(all.contains(text), "{text}: {all}");
        }
        assert_eq!(settings.webhooks.len(), 1);
    }
}
