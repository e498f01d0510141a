//! `tidegate inbox`: folders that are no batches, and why.

use clap::Subcommand;

use super::Global;
use super::backend;
use super::common::{more, out, out_json, table};
use super::part::PartArgs;
use crate::error::Result;
use crate::service::query::{PAGE_MAX, Part};
use crate::service::views::{InboxFolderState, InboxListView};

/// Looks into the inboxes.
#[derive(Debug, Subcommand)]
pub enum InboxCommand {
    /// List every folder that is not accepted, or is held, with reason and age
    List {
        #[command(flatten)]
        part: PartArgs<500>,
    },
}

/// Runs the command.
pub fn run(global: &Global, command: &InboxCommand) -> Result<u8> {
    let InboxCommand::List { part } = command;
    let list = backend::look(global, |backend| {
        let mut wanted = part.limit();
        let mut list: Option<InboxListView> = None;
        let mut cursor = part.cursor();
        loop {
            let part = backend.inbox(&Part { limit: Some(wanted.min(PAGE_MAX)), cursor })?;
            wanted = wanted.saturating_sub(part.items.len());
            cursor = part.next_cursor.clone();
            let list = match &mut list {
                Some(list) => {
                    list.items.extend(part.items);
                    list.next_cursor = part.next_cursor;
                    list
                }
                None => list.insert(part),
            };
            if cursor.is_none() || wanted == 0 {
                return Ok(list.clone());
            }
        }
    })?;
    if global.json {
        return out_json(&list).map(|()| 0);
    }
    if let Some(reason) = &list.stopped {
        out(format!("intake stops: {}\n", super::render::safe(reason)))?;
    }
    for inbox in &list.inboxes {
        if let Some(error) = &inbox.error {
            let text = format!("{} can't be looked into: {error}", inbox.url);
            out(format!("{}\n", super::render::safe(&text)))?;
        }
    }
    let several = list.inboxes.len() > 1;
    let rows: Vec<Vec<String>> = list
        .items
        .iter()
        .map(|item| {
            let state = match item.state {
                InboxFolderState::Waiting => "waiting",
                InboxFolderState::Ignored => "ignored",
                InboxFolderState::Changed => "changed",
            };
            let folder = if several { format!("{}{}", item.inbox, item.folder) } else { item.folder.clone() };
            vec![folder, state.into(), age(item.age_seconds), item.reason.clone()]
        })
        .collect();
    let head = table(&["FOLDER", "STATE", "UNCHANGED FOR", "REASON"], &rows);
    out(format!("{head}{}", more(list.next_cursor.as_deref())))?;
    Ok(0)
}

/// A span of time in its largest whole units.
fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_in_their_largest_unit() {
        assert_eq!([5, 60, 7200, 172_800].map(age), ["5 s", "1 min", "2 h", "2 d"]);
    }
}
