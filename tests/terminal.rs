//! What is shown on a terminal, and nowhere else: colours and progress.

mod support;

use support::batches::{Line, TestBatch, entity, says};
use support::shell::Shell;
use support::terminal::at_a_terminal;

fn batch(time: u32, lines: impl IntoIterator<Item = Line>) -> TestBatch {
    TestBatch::full("alpha", time).with(lines)
}

/// The line with this in it.
fn line_with<'a>(text: &'a str, part: &str) -> &'a str {
    text.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{part} is not in {text}"))
}

#[test]
fn a_plan_has_colours_on_a_terminal_alone_and_none_where_they_are_not_wanted() {
    let shell = Shell::new();
    shell.expect(0, &["publish", &shell.write(&batch(1, [says(entity("a"), 1), says(entity("b"), 1)]))]);
    let next = shell.write(&batch(2, [says(entity("a"), 2), says(entity("c"), 1)]));
    let arguments = ["plan", &next];
    let mut plain = shell.command(&arguments);
    plain.env("NO_COLOR", "1").env("TERM", "xterm");
    let mut coloured = shell.command(&arguments);
    coloured.env("TERM", "xterm");
    let (Some((_, plain)), Some((code, coloured))) =
        (at_a_terminal(&plain, ""), at_a_terminal(&coloured, ""))
    else {
        return;
    };
    for (sign, name) in [("+", "t c"), ("~", "t a"), ("-", "t b")] {
        let text = format!("{sign} {name}");
        assert!(line_with(&plain, &text).starts_with(sign), "{plain}");
        // The sign, at least, stands between two escapes.
        let line = line_with(&coloured, name);
        assert!(line.starts_with("\u{1b}[") && line.contains(sign), "{line:?}");
    }
    let elsewhere = shell.run(&arguments);
    assert_eq!(elsewhere.status.code(), Some(code));
    let elsewhere = String::from_utf8(elsewhere.stdout).unwrap();
    assert!(!elsewhere.contains('\u{1b}'), "{elsewhere}");
    assert!(line_with(&elsewhere, "+ t c").starts_with('+'), "{elsewhere}");
}

#[test]
fn long_work_shows_how_far_it_is_on_a_terminal_alone() {
    let shell = Shell::new();
    let first = shell.write(&batch(1, (0..2_000).map(|n| says(entity(&format!("e{n}")), n))));
    let mut command = shell.command(&["publish", &first]);
    command.env("TERM", "xterm");
    let Some((code, shown)) = at_a_terminal(&command, "") else { return };
    assert_eq!(code, 0, "{shown}");
    for step in ["reading alpha:", "publishing alpha:"] {
        assert!(shown.contains(step), "{step} is not in {shown}");
    }
    let mut check = shell.command(&["batches", "check", &first]);
    check.env("TERM", "xterm");
    let Some((0, shown)) = at_a_terminal(&check, "") else { panic!("the batch is right") };
    assert!(shown.contains("checking"), "{shown}");
    let other = TestBatch::full("beta", 2).with((0..2_000).map(|n| says(entity(&format!("e{n}")), n)));
    let output = shell.run(&["publish", &shell.write(&other)]);
    assert_eq!(output.status.code(), Some(0));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!told.contains("reading") && !told.contains('\u{1b}'), "{told}");
}
