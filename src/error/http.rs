//! Codes of HTTP's own: why a request was not taken, before it was about
//! anything that Tidegate does. No work ever fails with one of them.

/// One row of the table.
#[derive(Debug)]
pub struct HttpCode {
    /// Stable code, as in `code` of a problem document.
    pub code: &'static str,
    /// Status of the answer.
    pub status: u16,
    /// What it means.
    pub meaning: &'static str,
    /// What to do next.
    pub action: &'static str,
}

macro_rules! http_codes {
    ($($name:ident: $code:literal, $status:literal, $meaning:literal, $action:literal;)*) => {
        $(#[doc = $meaning]
        pub static $name: HttpCode =
            HttpCode { code: $code, status: $status, meaning: $meaning, action: $action };)*

        /// All of them.
        pub static HTTP_CODES: &[&HttpCode] = &[$(&$name),*];
    };
}

/// The row of a code.
pub fn by_code(code: &str) -> Option<&'static HttpCode> {
    HTTP_CODES.iter().copied().find(|row| row.code == code)
}

http_codes! {
    HOST_REFUSED: "HOST_REFUSED", 403,
        "The request's Host is neither a loopback name nor one of `server.allowed_hosts`.",
        "Use http://127.0.0.1 or http://localhost, or add the name to the setting.";
    CROSS_SITE: "CROSS_SITE", 403,
        "The request was sent by a page of another site.",
        "Use this server's own pages, or the command line.";
    NO_ROUTE: "NOT_FOUND", 404,
        "There is nothing at this path.",
        "See /api/openapi.json for what there is.";
    METHOD_NOT_ALLOWED: "METHOD_NOT_ALLOWED", 405,
        "The path does not take this method.",
        "See /api/openapi.json for what there is.";
    BODY_TOO_LARGE: "BODY_TOO_LARGE", 413,
        "The body is larger than it may be.",
        "Send less, or raise the setting that limits it (`server.max_upload` for batches).";
    MEDIA_TYPE: "MEDIA_TYPE", 415,
        "The body's Content-Type is not the one that is taken here.",
        "Set the header that the message names.";
    TIMEOUT: "TIMEOUT", 503,
        "The request took longer than it may.",
        "Try again, or ask for less at a time.";
    TOO_MANY_UPLOADS: "TOO_MANY_UPLOADS", 503,
        "As many batches as may be are being planned for others.",
        "Try again in a while.";
    TOO_MANY_LISTENERS: "TOO_MANY_LISTENERS", 503,
        "As many clients as may be listen to events already.",
        "Ask for what you need from time to time.";
}
