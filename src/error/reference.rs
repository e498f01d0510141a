//! `docs/errors.md`, made from the table.

use std::fmt::Write;

use super::http::{HTTP_CODES, NO_ROUTE};
use super::table::{Retry, TABLE};

/// What becomes of work that meets such an error.
fn follows(retry: Retry) -> &'static str {
    match retry {
        Retry::Immediate => "quick tries in place (tier 1), then backoff (tier 2)",
        Retry::Delayed => "backoff (tier 2)",
        Retry::Unavailable => "everything that needs it waits until it is there; no attempt is spent",
        Retry::Scheduled => "waits for a window's end or an operator (tier 3)",
        Retry::Never => "not tried again",
    }
}

/// `docs/errors.md`.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Errors\n\n\
         This page is made from the code: `tidegate config errors > docs/errors.md`.\n\n\
         Every failure has one of these codes, wherever it shows: in `failure_details.error_code`,\n\
         dead letters, problem documents of the API, logs and messages of the command line. Codes\n\
         are stable: programs may rely on them. How the retry tiers work stands in\n\
         [operations.md](operations.md).\n\n\
         | code | what it means | what to do | what follows | HTTP | exit |\n|---|---|---|---|---|---|\n",
    );
    for row in TABLE {
        // Writing to a string can't fail.
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {} | {} |",
            row.code,
            row.meaning,
            row.action,
            follows(row.retry),
            row.http_status,
            row.exit_code
        );
    }
    out.push_str(
        "\n## Codes of the HTTP API alone\n\n\
         Why a request was not taken, whatever it asked for. They stand in problem documents and in\n\
         the metric `tidegate_http_problems_total`; a command that meets one tells it as `SERVER_ANSWER`.\n\n\
         | code | what it means | what to do | HTTP |\n|---|---|---|---|\n",
    );
    // A path that is not there has the code of everything that is not there.
    for row in HTTP_CODES.iter().filter(|row| row.code != NO_ROUTE.code) {
        let _ = writeln!(out, "| `{}` | {} | {} | {} |", row.code, row.meaning, row.action, row.status);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_is_as_the_code_has_it() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md");
        let stored = std::fs::read_to_string(path).unwrap_or_default();
        assert!(stored == markdown(), "run: tidegate config errors > docs/errors.md");
    }
}
