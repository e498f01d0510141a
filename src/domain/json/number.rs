//! Numbers by exact value: `1`, `1.0` and `10e-1` are the same.

use crate::limits::MAX_EXPONENT;

/// Digits that are written out, zeros included. ECMAScript's limit, so that
/// usual numbers look usual.
const PLAIN: i64 = 21;

/// What is wrong with a number that has no canonical form.
pub const OUT_OF_RANGE: &str = "a number is out of range: its power of ten is past 1000000";

/// Appends the canonical form of a JSON number. `None` when its value is so
/// large, or so close to 0, that its power of ten is past the limit: however it
/// is written, and with however many digits.
pub fn canonical(number: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let plain = number.len() <= PLAIN as usize && number.iter().all(|b| b.is_ascii_digit());
    if plain {
        out.extend_from_slice(number);
        return Some(());
    }
    let (negative, rest) = match number.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, number),
    };
    let (mantissa, exponent) = match rest.iter().position(|b| matches!(b, b'e' | b'E')) {
        Some(at) => (&rest[..at], exponent(&rest[at + 1..])),
        None => (rest, 0),
    };
    let point = mantissa.iter().position(|b| *b == b'.');
    let fraction = point.map_or(0, |at| mantissa.len() - at - 1) as i64;
    let mut digits: Vec<u8> = mantissa.iter().copied().filter(|b| *b != b'.').collect();
    let zeros = digits.iter().take_while(|b| **b == b'0').count();
    digits.drain(..zeros);
    // The value is digits × 10^power.
    let mut power = exponent - fraction;
    while digits.last() == Some(&b'0') {
        digits.pop();
        power += 1;
    }
    let count = digits.len() as i64;
    if count == 0 {
        out.push(b'0');
        return Some(());
    }
    let whole = count + power;
    // The power of ten of its first digit.
    let scientific = whole - 1;
    if scientific.abs() > MAX_EXPONENT {
        return None;
    }
    if negative {
        out.push(b'-');
    }
    if power >= 0 && whole <= PLAIN {
        out.extend_from_slice(&digits);
        out.extend(std::iter::repeat_n(b'0', power as usize));
    } else if power < 0 && whole > 0 && count <= PLAIN {
        out.extend_from_slice(&digits[..whole as usize]);
        out.push(b'.');
        out.extend_from_slice(&digits[whole as usize..]);
    } else if whole <= 0 && 1 - whole + count <= PLAIN {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', (-whole) as usize));
        out.extend_from_slice(&digits);
    } else {
        out.push(digits[0]);
        if count > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.push(b'e');
        out.push(if scientific < 0 { b'-' } else { b'+' });
        out.extend_from_slice(scientific.abs().to_string().as_bytes());
    }
    Some(())
}

/// The value of an exponent's text, or, past every number of digits that a
/// line can have, one that is as far out of range.
fn exponent(text: &[u8]) -> i64 {
    const FAR: i64 = 1 << 48;
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    let value = digits.iter().fold(0i64, |value, b| (value * 10 + i64::from(b - b'0')).min(FAR));
    if text.starts_with(b"-") { -value } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn form(text: &str) -> Option<String> {
        let mut out = Vec::new();
        canonical(text.as_bytes(), &mut out)?;
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn by_table() {
        for (text, expected) in [
            ("1", "1"),
            ("1.0", "1"),
            ("10e-1", "1"),
            ("1E0", "1"),
            ("-0", "0"),
            ("-0.0e5", "0"),
            ("0e999999", "0"),
            ("0e99999999999999999999999", "0"),
            ("-0.00E-99999999999999999999999", "0"),
            ("1.50", "1.5"),
            ("-12.340", "-12.34"),
            ("0.001", "0.001"),
            ("1e-3", "0.001"),
            ("1e20", "100000000000000000000"),
            ("1e21", "1e+21"),
            ("123456789012345678901", "123456789012345678901"),
            ("1234567890123456789012", "1.234567890123456789012e+21"),
            ("12345678901234567890120", "1.234567890123456789012e+22"),
            ("9007199254740993", "9007199254740993"),
            ("0.1000000000000000055511151231257827", "1.000000000000000055511151231257827e-1"),
            ("1e1000000", "1e+1000000"),
            ("0.001e1000003", "1e+1000000"),
            ("10e-1000001", "1e-1000000"),
            ("9.9e-1000000", "9.9e-1000000"),
        ] {
            assert_eq!(form(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["1e1000001", "10e1000000", "1e-1000001", "0.1e-1000000", "1e99999999999999999999999"] {
            assert_eq!(form(text), None, "{text}");
        }
        // By its value, with however many digits.
        let digits = "12".repeat(1_000_000);
        assert_eq!(form(&format!("0.{digits}")), Some(format!("1.{}e-1", &digits[1..])));
        let long = form(&format!("0.{}7e1500000", "0".repeat(1_500_000)));
        assert_eq!(long.as_deref(), Some("0.7"));
        assert_eq!(form(&digits), None);
        assert_eq!(form(&format!("0.{}1", "0".repeat(1_500_000))), None);
    }

    proptest! {
        #[test]
        fn spellings_of_one_value_are_one(digits in "[1-9][0-9]{0,30}", shift in 0usize..40, zeros in 0usize..5) {
            // digits, and digits with the point moved left and the exponent making up for it.
            let padded = format!("{}{digits}", "0".repeat(shift + 1));
            let (whole, fraction) = padded.split_at(padded.len() - shift);
            let whole = whole.trim_start_matches('0');
            let whole = if whole.is_empty() { "0" } else { whole };
            let text = if fraction.is_empty() {
                format!("{whole}.{}e0", "0".repeat(zeros + 1))
            } else {
                format!("{whole}.{fraction}{}e{shift}", "0".repeat(zeros))
            };
            prop_assert_eq!(form(&text), form(&digits), "{}", text);
        }

        #[test]
        fn a_canonical_form_is_its_own(text in r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?") {
            let once = form(&text).unwrap();
            prop_assert_eq!(form(&once).unwrap(), once);
        }
    }
}
