//! Cursors: where the next part of a list begins. Opaque to clients, and
//! bound to the list that gave them by a checksum.

use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, ErrorKind, Result};
use crate::limits::{MAX_NAME, MAX_TYPE};

/// Longest cursor that is looked at, in characters: one may hold a name.
const LONGEST: usize = 2 * (MAX_NAME + MAX_TYPE) + 64;

fn check(of: &str, key: &[u8]) -> [u8; 8] {
    let mut bytes = of.as_bytes().to_vec();
    bytes.push(0);
    bytes.extend_from_slice(key);
    xxh3_64(&bytes).to_be_bytes()
}

/// The cursor of a place, by its key, in the list that `of` names with all
/// its filters.
pub fn encode(of: &str, key: &[u8]) -> String {
    let mut out = String::with_capacity(16 + key.len() * 2);
    for byte in check(of, key).iter().chain(key) {
        out.push(char::from(b"0123456789abcdef"[usize::from(byte >> 4)]));
        out.push(char::from(b"0123456789abcdef"[usize::from(byte & 15)]));
    }
    out
}

/// The key of a cursor.
///
/// # Errors
/// [`ErrorKind::Usage`] when [`encode`] did not make it for the same list.
pub fn decode(of: &str, text: &str) -> Result<Vec<u8>> {
    let bad = || {
        let text = "`cursor` is not one that this list gave with these filters: give back the `next_cursor` of an answer, or leave it out";
        Error::new(ErrorKind::Usage, text)
    };
    if text.len() > LONGEST || text.len() < 16 || !text.len().is_multiple_of(2) {
        return Err(bad());
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).filter(|_| !byte.is_ascii_uppercase());
    let mut bytes = Vec::with_capacity(text.len() / 2);
    for pair in text.as_bytes().chunks(2) {
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else { return Err(bad()) };
        bytes.push((high << 4 | low) as u8);
    }
    let key = bytes.split_off(8);
    if check(of, &key)[..] == bytes[..] { Ok(key) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_reads_back_in_its_own_list_alone(key in prop::collection::vec(any::<u8>(), 0..80), of in ".{0,20}") {
            let text = encode(&of, &key);
            prop_assert_eq!(decode(&of, &text).unwrap(), key);
            let other = format!("{of}x");
            prop_assert!(decode(&other, &text).is_err());
        }

        #[test]
        fn rubbish_is_refused(text in ".{0,200}") {
            prop_assert!(decode("list", &text).is_err());
        }
    }
}
