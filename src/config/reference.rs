//! Every setting in one place: its section, its name, what it takes, what it
//! means. Reading takes the names that are known from here, and
//! `docs/settings.md` is made from it; the defaults come from the code.

use std::fmt::Write;
use std::path::Path;

use toml::{Table, Value};

use super::Settings;
use super::webhook::WebhookSettings;
use crate::domain::ids::SourceId;
use crate::domain::settings::SourceSettings;

/// Where a default comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Default {
    /// The code: what `config show` prints without any settings.
    Code,
    /// None; this is what happens then.
    None(&'static str),
    /// A value that depends on the machine, in these words.
    Words(&'static str),
}

/// A setting.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name within the section.
    pub name: &'static str,
    /// What it takes, with its unit.
    pub takes: &'static str,
    /// Where its default comes from.
    pub default: Default,
    /// What it means.
    pub meaning: &'static str,
}

/// A section of the file.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// Its path; `<…>` stands for a name that is yours.
    pub path: &'static str,
    /// Whether it is written as `[[…]]`, once for each.
    pub list: bool,
    /// What it is about.
    pub about: &'static str,
    /// What can be set in it.
    pub keys: &'static [Key],
}

const fn key(name: &'static str, takes: &'static str, meaning: &'static str) -> Key {
    Key { name, takes, default: Default::Code, meaning }
}

const fn unset(name: &'static str, takes: &'static str, without: &'static str, meaning: &'static str) -> Key {
    Key { name, takes, default: Default::None(without), meaning }
}

const fn words(name: &'static str, takes: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { name, takes, default: Default::Words(default), meaning }
}

/// All of them, in the order of the documentation.
pub const SECTIONS: &[Section] = &[
    Section {
        path: "server",
        list: false,
        about: "How `tidegate serve` answers requests. Read at the start alone.",
        keys: &[
            key("listen", "address and port", "A loopback address; port 0: any that is free."),
            key(
                "allowed_hosts",
                "host names",
                "Hosts that requests may name besides loopback names, for a proxy in front.",
            ),
            key("max_upload", "size", "The largest archive that `plan --server` may send."),
            key("plan_ttl", "duration", "How long the plan of such an archive is kept."),
            key("log_format", "`pretty`, `json`", "How the log is written."),
            unset(
                "public_url",
                "URL (`http`, `https`)",
                "`http://` and where it answers",
                "Where people reach the pages: links in messages begin with it.",
            ),
        ],
    },
    Section {
        path: "service",
        list: false,
        about: "How `tidegate serve` works.",
        keys: &[
            key("workers", "1 to 64", "Batches of different sources that are worked on at once."),
            key(
                "unknown_sources",
                "`accept`, `hold`",
                "Whether a source that the settings do not name is published, or its first batch waits until they do.",
            ),
            key(
                "min_free",
                "size",
                "Room that every disk must have: with less, nothing is accepted and no batch begun until there is room again. 0: it is not looked at.",
            ),
        ],
    },
    Section {
        path: "state",
        list: false,
        about: "Where plans and snapshots are kept.",
        keys: &[
            words("url", "path or URL (`file`)", "`<data>/state`", "The folder of plans and snapshots."),
            key(
                "pin",
                "boolean",
                "Whether the files of a batch that waits or failed are copied there, so that the inbox may lose them.",
            ),
        ],
    },
    Section {
        path: "inbox",
        list: true,
        about: "A place that workflows deliver batches to. Without any there is one: `<data>/inbox`, polled every 2 s.",
        keys: &[
            words(
                "url",
                "path or URL (`file`, `s3`)",
                "required",
                "The prefix that is watched; below it `<source>/<time>_<run>/`.",
            ),
            key("poll", "duration", "Time between two looks at it; at least 10ms."),
            key(
                "rescan",
                "duration",
                "Time between two looks at a watched local folder, in case a notification was lost; at least 1s.",
            ),
            key(
                "complete",
                "`manifest`, `marker:<name>`, `quiet:<duration>`",
                "How it is known that a folder is complete.",
            ),
        ],
    },
    Section {
        path: "sources.<id>",
        list: false,
        about: "A system that metadata comes from. A source without a section has the defaults.",
        keys: &[
            key("target", "name of a target", "The catalogue that it is published to."),
            key("importance", "0 to 100", "How much it matters against other sources when batches wait."),
            key(
                "precedence",
                "whole number",
                "Which source's value of an attribute shows where several assert it: the highest.",
            ),
            key(
                "volatile",
                "paths of attributes",
                "Kept, but a difference in them alone makes no update. Segments are parted by `.`, `*` is any run of characters of one.",
            ),
            key(
                "unordered",
                "paths of attributes",
                "Arrays whose order means nothing. They are published sorted; what is published already, by the next plan.",
            ),
            key(
                "containment",
                "globs of relationship types",
                "Types that lead from a container to its contents.",
            ),
            unset(
                "on_failure",
                "`continue`, `hold`",
                "after a full batch `continue`, after an incremental one `hold`",
                "What follows within the source when a batch fails. `hold`: nothing of the source goes on before a person decides, or a newer full batch of everything says it all anew.",
            ),
            key("max_lateness", "duration", "How far behind the newest published batch a late one may be."),
            unset(
                "mode",
                "`full`, `incremental`",
                "such batches are held",
                "The mode of batches without a manifest.",
            ),
        ],
    },
    Section {
        path: "sources.<id>.scope",
        list: false,
        about: "What a full batch without a manifest speaks for.",
        keys: &[
            words("types", "globs", "`[\"*\"]`", "Types."),
            words("names", "globs", "`[\"*\"]`", "Qualified names."),
            words("except", "globs", "`[]`", "Qualified names that it does not speak for."),
        ],
    },
    Section {
        path: "sources.<id>.guards",
        list: false,
        about: "Limits past which a plan waits for a person.",
        keys: &[
            key(
                "delete_ratio",
                "0 to 1",
                "Share of a type, or of all its keys, that the source no longer has.",
            ),
            key("delete_min", "number", "Fewer keys than this never trip `delete_ratio`."),
            key("delete_max", "number", "Keys that the source no longer has, whatever their share."),
            key("container_contents", "number", "Contents of a container that the source no longer has."),
            key(
                "empty_full",
                "boolean",
                "Whether an empty full batch trips over a snapshot that is not empty.",
            ),
            key(
                "full_count_ratio",
                "0 to 1",
                "A full batch trips that names less than this share of what the source's snapshot has in its scope. Either counts keys, each once.",
            ),
            key("update_ratio", "0 to 1", "Share of the source's entities that get another value."),
            key("update_min", "number", "Fewer updates than this never trip `update_ratio`."),
            key(
                "other_workflow",
                "boolean",
                "Whether it trips that the source no longer has keys that another of its workflows asserted last; a batch that names none is of another one.",
            ),
        ],
    },
    Section {
        path: "sources.<id>.isolation",
        list: false,
        about: "How many bad lines or refused changes a batch survives: the larger of the two.",
        keys: &[
            key("count", "number", "So many."),
            key("ratio", "0 to 1", "This share of them."),
            key(
                "requests",
                "number",
                "Requests that may be spent on finding refused changes, where the target refuses requests as a whole. Past it the batch fails.",
            ),
        ],
    },
    Section {
        path: "sources.<id>.maintenance",
        list: true,
        about: "A window in which nothing of the source is published. Batches that come wait until it ends.",
        keys: WINDOW,
    },
    Section {
        path: "targets.<name>",
        list: false,
        about: "A metadata catalogue. Without any there is one: `catalogue`, embedded.",
        keys: &[
            key(
                "kind",
                "`embedded`, `http`",
                "What it is: see [http-target.md](http-target.md) for the second.",
            ),
            key("deletion", "`delete`, `archive`", "What a deletion means there."),
            words(
                "path",
                "path",
                "`<data>/catalogue.redb`",
                "`embedded`: its file; of a target of another name `<data>/catalogue-<name>.redb`.",
            ),
            key("history", "number", "`embedded`: versions that are kept of each entity and relationship."),
            key(
                "cache_memory",
                "size",
                "`embedded`: most memory that pages of its file may hold, 4 MiB to 64 GiB: a 64th of the file's size when it is opened, up to this.",
            ),
            key(
                "search_memory",
                "size",
                "`embedded`: memory that writing the search index may hold, 16 MiB to 2 GiB.",
            ),
            words("url", "URL (`http`, `https`)", "required", "`http`: where it answers."),
            unset("token_file", "path", "none is sent", "`http`: file with the bearer token."),
            unset("token_env", "name of a variable", "none is sent", "`http`: variable with that token."),
            words(
                "timeout",
                "duration, 100 ms to 10 min",
                "`\"30s\"`",
                "`http`: how long an answer may take.",
            ),
            words(
                "request_limit",
                "duration, up to 1 d",
                "`\"2m\"`",
                "`http`: how long a request that got no answer may still take effect. What it touches is left alone for so long.",
            ),
            words("max_changes", "1 to 100000", "`500`", "`http`: most changes of one request."),
            words(
                "max_bytes",
                "size, 64 KiB to 64 MiB",
                "`\"4MiB\"`",
                "`http`: most bytes of attributes of one request.",
            ),
        ],
    },
    Section {
        path: "targets.<name>.maintenance",
        list: true,
        about: "A window in which nothing is sent to the target. What is being published stops between two requests and goes on afterwards.",
        keys: WINDOW,
    },
    Section {
        path: "retry",
        list: false,
        about: "When what failed is tried again. Failures of a target as a whole, such as one that is down, spend no attempts.",
        keys: &[
            key(
                "quick_tries",
                "1 to 10",
                "Tries of a request in place, the first one included, within `quick_window`.",
            ),
            key(
                "quick_window",
                "duration, up to 10 s",
                "All waits between those together take at most so long.",
            ),
            key(
                "first_wait",
                "duration",
                "Then the batch waits: at first between nothing and this, twice as long each time.",
            ),
            key(
                "longest_wait",
                "duration",
                "The longest such wait, unless the target asks for a longer one.",
            ),
            key(
                "attempts",
                "number",
                "A batch fails after so many attempts in a row that published nothing.",
            ),
            key("give_up_after", "duration", "And so long after the first of them."),
            key("longest_probe", "duration", "A target that can't be used is probed at least so often."),
        ],
    },
    Section {
        path: "alerts",
        list: false,
        about: "From when on webhooks are told: see [webhooks.md](webhooks.md#alerts).",
        keys: &[key("target_down_after", "duration", "A target that can't be used for so long is told of.")],
    },
    Section {
        path: "priority",
        list: false,
        about: "Weights of the score that decides between batches of several sources. Within a source the older batch goes first.",
        keys: &[
            key("age_weight", "number", "Weight of the batch's age, for each `half_life`."),
            key("importance_weight", "number", "Weight of the source's importance."),
            key("simplicity_weight", "number", "Weight of the workflow's simplicity."),
            key("half_life", "duration", "The age that counts as 1; at least 1s."),
        ],
    },
    Section {
        path: "limits",
        list: false,
        about: "Limits of what is read.",
        keys: &[
            key("max_line", "size", "The longest line of a batch file; 1KiB to 1GiB."),
            key(
                "max_expansion",
                "number, 1 to 2^40",
                "Bytes that a compressed file may unfold to, for each stored byte, once it has unfolded to more than 64 MiB; a gzip file a quarter of it.",
            ),
            key("max_file", "size", "Bytes that one file may unfold to; at least 1KiB."),
            key("max_future", "duration", "How far ahead of the clock the timestamps of a batch may lie."),
        ],
    },
    Section {
        path: "planning",
        list: false,
        about: "How plans are made.",
        keys: &[
            key(
                "fast_path",
                "boolean",
                "Whether lines equal to what is published are taken without being parsed. The plan is the same either way.",
            ),
            key(
                "threads",
                "number, 0 to 256",
                "Threads that read a batch; 0: as many as there are cores, up to 4.",
            ),
            key(
                "sort_memory",
                "size",
                "Memory that sorting may hold before it spills to disk; at least 1MiB.",
            ),
            key("index_memory", "size", "Memory for index blocks of snapshots."),
            key(
                "dictionaries",
                "boolean",
                "Whether what bodies of a type have in common is stored once a pack. Packs are smaller and read faster; the plan is the same either way.",
            ),
            key(
                "max_layers",
                "number, 1 to 64",
                "Layers of changes that may lie above the base of a snapshot before they become one. More make reading slower and folding rarer; the plan is the same either way.",
            ),
            key(
                "smallest_base",
                "number, 1 to 2^32",
                "A base of a snapshot is written anew when what lies above it outgrows a tenth of it, in an incremental batch a half; one of fewer entries than this counts as so many. Less makes small sources write more and read less; the plan is the same either way.",
            ),
        ],
    },
    Section {
        path: "publishing",
        list: false,
        about: "How plans are executed.",
        keys: &[unset(
            "max_changes",
            "number, 1 to 1048576",
            "what the target takes",
            "Most changes of one operation.",
        )],
    },
    Section {
        path: "retention",
        list: false,
        about: "How long things are kept.",
        keys: &[
            key("snapshots", "number", "Snapshots of each source, the current one included."),
            key(
                "grace",
                "duration",
                "Files that nothing refers to are removed when they are older; at least 1m.",
            ),
            key("dead_letters", "duration", "Dead letters that are settled are forgotten after so long."),
            unset(
                "open_dead_letters",
                "duration",
                "never",
                "Dead letters that nobody decided about expire after so long: logged and counted.",
            ),
            key(
                "batches",
                "duration",
                "Batches that ended are forgotten after so long, with their timelines; at least 1d.",
            ),
        ],
    },
    Section {
        path: "webhook",
        list: true,
        about: "A receiver of notices: see [webhooks.md](webhooks.md).",
        keys: &[
            words(
                "url",
                "URL (`http`, `https`)",
                "required",
                "Where notices are sent. No redirect is followed.",
            ),
            key("events", "list of events", "What it wants to hear of."),
            key("timeout", "duration, 100 ms to 60 s", "How long an answer may take."),
            key("give_up", "duration", "How long a notice is tried to be delivered."),
            unset("secret_file", "path", "not signed", "File with the secret that notices are signed with."),
            unset("secret_env", "name of a variable", "not signed", "Variable with that secret."),
        ],
    },
];

/// What a maintenance window has.
const WINDOW: &[Key] = &[
    words(
        "cron",
        "five fields",
        "required",
        "When it begins: minute, hour, day of month, month, day of week.",
    ),
    words("duration", "duration, up to 7 d", "required", "How long it is."),
    words("time_zone", "IANA name", "`\"UTC\"`", "Where `cron` is meant."),
];

/// The names that are known in a section, those of sections in it included;
/// `""` is the file itself.
pub fn names(path: &str) -> Vec<&'static str> {
    let keys = SECTIONS.iter().filter(|section| section.path == path).flat_map(|section| section.keys);
    let mut names: Vec<&'static str> = keys.map(|key| key.name).collect();
    let below = if path.is_empty() { String::new() } else { format!("{path}.") };
    for section in SECTIONS {
        let Some(rest) = section.path.strip_prefix(&below) else { continue };
        let first = rest.split('.').next().unwrap_or(rest);
        if !first.is_empty() && !first.starts_with('<') && !names.contains(&first) {
            names.push(first);
        }
    }
    names
}

/// Settings with one of everything, as the code has them.
fn sample() -> Table {
    let mut settings = Settings::defaults(Path::new("<data>"));
    if let (Ok(id), Ok(url)) = (SourceId::new("id"), "https://localhost/".parse()) {
        settings.sources.insert(id, SourceSettings::default());
        settings.webhooks.push(WebhookSettings::new(url));
    }
    settings.to_toml().parse().unwrap_or_default()
}

/// The value of a key in `sample`.
fn default_of(sample: &Table, section: &Section, name: &str) -> Option<String> {
    let mut table = sample;
    for part in section.path.split('.') {
        let part = part.trim_start_matches('<').trim_end_matches('>');
        let part = if part == "name" { "catalogue" } else { part };
        table = match table.get(part)? {
            Value::Table(inner) => inner,
            Value::Array(list) => list.first()?.as_table()?,
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_) => {
                return None;
            }
        };
    }
    let value = table.get(name)?;
    Some(match value.as_integer() {
        Some(bytes) if bytes >= 1 << 20 && bytes % (1 << 20) == 0 => format!("`\"{}MiB\"`", bytes >> 20),
        Some(_) | None => format!("`{value}`"),
    })
}

/// The variable that sets a key, of a list that of its first item.
fn variable(section: &Section, name: &str) -> String {
    let item = if section.list { ".0" } else { "" };
    let path = format!("{}{item}.{name}", section.path).to_uppercase().replace('.', "__");
    format!("`TIDEGATE_{path}`")
}

/// Whether a section of this name is one of several that make a list.
pub(super) fn is_list(name: &str) -> bool {
    let last = |section: &&Section| section.path.rsplit('.').next() == Some(name);
    SECTIONS.iter().filter(last).any(|section| section.list)
}

/// `docs/settings.md`.
pub fn markdown() -> String {
    let sample = sample();
    let mut out = String::from(
        "# Settings\n\n\
         This page is made from the code: `tidegate config reference > docs/settings.md`.\n\n\
         Settings are read from the file that `--config` or `TIDEGATE_CONFIG` names, else from\n\
         `<data>/tidegate.toml` if it is there. Every setting has a default; no file at all is\n\
         a working one. A variable of the environment wins over the file; characters of your own\n\
         names other than letters and digits are written `_` in it. A name that the file does not\n\
         have is meant in small letters then, with `_` as it stands. The items of a list\n\
         (`[[inbox]]`) count from 0 in it. Keys that are not known are refused with the nearest\n\
         right name. `tidegate config check` tells everything that is wrong, `tidegate config\n\
         show` prints the settings in force with where each came from; its paths are whole,\n\
         so that what it prints may be kept as a settings file.\n\n\
         A *duration* is a number with `ms`, `s`, `m`, `h` or `d`, such as `\"15m\"`. A *size* is a\n\
         number of bytes, or a text such as `\"64MiB\"`. A *glob* has `*` for any run of characters\n\
         and `?` for one. Paths are relative to the folder of the settings file.\n",
    );
    for section in SECTIONS {
        let (open, close) = if section.list { ("[[", "]]") } else { ("[", "]") };
        // Writing to a string can't fail.
        let _ = write!(out, "\n## `{open}{}{close}`\n\n{}\n\n", section.path, section.about);
        let _ = writeln!(out, "| key | takes | default | meaning | variable |\n|---|---|---|---|---|");
        for key in section.keys {
            let default = match key.default {
                Default::Code => default_of(&sample, section, key.name).unwrap_or_default(),
                Default::None(without) => format!("none: {without}"),
                Default::Words(words) => words.to_owned(),
            };
            let variable = variable(section, key.name);
            let _ = writeln!(
                out,
                "| `{}` | {} | {default} | {} | {variable} |",
                key.name, key.takes, key.meaning
            );
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_default_comes_from_the_code_and_every_printed_key_is_described() {
        let sample = sample();
        for section in SECTIONS {
            for key in section.keys {
                let found = default_of(&sample, section, key.name);
                match key.default {
                    Default::Code => assert!(found.is_some(), "{}.{} has no default", section.path, key.name),
                    Default::None(_) => assert_eq!(found, None, "{}.{}", section.path, key.name),
                    Default::Words(_) => {}
                }
            }
        }
        fn leaves(table: &Table, path: &str, found: &mut BTreeSet<String>) {
            for (name, value) in table {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match value {
                    Value::Table(inner) => leaves(inner, &path, found),
                    Value::Array(list) if list.iter().any(Value::is_table) => {
                        list.iter().filter_map(Value::as_table).for_each(|inner| leaves(inner, &path, found));
                    }
                    _ => drop(found.insert(path)),
                }
            }
        }
        let mut printed = BTreeSet::new();
        leaves(&sample, "", &mut printed);
        let described: BTreeSet<String> = SECTIONS
            .iter()
            .flat_map(|s| s.keys.iter().map(|k| format!("{}.{}", s.path, k.name)))
            .map(|path| path.replace("<id>", "id").replace("<name>", "catalogue"))
            .collect();
        let missing: Vec<_> = printed.difference(&described).collect();
        assert!(missing.is_empty(), "not described: {missing:?}");
    }

    #[test]
    fn the_documentation_is_as_the_code_has_it() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/settings.md");
        let stored = std::fs::read_to_string(path).unwrap_or_default();
        assert!(stored == markdown(), "run: tidegate config reference > docs/settings.md");
    }

    #[test]
    fn sections_know_their_keys_and_the_sections_in_them() {
        assert_eq!(names("priority"), ["age_weight", "importance_weight", "simplicity_weight", "half_life"]);
        assert!(names("").contains(&"sources") && names("").contains(&"webhook"));
        assert!(names("sources.<id>").contains(&"guards") && names("sources.<id>").contains(&"target"));
    }
}
