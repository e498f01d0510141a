//! What a folder's listing was when its batch was accepted, as a short text, and
//! whether it still is that.

use xxhash_rust::xxh3::xxh3_128;

use super::inbox::Complete;
use super::manifest::MANIFEST;
use super::prefix::Object;

/// A text that changes whenever a folder's objects do.
pub fn of(objects: &[Object]) -> String {
    without(None, objects)
}

/// The same of a folder that is known to be complete in this way. Of a marker
/// only counts that it is there: it says that the others are complete, and may
/// still be written itself when it is seen first.
pub fn of_complete(complete: &Complete, objects: &[Object]) -> String {
    match complete {
        Complete::Marker(name) if name != MANIFEST && objects.iter().any(|object| object.name == *name) => {
            without(Some(name), objects)
        }
        Complete::Marker(_) | Complete::Manifest | Complete::Quiet(_) => of(objects),
    }
}

/// Whether a folder's objects are those that it was accepted with. The text has
/// the marker's name: the inbox may know complete batches in another way by now.
pub fn still(accepted: &str, objects: &[Object]) -> bool {
    let marker = accepted.split_once('/').map(|(_, marker)| marker);
    without(marker, objects) == accepted
}

/// A text that changes whenever an object does.
pub fn of_object(object: &Object) -> String {
    format!("{:032x}", xxh3_128(line_of(object).as_bytes()))
}

fn line_of(object: &Object) -> String {
    format!("{}\0{}\0{}\0{}\n", object.name, object.size, object.modified, object.tag)
}

fn without(marker: Option<&str>, objects: &[Object]) -> String {
    let line = |object: &Object| match marker {
        Some(marker) if marker == object.name => format!("{marker}\n"),
        Some(_) | None => line_of(object),
    };
    let listing: String = objects.iter().map(line).collect();
    let hash = xxh3_128(listing.as_bytes());
    marker.map_or_else(|| format!("{hash:032x}"), |marker| format!("{hash:032x}/{marker}"))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn object(name: &str, size: u64) -> Object {
        Object { name: name.into(), size, modified: Timestamp::UNIX_EPOCH, tag: String::new() }
    }

    #[test]
    fn a_marker_counts_by_its_name_alone_and_everything_else_by_what_it_is() {
        let complete = Complete::Marker("_SUCCESS".into());
        let before = [object("_SUCCESS", 0), object("a", 1)];
        let accepted = of_complete(&complete, &before);
        assert!(still(&accepted, &before));
        assert!(still(&accepted, &[object("_SUCCESS", 9), object("a", 1)]));
        assert!(!still(&accepted, &[object("_SUCCESS", 0), object("a", 2)]));
        assert!(!still(&accepted, &[object("a", 1)]));
        // What was accepted without one, or before markers were told apart.
        for complete in [Complete::Manifest, Complete::Marker(MANIFEST.into())] {
            let accepted = of_complete(&complete, &before);
            assert!(still(&accepted, &before) && !still(&accepted, &[object("_SUCCESS", 9), object("a", 1)]));
        }
    }
}
