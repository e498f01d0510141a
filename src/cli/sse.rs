//! Reads a stream of server-sent events, line by line as it comes.

use std::io::BufRead;

use crate::error::{Error, ErrorKind, Result};

/// The longest line that is taken.
const LONGEST: u64 = 1 << 20;

/// An event of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// Its kind; empty: `message`.
    pub event: String,
    /// Its data.
    pub data: String,
}

/// The next event; `None` at the stream's end. Comments, which keep a
/// connection alive, are passed over.
pub fn next(stream: &mut dyn BufRead) -> Result<Option<Event>> {
    let mut event = Event::default();
    let mut any = false;
    loop {
        let mut line = Vec::new();
        let read = std::io::Read::take(&mut *stream, LONGEST).read_until(b'\n', &mut line).map_err(|e| {
            Error::new(ErrorKind::ServerUnreachable, "the stream of events broke").caused_by(e)
        })?;
        if read == 0 {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches(['\n', '\r']);
        if line.is_empty() {
            if any {
                return Ok(Some(event));
            }
            continue;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => event.event = value.to_owned(),
            "data" => {
                if any && !event.data.is_empty() {
                    event.data.push('\n');
                }
                event.data.push_str(value);
                any = true;
            }
            // Comments begin with a colon; `id` and `retry` are for browsers.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_one_by_one() {
        let text = ": hello\n\nevent: batch\nid: 3\ndata: {\"a\":\ndata: 1}\n\n:\n\ndata:x\r\n\r\nevent: cut";
        let mut stream = text.as_bytes();
        let event = |event: &str, data: &str| Some(Event { event: event.into(), data: data.into() });
        assert_eq!(next(&mut stream).unwrap(), event("batch", "{\"a\":\n1}"));
        assert_eq!(next(&mut stream).unwrap(), event("", "x"));
        assert_eq!(next(&mut stream).unwrap(), None);
    }
}
