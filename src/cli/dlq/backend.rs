//! Dead letters of whomever the command talks to.

use serde::Serialize;

use super::super::backend::{Act, Backend};
use crate::error::Result;
use crate::service::dead_letters::{BULK_MAX, LookedAt};
use crate::service::query::{GroupQuery, LetterQuery, Order};
use crate::service::views::{
    DeadLetterDetail, DeadLetterView, LetterGroupView, LetterPreview, LetterResults, LetterState, Page,
};

const DLQ: [&str; 3] = ["api", "v1", "dlq"];

/// What is done about letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// They go back into the queue.
    Requeue,
    /// They are given up.
    Discard,
}

impl Doing {
    fn as_str(self) -> &'static str {
        match self {
            Self::Requeue => "requeue",
            Self::Discard => "discard",
        }
    }
}

#[derive(Serialize)]
struct One<'a> {
    revision: u64,
    #[serde(flatten)]
    act: &'a Act<'a>,
}

#[derive(Serialize)]
struct Edit<'a> {
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    original_hash: Option<&'a str>,
    #[serde(flatten)]
    one: One<'a>,
}

impl<'a> Edit<'a> {
    fn of(seen: &'a DeadLetterDetail, content: Option<&'a str>, act: &'a Act<'a>) -> Self {
        let one = One { revision: seen.letter.revision, act };
        Self { content, original_hash: original(seen), one }
    }
}

fn looked_at(seen: &DeadLetterDetail) -> LookedAt<'_> {
    LookedAt { revision: Some(seen.letter.revision), original: original(seen) }
}

/// The hash of the original that was looked at: where there is an edit, that is what an
/// editor shows, and what a file was most likely made of.
fn original(seen: &DeadLetterDetail) -> Option<&str> {
    seen.original_hash.as_deref().filter(|_| !seen.letter.edited)
}

#[derive(Serialize)]
struct All<'a> {
    filter: crate::web::LetterFilter,
    limit: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<&'a str>,
    #[serde(flatten)]
    act: &'a Act<'a>,
}

fn text<T: ToString>(value: &Option<T>) -> Option<String> {
    value.as_ref().map(ToString::to_string)
}

impl Backend {
    /// A part of the dead letters.
    pub fn letters(&self, query: &LetterQuery) -> Result<Page<DeadLetterView>> {
        let client = match self {
            Self::Directory(engine, _) => return engine.letters(query),
            Self::Server(client) => client,
        };
        // A server takes one state, or none for those that are not settled.
        let state = match &query.states[..] {
            [] => None,
            [state] => Some(state.as_str().to_owned()),
            [_, _, ..] => Some("all".to_owned()),
        };
        client.get(
            &DLQ,
            &[
                ("state", state),
                ("source_id", text(&query.source_id)),
                ("kind", query.kind.map(|kind| kind.as_str().to_owned())),
                ("type", query.type_name.clone()),
                ("name", query.name.clone()),
                ("code", query.code.clone()),
                ("signature", query.signature.clone()),
                ("batch_id", text(&query.batch_id)),
                ("since", text(&query.since)),
                ("until", text(&query.until)),
                ("order", (query.order == Order::Oldest).then(|| "oldest".to_owned())),
                ("limit", text(&query.part.limit)),
                ("cursor", query.part.cursor.clone()),
            ],
        )
    }

    /// A part of the groups of letters that are not settled.
    pub fn letter_groups(&self, query: &GroupQuery) -> Result<Page<LetterGroupView>> {
        match self {
            Self::Directory(engine, _) => engine.letter_groups(query),
            Self::Server(client) => {
                let [api, v1, dlq] = DLQ;
                client.get(
                    &[api, v1, dlq, "groups"],
                    &[
                        ("source_id", text(&query.source_id)),
                        ("kind", query.kind.map(|kind| kind.as_str().to_owned())),
                        ("code", query.code.clone()),
                        ("limit", text(&query.part.limit)),
                        ("cursor", query.part.cursor.clone()),
                    ],
                )
            }
        }
    }

    /// A letter with all that is known of it.
    pub fn letter(&self, id: u64) -> Result<DeadLetterDetail> {
        match self {
            Self::Directory(engine, _) => engine.letter(id),
            Self::Server(client) => {
                let [api, v1, dlq] = DLQ;
                client.get(&[api, v1, dlq, &id.to_string()], &[])
            }
        }
    }

    /// The original of a letter, byte for byte.
    pub fn letter_content(&self, id: u64) -> Result<Vec<u8>> {
        match self {
            Self::Directory(engine, _) => engine.letter_content(id),
            Self::Server(client) => {
                let [api, v1, dlq] = DLQ;
                client.bytes(&[api, v1, dlq, &id.to_string(), "content"])
            }
        }
    }

    /// What a content would change; without one, what the letter holds.
    pub fn check_letter(&self, id: u64, content: Option<&str>) -> Result<LetterPreview> {
        match self {
            Self::Directory(engine, _) => engine.check_letter(id, content.map(str::as_bytes)),
            Self::Server(client) => {
                let [api, v1, dlq] = DLQ;
                client.post_long(
                    &[api, v1, dlq, &id.to_string(), "check"],
                    &serde_json::json!({ "content": content }),
                )
            }
        }
    }

    /// Puts other content in the place of the original of a letter, as that was
    /// `seen`; `None` takes an edit back.
    pub fn edit_letter(
        &self,
        seen: &DeadLetterDetail,
        content: Option<&str>,
        act: &Act<'_>,
    ) -> Result<DeadLetterDetail> {
        let id = seen.letter.id;
        match self {
            Self::Directory(engine, _) => {
                let content = content.map(str::as_bytes);
                engine.edit_letter(id, looked_at(seen), content, act.actor, act.reason)?;
                engine.letter(id)
            }
            Self::Server(client) => {
                let [api, v1, dlq] = DLQ;
                let edit = Edit::of(seen, content, act);
                client.post(&[api, v1, dlq, &id.to_string(), "edit"], &edit)
            }
        }
    }

    /// Edits a letter as it was `seen`, and puts it back into the queue.
    pub fn repair_letter(
        &self,
        seen: &DeadLetterDetail,
        content: &str,
        act: &Act<'_>,
    ) -> Result<DeadLetterDetail> {
        let id = seen.letter.id;
        match self {
            Self::Directory(engine, _) => {
                engine.repair_letter(id, looked_at(seen), content.as_bytes(), act.actor, act.reason)?;
                engine.letter(id)
            }
            Self::Server(client) => {
                let [api, v1, dlq] = DLQ;
                let edit = Edit::of(seen, Some(content), act);
                client.post(&[api, v1, dlq, &id.to_string(), "requeue"], &edit)
            }
        }
    }

    /// Does something about one letter.
    pub fn decide_letter(
        &self,
        doing: Doing,
        id: u64,
        revision: u64,
        act: &Act<'_>,
    ) -> Result<DeadLetterDetail> {
        match self {
            Self::Directory(engine, _) => {
                match doing {
                    Doing::Requeue => {
                        engine.requeue_letter(id, Some(revision), act.actor, act.reason)?;
                    }
                    Doing::Discard => engine.discard_letter(id, Some(revision), act.actor, act.reason)?,
                }
                engine.letter(id)
            }
            Self::Server(client) => {
                let [api, v1, dlq] = DLQ;
                client.post(&[api, v1, dlq, &id.to_string(), doing.as_str()], &One { revision, act })
            }
        }
    }

    /// Does something about a part of the open letters that a query finds.
    pub fn decide_letters(&self, doing: Doing, query: &LetterQuery, act: &Act<'_>) -> Result<LetterResults> {
        let query = LetterQuery { states: vec![LetterState::Open], order: Order::Oldest, ..query.clone() };
        match self {
            Self::Directory(engine, _) => match doing {
                Doing::Requeue => engine.requeue_letters(&query, act.actor, act.reason),
                Doing::Discard => engine.discard_letters(&query, act.actor, act.reason),
            },
            Self::Server(client) => {
                let [api, v1, dlq] = DLQ;
                let all = All {
                    limit: query.part.limit.unwrap_or(BULK_MAX),
                    cursor: query.part.cursor.as_deref(),
                    filter: (&query).into(),
                    act,
                };
                client.post(&[api, v1, dlq, doing.as_str()], &all)
            }
        }
    }
}
