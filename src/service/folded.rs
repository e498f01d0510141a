//! Repeats in the log: what is said again and again about one thing is said
//! once, then counted.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Most things that are kept in mind; past that, the counting begins anew.
const MOST: usize = 1000;

/// Remembers what was said last about each thing.
#[derive(Default)]
pub(super) struct Folded(Mutex<BTreeMap<String, (String, u64)>>);

impl Folded {
    /// Whether `text` is news about `what`; else it is counted. Numbers in it,
    /// such as how long something took, are none.
    pub(super) fn is_news(&self, what: &str, text: &str) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((last, count)) = said.get_mut(what)
            && without_numbers(last) == without_numbers(text)
        {
            *count += 1;
            return false;
        }
        if said.len() >= MOST {
            said.clear();
        }
        said.insert(what.to_owned(), (text.to_owned(), 1));
        true
    }

    /// What was said about `what` is over: how often it was to be said, if it
    /// was at all.
    pub(super) fn over(&self, what: &str) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.remove(what).map(|(_, count)| count)
    }
}

fn without_numbers(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit() && *c != '.').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_again_is_counted_until_it_is_over() {
        let folded = Folded::default();
        assert!(folded.is_news("inbox", "gone"));
        assert!(!folded.is_news("inbox", "gone") && !folded.is_news("inbox", "gone"));
        assert!(folded.is_news("other", "gone"));
        assert_eq!((folded.over("inbox"), folded.over("inbox")), (Some(3), None));
        assert!(folded.is_news("inbox", "gone") && folded.is_news("inbox", "unreadable"));
        assert!(
            folded.is_news("store", "no answer in 269.7ms") && !folded.is_news("store", "no answer in 31ms")
        );
    }
}
