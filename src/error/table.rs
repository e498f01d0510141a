//! The table of kinds of errors.

/// What an error means for the work that met it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Retry {
    /// Tier 1: a few quick retries, in place; should they not help, tier 2.
    Immediate,
    /// Tier 2: exponential backoff; the worker is let go.
    Delayed,
    /// What is needed is not there: everything that needs it waits until it
    /// is, and no budget is spent.
    Unavailable,
    /// Tier 3: at the next maintenance window's end, or when an operator lifts a known issue.
    Scheduled,
    /// Trying again without a change makes no difference.
    Never,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct KindInfo {
    /// The kind that the row describes.
    pub kind: ErrorKind,
    /// Stable code, as in `failure_details.error_code`.
    pub code: &'static str,
    /// Status of an HTTP answer that reports it.
    pub http_status: u16,
    /// Exit code of a command that ends with it.
    pub exit_code: u8,
    /// Which retry tier takes it up.
    pub retry: Retry,
    /// What it means.
    pub meaning: &'static str,
    /// What to do next.
    pub action: &'static str,
}

impl KindInfo {
    /// What to do next about something of this source.
    pub fn action_at(&self, source: &str) -> String {
        self.action.replace("SOURCE", source)
    }

    /// What to do next, if there is anything to do.
    pub fn to_do(&self) -> Option<&'static str> {
        Some(self.action).filter(|action| *action != "Nothing.")
    }
}

macro_rules! error_kinds {
    ($($(#[$doc:meta])* $name:ident: $code:literal, $http:literal, $exit:literal, $retry:ident, $meaning:literal, $action:literal;)*) => {
        /// What went wrong, as the operator should see it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorKind {
            $(#[doc = $meaning] $name,)*
        }

        /// The table, a row for every kind, in order of declaration.
        pub const TABLE: &[KindInfo] = &[$(KindInfo {
            kind: ErrorKind::$name, code: $code, http_status: $http, exit_code: $exit,
            retry: Retry::$retry, meaning: $meaning, action: $action,
        },)*];

        impl ErrorKind {
            /// The kind's row of the table.
            pub fn info(self) -> &'static KindInfo {
                &TABLE[self as usize]
            }

            /// The kind that has this code.
            pub fn of_code(code: &str) -> Option<Self> {
                TABLE.iter().find(|row| row.code == code).map(|row| row.kind)
            }
        }
    };
}

error_kinds! {
    Usage: "USAGE", 400, 64, Never,
        "The command line or the request is not of the right form.",
        "Correct the arguments: `--help` lists those of a command, /api/openapi.json those of a request.";
    Settings: "SETTINGS_INVALID", 500, 64, Never,
        "The settings can't be read, or a value in them is not allowed.",
        "Correct the setting that the message names; `tidegate config check` reads them all.";
    NotFound: "NOT_FOUND", 404, 1, Never,
        "There is nothing of that name.",
        "Check the id; the `list` commands show what there is.";
    Conflict: "CONFLICT", 409, 1, Never,
        "The thing is in a state that does not allow this.",
        "Look at its present state and decide again.";
    ManifestMissing: "BATCH_MANIFEST_MISSING", 422, 1, Never,
        "The folder has no manifest.json, so the batch is not complete.",
        "Let the workflow write manifest.json last, or write one with `tidegate batches write`.";
    ManifestInvalid: "BATCH_MANIFEST_INVALID", 422, 1, Never,
        "The manifest can't be read, or breaks the contract.",
        "Correct the field that the message names and deliver the run again under a new run id.";
    ManifestMismatch: "BATCH_MANIFEST_MISMATCH", 422, 1, Never,
        "The manifest's ids or time differ from those of the folder it lies in.",
        "Deliver the batch into the folder that its manifest names.";
    ManifestVersion: "BATCH_FORMAT_UNKNOWN", 422, 1, Never,
        "The manifest names a format that this version does not read.",
        "Use the format `tidegate.batch/1`, or a newer Tidegate.";
    ModeMissing: "BATCH_MODE_MISSING", 422, 1, Never,
        "The batch has no manifest, and its source has no `mode` setting.",
        "Set `mode` for the source.";
    FromFuture: "BATCH_FROM_FUTURE", 422, 1, Never,
        "A timestamp of the batch lies too far ahead of the clock.",
        "Correct the clock of the machine that wrote the batch, and deliver the run again.";
    TooLate: "BATCH_TOO_LATE", 422, 1, Never,
        "The batch is older than the source's horizon; what is needed to place it is no longer kept.",
        "Deliver a newer run, or raise `max_lateness` before the next one is so late.";
    IdReused: "BATCH_ID_REUSED", 409, 1, Never,
        "A batch of this id was accepted before, with another manifest.",
        "Deliver the run again under a new run id.";
    FolderChanged: "BATCH_CHANGED", 409, 1, Never,
        "The folder was changed after the batch was accepted, or while it was read.",
        "Deliver the run again under a new run id, or have what lies there now read with `tidegate batches retry`.";
    FileMissing: "BATCH_FILE_MISSING", 422, 1, Never,
        "A file that the manifest lists is not in the folder.",
        "Deliver the run again under a new run id, or mend it where it lies and have it read again with `tidegate batches retry`.";
    FileUnsafe: "BATCH_FILE_UNSAFE", 422, 1, Never,
        "A file's path leads out of the batch folder, or is a link.",
        "List plain file names of the same folder.";
    SizeMismatch: "BATCH_SIZE_MISMATCH", 422, 1, Never,
        "A file's size differs from the manifest's `bytes`.",
        "The upload was cut short or overwritten: deliver the run again under a new run id, or mend it where it lies and have it read again with `tidegate batches retry`.";
    ChecksumMismatch: "BATCH_CHECKSUM_MISMATCH", 422, 1, Never,
        "A file's XXH3-64 differs from the manifest's `xxh3`.",
        "The upload was damaged or overwritten: deliver the run again under a new run id, or mend it where it lies and have it read again with `tidegate batches retry`.";
    CountMismatch: "BATCH_COUNT_MISMATCH", 422, 1, Never,
        "A file's number of lines differs from the manifest's `count`.",
        "The extraction was cut short: deliver the run again under a new run id, or mend it where it lies and have it read again with `tidegate batches retry`.";
    CompressionInvalid: "BATCH_COMPRESSION_INVALID", 422, 1, Never,
        "A compressed file is damaged, ends too early, or is packed in a way that is not read.",
        "Deliver the run again under a new run id, or mend it where it lies and have it read again with `tidegate batches retry`.";
    ExpansionLimit: "BATCH_EXPANSION_LIMIT", 422, 1, Never,
        "A compressed file unfolds to more than the limits allow.",
        "If the file is right, raise `limits.max_expansion` or `limits.max_file`.";
    TooManyBadLines: "BATCH_ISOLATION_LIMIT", 422, 1, Never,
        "So many of the batch's lines are bad that the batch as a whole is not trusted.",
        "Repair the workflow; `tidegate batches check FOLDER` lists the lines.";
    LineInvalid: "LINE_INVALID", 422, 4, Never,
        "A line is not a valid entity or relationship.",
        "Repair it at its source; the next batch with a good line for the key resolves it.";
    KeyConflict: "KEY_CONFLICT", 422, 4, Never,
        "One batch says two different things about one key.",
        "Repair the workflow; the next batch with one value for the key resolves it.";
    EntityRejected: "ENTITY_REJECTED", 422, 4, Never,
        "The target refused this entity or relationship.",
        "Read the target's answer in the dead letter, and repair the data at its source.";
    EntityMissing: "ENTITY_MISSING", 422, 4, Never,
        "The target does not have the entity or relationship that a batch changes: it was lost there.",
        "The source's next batch sends it whole; to have that at once, requeue the dead letter. Find out who deletes at the target.";
    TooManyRefused: "BATCH_REFUSED", 422, 1, Never,
        "The target refused so many of the batch's changes that the batch as a whole is not trusted.",
        "See what it refused and why: `tidegate dlq groups --source SOURCE`. Repair the workflow or the target, then requeue the batch.";
    UploadInvalid: "UPLOAD_INVALID", 422, 1, Never,
        "The body is no archive of one batch folder.",
        "Send a tar archive of plain files, with manifest.json at its top or in one folder.";
    PlanInvalid: "PLAN_INVALID", 500, 1, Never,
        "The check of the finished plan found a contradiction. Nothing was published.",
        "This is a defect in Tidegate: report it with the message.";
    PlanStale: "PLAN_STALE", 409, 1, Never,
        "The plan that was decided about is not the batch's present one.",
        "Look at the present plan and decide again.";
    Parked: "GUARD_TRIPPED", 409, 3, Never,
        "A guard parked the plan; it waits for a person.",
        "Look at it with `tidegate batches show ID`, then approve or reject it.";
    Rejected: "REJECTED", 409, 1, Never,
        "A person rejected the plan.",
        "Nothing; deliver a new batch to bring the change again.";
    Cancelled: "CANCELLED", 409, 1, Never,
        "A person cancelled the batch.",
        "Nothing; deliver a new batch to bring the change again.";
    Superseded: "SUPERSEDED", 409, 1, Never,
        "Newer batches left this one nothing to do.",
        "Nothing.";
    Partial: "PARTIAL", 200, 4, Never,
        "The batch was published without some of its entities, which are dead letters.",
        "Look at the dead letters of the batch.";
    SnapshotInvalid: "SNAPSHOT_INVALID", 500, 1, Never,
        "A stored snapshot, plan or pack is missing or damaged.",
        "Restore the file that the message names from a backup of the state URL.";
    PinDamaged: "PIN_DAMAGED", 500, 1, Never,
        "The copy of a waiting batch's files, kept under the state URL, is missing or damaged.",
        "Restore the file that the message names from a backup of the state URL, then `tidegate batches retry ID`; or deliver the run again under a new run id.";
    StateForeign: "STATE_FOREIGN", 409, 1, Never,
        "The state URL belongs to another data directory.",
        "If tidegate.redb was lost, run `tidegate recover --state DIR`, which makes it anew from the state folder (take a new one away first); else give every data directory a state URL of its own.";
    StateMissing: "STATE_MISSING", 500, 1, Never,
        "The state folder is not there, though tidegate.redb refers to what it holds.",
        "Mount it or restore it from a backup, or say with `state.url` where it is.";
    DataMissing: "DATA_MISSING", 404, 1, Never,
        "The data directory holds nothing yet, and this command makes nothing.",
        "Run `tidegate serve` or `tidegate publish FOLDER`, which make what they need; or name another data directory with --data.";
    StoreInUse: "STORE_IN_USE", 409, 1, Never,
        "Another process holds the data directory.",
        "Stop that process first, or let it do the work: it watches its inboxes.";
    StoreNewer: "STORE_NEWER", 500, 1, Never,
        "The data directory, or its state folder, was written by a newer version of Tidegate.",
        "Run that version, or a newer one.";
    StoreFailed: "STORE_FAILED", 500, 1, Never,
        "tidegate.redb could not be read or written.",
        "Check the disk; start Tidegate again: it goes on where it was.";
    StoreDamaged: "STORE_DAMAGED", 500, 1, Never,
        "tidegate.redb is damaged, or is no store.",
        "Restore it from a backup; or move it away and run `tidegate recover --state DIR`, which makes a new one from the snapshots of the state folder.";
    DiskFull: "DISK_FULL", 507, 1, Unavailable,
        "There is no room left on the device.",
        "Make room; Tidegate goes on where it was.";
    Io: "IO_FAILED", 500, 1, Delayed,
        "A file could not be read or written.",
        "Check the path and the disk that the message names.";
    ObjectStore: "OBJECT_STORE_FAILED", 502, 1, Delayed,
        "The object store did not answer, or answered with an error.",
        "Check the URL, the credentials and the network.";
    TargetUnavailable: "TARGET_UNAVAILABLE", 502, 5, Unavailable,
        "The target could not be reached.",
        "Check that the target runs; everything waits and goes on by itself.";
    TargetTimeout: "TARGET_TIMEOUT", 504, 5, Unavailable,
        "The target did not answer in time. Whether the request took effect is not known.",
        "Check that the target runs and is not overloaded; everything waits and goes on by itself. `targets.NAME.timeout` says how long an answer may take.";
    TargetUnauthorized: "TARGET_UNAUTHORIZED", 502, 5, Unavailable,
        "The target refuses the credentials, or what they allow is not enough.",
        "Correct the target's credentials in the settings; everything waits and goes on by itself once they are right.";
    TargetContract: "TARGET_CONTRACT", 502, 5, Unavailable,
        "What answers at the target's address does not know the requests of its contract.",
        "Correct the target's `url`, or the version that runs there; everything waits and goes on by itself.";
    TargetThrottled: "TARGET_THROTTLED", 503, 5, Delayed,
        "The target asked to be sent less.",
        "Nothing; the batch goes on by itself.";
    TargetInterrupted: "TARGET_INTERRUPTED", 502, 5, Immediate,
        "The connection to the target broke before its answer was complete.",
        "Nothing, unless it goes on: the batch goes on by itself. Then check the network and the target's log.";
    TargetAnswer: "TARGET_ANSWER_INVALID", 502, 5, Immediate,
        "The target's answer is not of the form that its contract asks for.",
        "Read the message; check the target's version and what stands between it and Tidegate.";
    TargetFailed: "TARGET_FAILED", 502, 5, Immediate,
        "The target failed while it worked on a request.",
        "Read the target's log.";
    CatalogueFailed: "CATALOGUE_FAILED", 500, 1, Never,
        "The file of the embedded catalogue could not be read or written, or is damaged.",
        "Check the disk that the message names. A damaged file is put back from a backup: while nothing runs, or beside its place and then renamed. Then `tidegate sources resume SOURCE`: it goes on where it was, if the backup has what was published last.";
    BulkRejected: "TARGET_BULK_REJECTED", 422, 1, Never,
        "The target refused a request as a whole and did not say which of its changes it means.",
        "Nothing; the request is taken apart until the bad changes are alone.";
    TargetMoved: "TARGET_MOVED", 409, 1, Never,
        "The target is another one than the snapshot was published to, or was emptied or restored.",
        "Restore both from the same time, or point the source at a new target name.";
    ServerUnreachable: "SERVER_UNREACHABLE", 502, 1, Delayed,
        "The server that the command should talk to does not answer.",
        "Start it, or correct --server or TIDEGATE_SERVER.";
    ServerAnswer: "SERVER_ANSWER", 502, 1, Never,
        "The server's answer is not one that this version understands.",
        "Check that the URL is that of a Tidegate server of the same version.";
    Maintenance: "MAINTENANCE_WINDOW", 503, 5, Scheduled,
        "The target or the source is left alone during its maintenance window.",
        "Nothing; the batch goes on when the window ends.";
    KnownIssue: "KNOWN_ISSUE", 503, 5, Scheduled,
        "An operator declared a known issue, and what it is about waits until it is lifted.",
        "Nothing; `tidegate issues lift` ends it when it is solved.";
    Interrupted: "INTERRUPTED", 503, 5, Immediate,
        "The process was asked to stop; the work goes on at the next start.",
        "Start Tidegate again.";
    Internal: "INTERNAL", 500, 1, Never,
        "Tidegate met a state that its code excludes.",
        "This is a defect in Tidegate: report it with the message.";
}

impl ErrorKind {
    /// Whether it says that a target as a whole can't be used.
    pub fn is_of_target(self) -> bool {
        use ErrorKind::*;
        matches!(self, TargetUnavailable | TargetTimeout | TargetUnauthorized | TargetContract)
    }
}

/// The row of a code, such as a stored failure has; `None` when it is of
/// another version, or no error's.
pub fn by_code(code: &str) -> Option<&'static KindInfo> {
    TABLE.iter().find(|row| row.code == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_row_and_code() {
        let mut codes = std::collections::BTreeSet::new();
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.kind as usize, index);
            assert!(codes.insert(row.code), "{} stands twice", row.code);
            assert!(row.meaning.ends_with('.') && row.action.ends_with('.'), "{}", row.code);
        }
    }
}
