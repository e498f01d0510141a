//! Values of one key put together and taken apart: canonical objects, merged
//! and patched by top-level attribute.

use std::collections::BTreeMap;

use super::json::{members, scan::Scanner};

/// What an update changes: the attributes that differ, before and after. One
/// that is missing before is new, one that is missing after goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// Canonical object of the values before.
    pub before: Vec<u8>,
    /// Canonical object of the values after.
    pub after: Vec<u8>,
}

impl Patch {
    /// The names of the attributes that go.
    pub fn unset(&self) -> Vec<String> {
        let after: Map<'_> = members(&self.after).collect();
        members(&self.before)
            .filter(|(name, _)| !after.contains_key(name))
            .map(|(name, _)| decoded(name))
            .collect()
    }
}

/// Names with their quotes → values. Canonical names are equal exactly when
/// their bytes are; but they are not sorted by their bytes, so what is
/// written keeps the order of what it was read from.
type Map<'a> = BTreeMap<&'a [u8], &'a [u8]>;

fn decoded(name: &[u8]) -> String {
    Scanner::new(name).string().map(|name| name.decode().into_owned()).unwrap_or_default()
}

fn write<'a>(members: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<u8> {
    let mut out = vec![b'{'];
    for (n, (name, value)) in members.enumerate() {
        if n > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name);
        out.push(b':');
        out.extend_from_slice(value);
    }
    out.push(b'}');
    out
}

/// What leads from one value to another; `None` when they are equal.
pub fn diff(before: &[u8], after: &[u8]) -> Option<Patch> {
    if before == after {
        return None;
    }
    let (mut old, mut new) = (members(before), members(after));
    let (mut gone, mut come) = (Vec::new(), Vec::new());
    loop {
        let (old_rest, new_rest) = (old.clone(), new.clone());
        match (old.next(), new.next()) {
            // Mostly the same attributes stand in both, side by side.
            (Some(a), Some(b)) if a.0 == b.0 => {
                if a.1 != b.1 {
                    gone.push(a);
                    come.push(b);
                }
            }
            (Some(_), _) | (None, Some(_)) => {
                let (old, new): (Map<'_>, Map<'_>) = (old_rest.clone().collect(), new_rest.clone().collect());
                gone.extend(old_rest.filter(|(name, value)| new.get(name) != Some(value)));
                come.extend(new_rest.filter(|(name, value)| old.get(name) != Some(value)));
                break;
            }
            (None, None) => break,
        }
    }
    Some(Patch { before: write(gone.into_iter()), after: write(come.into_iter()) })
}

/// A value with some attributes set and others removed.
pub fn apply(current: &[u8], set: &[u8], unset: &[String]) -> Vec<u8> {
    if unset.is_empty() && (set == b"{}" || current == b"{}") {
        return if set == b"{}" { current.to_vec() } else { set.to_vec() };
    }
    let new: Map<'_> = members(set).collect();
    let kept = members(current)
        .filter(|(name, _)| !new.contains_key(name) && (unset.is_empty() || !unset.contains(&decoded(name))));
    sorted(kept.chain(members(set)).collect())
}

/// Writes members in the order of canonical objects.
fn sorted(mut list: Vec<(&[u8], &[u8])>) -> Vec<u8> {
    if list.iter().any(|(name, _)| name.contains(&b'\\')) {
        list.sort_by_cached_key(|(name, _)| decoded(name));
    } else {
        // Without escapes names compare by their bytes; the closing quote is left out.
        list.sort_by(|a, b| a.0[..a.0.len() - 1].cmp(&b.0[..b.0.len() - 1]));
    }
    write(list.into_iter())
}

/// The merged value: each attribute from the first of the values, by
/// descending precedence, that has it.
pub fn merge(values_by_precedence: &[&[u8]]) -> Vec<u8> {
    let mut names: Map<'_> = BTreeMap::new();
    for value in values_by_precedence {
        for (name, member) in members(value) {
            names.entry(name).or_insert(member);
        }
    }
    sorted(names.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::super::json::canonicalize;
    use super::*;
    use proptest::prelude::*;

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_patch_has_the_attributes_that_differ() {
        let patch = diff(br#"{"a":1,"b":2,"c":3}"#, br#"{"a":1,"b":4,"d":null}"#).unwrap();
        assert_eq!((text(&patch.before), text(&patch.after)), (r#"{"b":2,"c":3}"#, r#"{"b":4,"d":null}"#));
        assert_eq!(patch.unset(), ["c"]);
        assert_eq!(diff(b"{}", b"{}"), None);
    }

    #[test]
    fn the_highest_precedence_wins_each_attribute() {
        let merged = merge(&[br#"{"b":1,"d":null}"#, br#"{"a":2,"b":2}"#, br#"{"c":3,"d":3}"#]);
        assert_eq!(text(&merged), r#"{"a":2,"b":1,"c":3,"d":null}"#);
    }

    fn object() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::btree_map("[a-c!#\"\\\\ é]{0,2}", 0..3u8, 0..5).prop_map(|map| {
            let mut out = Vec::new();
            canonicalize(serde_json::to_string(&map).unwrap().as_bytes(), &mut out).unwrap();
            out
        })
    }

    /// The slow twin of [`diff`]: by maps of all attributes.
    fn plain_diff(before: &[u8], after: &[u8]) -> Option<Patch> {
        let (old, new): (Map<'_>, Map<'_>) = (members(before).collect(), members(after).collect());
        (before != after).then(|| Patch {
            before: write(members(before).filter(|(name, value)| new.get(name) != Some(value))),
            after: write(members(after).filter(|(name, value)| old.get(name) != Some(value))),
        })
    }

    proptest! {
        #[test]
        fn a_difference_is_that_of_the_slow_twin(before in object(), after in object()) {
            prop_assert_eq!(diff(&before, &after), plain_diff(&before, &after));
        }

        #[test]
        fn applying_a_difference_gives_the_new_value(before in object(), after in object()) {
            match diff(&before, &after) {
                None => prop_assert_eq!(before, after),
                Some(patch) => {
                    let out = apply(&before, &patch.after, &patch.unset());
                    prop_assert_eq!(text(&out), text(&after));
                }
            }
        }

        #[test]
        fn what_comes_out_is_canonical(a in object(), b in object()) {
            for out in [merge(&[&a, &b]), apply(&a, &b, &[])] {
                let mut again = Vec::new();
                canonicalize(&out, &mut again).unwrap();
                prop_assert_eq!(text(&out), text(&again));
            }
        }

        #[test]
        fn the_other_values_members_stay(a in object(), b in object()) {
            prop_assert_eq!(apply(&b, &a, &[]), merge(&[&a, &b]));
        }
    }
}
