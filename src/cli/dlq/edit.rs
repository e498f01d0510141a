//! `tidegate dlq edit`: other content, checked, with what it would change,
//! before it is kept.

use std::io::{IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::Global;
use super::super::backend::{self, Act, Backend, Purpose};
use super::super::common::{actor, clock, confirmed, out, out_json, usage};
use super::super::render;
use super::act;
use crate::domain::json::indented;
use crate::error::{Error, ErrorKind, Result};
use crate::service::dead_letters::MAX_EDIT;
use crate::service::views::{DeadLetterDetail, LetterPreview, LetterState};

/// What is asked for.
pub struct Edit<'a> {
    /// The letter.
    pub id: u64,
    /// Where the content comes from; `None`: an editor.
    pub file: Option<&'a Path>,
    /// Whether it is only looked at.
    pub check: bool,
    /// Whether it is requeued at once.
    pub requeue: bool,
    /// Why.
    pub reason: Option<&'a str>,
}

/// Runs `dlq edit`.
pub fn edit(global: &Global, edit: &Edit<'_>) -> Result<u8> {
    backend::with(global, Purpose::Change, |backend| {
        let letter = backend.letter(edit.id)?;
        if letter.letter.state != LetterState::Open && !edit.check {
            // It is refused with what became of it, before anybody edits.
            let held = letter.edited_content.as_deref().or(letter.content.as_deref()).unwrap_or_default();
            let act = Act { actor: &actor(), reason: edit.reason.unwrap_or("edited on the command line") };
            backend.edit_letter(&letter, Some(held), &act)?;
        }
        if edit.check {
            let content = edit.file.map(read).transpose()?;
            let preview = backend.check_letter(edit.id, content.as_deref())?;
            if global.json {
                out_json(&preview)?;
            } else {
                out(render::dead_letter::preview(&preview))?;
            }
            return Ok(u8::from(!preview.valid));
        }
        let mut kept = false;
        let Some(file) = edit.file else {
            let Some((content, draft)) = edited(&letter)? else {
                return out("Nothing was changed.\n").map(|()| 0);
            };
            let ended = offer(global, backend, edit, &letter, &content, &mut kept);
            if kept {
                // It may hold what others should not read.
                let _ = std::fs::remove_file(&draft);
            } else {
                let mut stderr = std::io::stderr().lock();
                let (id, draft) = (edit.id, draft.display());
                let _ = writeln!(
                    stderr,
                    "What you wrote is in {draft}. To go on with it: tidegate dlq edit {id} --file {draft}"
                );
            }
            return ended;
        };
        offer(global, backend, edit, &letter, &read(file)?, &mut kept)
    })
}

/// Shows what a content would change, asks, and keeps it.
fn offer(
    global: &Global,
    backend: &Backend,
    edit: &Edit<'_>,
    letter: &DeadLetterDetail,
    content: &str,
    kept: &mut bool,
) -> Result<u8> {
    let preview = backend.check_letter(edit.id, Some(content))?;
    // What can't be kept is told by the action itself, with its code.
    if preview.keepable {
        if !global.json {
            out(render::dead_letter::preview(&preview))?;
        }
        if !confirmed(global, &question(global, edit, &preview))? {
            return Ok(1);
        }
    }
    let reason = edit.reason.unwrap_or("edited on the command line");
    let act = Act { actor: &actor(), reason };
    if edit.requeue {
        let letter = backend.repair_letter(letter, content, &act)?;
        *kept = true;
        return act::tell_one(global, backend, letter.letter);
    }
    let letter = backend.edit_letter(letter, Some(content), &act)?;
    *kept = true;
    done(global, &letter, &format!("tidegate dlq requeue {}", edit.id))
}

fn question(global: &Global, edit: &Edit<'_>, preview: &LetterPreview) -> String {
    let requeue = if edit.requeue { " and requeue it" } else { "" };
    let id = edit.id;
    if preview.valid {
        return format!("Keep this content for dead letter {id}{requeue}?");
    }
    // Without JSON it stands above.
    let problem = preview.problem.as_deref().filter(|_| global.json);
    let problem = problem.map(|problem| format!("{problem}. ")).unwrap_or_default();
    format!("{problem}Keep this content for dead letter {id}{requeue} all the same?")
}

/// Runs `dlq edit --undo`.
pub fn undo(global: &Global, edit: &Edit<'_>) -> Result<u8> {
    backend::with(global, Purpose::Change, |backend| {
        let letter = backend.letter(edit.id)?;
        // Nobody is asked about what is refused with what became of it.
        let is_open = letter.letter.state == LetterState::Open;
        let question = format!("Take back the edit of dead letter {}?", edit.id);
        if is_open && letter.letter.edited && !confirmed(global, &question)? {
            return Ok(1);
        }
        let reason = edit.reason.unwrap_or("taken back on the command line");
        let act = Act { actor: &actor(), reason };
        let letter = backend.edit_letter(&letter, None, &act)?;
        done(global, &letter, &format!("tidegate dlq show {}", edit.id))
    })
}

fn done(global: &Global, letter: &DeadLetterDetail, next: &str) -> Result<u8> {
    if global.json {
        return out_json(letter).map(|()| 0);
    }
    out(format!("Kept. Next: {next}\n")).map(|()| 0)
}

fn read(file: &Path) -> Result<String> {
    let most = MAX_EDIT as u64 + 1;
    let mut text = String::new();
    let (shown, read) = if file == Path::new("-") {
        ("standard input".to_owned(), std::io::stdin().lock().take(most).read_to_string(&mut text))
    } else {
        let opened = std::fs::File::open(file).map_err(|e| Error::io(file, e))?;
        (file.display().to_string(), opened.take(most).read_to_string(&mut text))
    };
    read.map_err(|e| Error::new(ErrorKind::Io, shown).caused_by(e))?;
    Ok(text)
}

/// What a person made of the content in an editor, and the file that it is in;
/// `None`: the same.
fn edited(letter: &DeadLetterDetail) -> Result<Option<(String, PathBuf)>> {
    let editor =
        ["VISUAL", "EDITOR"].iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    let Some(editor) = editor.filter(|_| std::io::stdin().is_terminal()) else {
        return Err(usage("give the content with --file FILE, or set EDITOR and use a terminal"));
    };
    let held = letter.edited_content.as_deref().or(letter.content.as_deref()).unwrap_or_default();
    let before = format!("{}\n", indented(held));
    let path =
        std::env::temp_dir().join(format!("tidegate-{}-{:016x}.json", letter.letter.id, clock().random()));
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let mut file = made.map_err(|e| Error::io(&path, e))?;
    file.write_all(before.as_bytes()).map_err(|e| Error::io(&path, e))?;
    drop(file);
    // The variable may hold arguments, so a shell takes it apart.
    let ran = Command::new("sh").args(["-c", &format!("{editor} \"$1\""), "sh"]).arg(&path).status();
    let after = std::fs::read_to_string(&path);
    let same = match &after {
        Ok(after) => after.trim() == before.trim(),
        // What is no text is something else than before.
        Err(e) => e.kind() == std::io::ErrorKind::NotFound,
    };
    if same {
        // It may hold what others should not read.
        let _ = std::fs::remove_file(&path);
    }
    let ran = ran.map_err(|e| Error::new(ErrorKind::Io, format!("the editor {editor}")).caused_by(e))?;
    if !ran.success() {
        let mut text = format!("the editor {editor} ended with {ran}; nothing was kept");
        if !same {
            text.push_str(&format!(". What you wrote is in {}", path.display()));
        }
        return Err(Error::new(ErrorKind::Io, text));
    }
    let after = after.map_err(|e| Error::io(&path, e))?;
    Ok((!same).then_some((after, path)))
}
