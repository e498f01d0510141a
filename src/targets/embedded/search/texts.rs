//! The text within an entity's attributes: strings, numbers and booleans at
//! any depth, each with the name of the attribute that it stands in.

use crate::domain::json::members;
use crate::domain::json::scan::Scanner;

/// Bytes of an entity's attributes that are searched.
const MAX_BYTES: usize = 16 << 10;
/// Texts of an entity that are searched.
const MAX_TEXTS: usize = 1_000;

/// Hands out the texts of a canonical object, up to the limits, or until `each`
/// answers that it has enough. Names of nested members are no texts.
pub fn texts(attributes: &[u8], mut each: impl FnMut(&str, &str) -> bool) {
    let (mut bytes, mut count) = (MAX_BYTES, MAX_TEXTS);
    for (name, value) in members(attributes) {
        let Ok(name) = Scanner::new(name).string() else { continue };
        let name = name.decode();
        let mut one = |text: &str| {
            let text = beginning(text, bytes);
            bytes -= text.len();
            count -= 1;
            each(&name, text) && bytes > 0 && count > 0
        };
        if walk(&mut Scanner::new(value), &mut one).is_none() {
            return;
        }
    }
}

/// The first `max` bytes of a text, but no half character.
pub fn beginning(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// `None`: enough, or no JSON.
fn walk(scanner: &mut Scanner<'_>, each: &mut dyn FnMut(&str) -> bool) -> Option<()> {
    let go_on = |go_on: bool| go_on.then_some(());
    match scanner.peek() {
        b'"' => go_on(each(&scanner.string().ok()?.decode())),
        open @ (b'{' | b'[') => {
            let close = if open == b'{' { b'}' } else { b']' };
            scanner.take(open);
            if scanner.take(close) {
                return Some(());
            }
            loop {
                if open == b'{' {
                    scanner.string().ok()?;
                    scanner.colon().ok()?;
                }
                walk(scanner, each)?;
                if scanner.separator(close).ok()? {
                    return Some(());
                }
            }
        }
        b't' | b'f' | b'n' => match scanner.word().ok()? {
            b"null" => Some(()),
            word => go_on(each(std::str::from_utf8(word).ok()?)),
        },
        _ => go_on(each(std::str::from_utf8(scanner.number().ok()?).ok()?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_any_depth_belong_to_the_attribute_that_they_stand_in() {
        let json = r#"{"a":"x \"y\"","b":{"c":[1,true,null,{"d":"deep"}],"e":-2.5},"f":[],"g":{}}"#;
        let mut found = Vec::new();
        texts(json.as_bytes(), |name, text| {
            found.push(format!("{name}={text}"));
            true
        });
        assert_eq!(found, ["a=x \"y\"", "b=1", "b=true", "b=deep", "b=-2.5"]);
    }

    #[test]
    fn enough_is_enough() {
        let mut count = 0;
        texts(br#"{"a":["1","2"],"b":"3"}"#, |_, _| {
            count += 1;
            count < 2
        });
        assert_eq!(count, 2);
        let mut found = (0, 0);
        texts(format!(r#"{{"a":"{}","b":"x"}}"#, "é".repeat(MAX_BYTES)).as_bytes(), |_, text| {
            found = (found.0 + 1, found.1 + text.len());
            true
        });
        assert_eq!(found, (1, MAX_BYTES));
        let mut count = 0;
        texts(format!(r#"{{"a":[{}0]}}"#, "1,".repeat(2 * MAX_TEXTS)).as_bytes(), |_, _| {
            count += 1;
            true
        });
        assert_eq!(count, MAX_TEXTS);
        texts(b"not an object", |_, _| panic!("there are none"));
    }
}
