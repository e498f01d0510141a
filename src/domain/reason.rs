//! What people write about what they do.

/// Most characters of a reason.
const MOST: usize = 1000;

/// A reason as it is kept: without outer blanks, and neither empty, very long,
/// nor with characters that change how it is shown.
///
/// # Errors
/// What is wrong with it.
pub fn reason(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > MOST {
        return Err("must have 1 to 1000 characters");
    }
    if text.chars().any(|c| c.is_control() && c != '\n') {
        return Err("must have no control characters");
    }
    Ok(text.to_owned())
}
