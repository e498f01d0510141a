//! Every code that the API can answer with is in `docs/errors.md`.

use std::path::Path;

/// Files of Rust below a folder.
fn sources(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// What is quoted in a text and looks like a code.
fn codes(text: &str) -> impl Iterator<Item = &str> {
    let parts = text.split('"').skip(1).step_by(2);
    parts.filter(|part| {
        part.len() > 4
            && (part.contains('_') || *part == "TIMEOUT")
            && part.chars().all(|c| c.is_ascii_uppercase() || c == '_')
    })
}

#[test]
fn every_code_of_the_api_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let documented = std::fs::read_to_string(root.join("docs/errors.md")).unwrap();
    let mut files = Vec::new();
    sources(&root.join("src/web"), &mut files);
    sources(&root.join("src/error"), &mut files);
    let mut seen = std::collections::BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for line in text.lines().filter(|line| !line.contains("env!(")) {
            for code in codes(line) {
                assert!(
                    documented.contains(&format!("| `{code}` |")),
                    "{code} of {} is not in docs/errors.md",
                    file.display()
                );
                seen.insert(code.to_owned());
            }
        }
    }
    for code in
        ["HOST_REFUSED", "CROSS_SITE", "BODY_TOO_LARGE", "MEDIA_TYPE", "TIMEOUT", "TOO_MANY_LISTENERS"]
    {
        assert!(seen.contains(code), "{code} was not looked at");
    }
}
