//! Tables with aligned columns, whatever stands in them: one long name makes
//! neither a column nor a terminal as wide as itself.

use std::io::IsTerminal;

use super::safe;

/// Most characters that a column is padded to, or that a terminal is given of
/// a cell. Longer than any id, so that what is shown can be copied.
const WIDEST: usize = 200;

/// A table; on a terminal long cells are cut.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    aligned(head, rows, std::io::stdout().is_terminal())
}

fn aligned(head: &[&str], rows: &[Vec<String>], cut: bool) -> String {
    // The last column is free text, and nothing stands behind it.
    let last = head.len().saturating_sub(1);
    let shown = |(n, cell): (usize, &String)| {
        let cell = safe(cell);
        if cut && n < last { shortened(cell) } else { cell }
    };
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().enumerate().map(shown).collect()).collect();
    let mut widths: Vec<usize> = head.iter().map(|name| name.chars().count()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            let count = cell.chars().count();
            if count <= WIDEST {
                *width = (*width).max(count);
            }
        }
    }
    let mut text = String::new();
    let mut line = |cells: Vec<&str>| {
        for (n, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            text.push_str(cell);
            if n < last {
                let gap = width.saturating_sub(cell.chars().count()) + 2;
                text.extend(std::iter::repeat_n(' ', gap));
            }
        }
        text.push('\n');
    };
    line(head.to_vec());
    for row in &rows {
        line(row.iter().map(String::as_str).collect());
    }
    text
}

fn shortened(cell: String) -> String {
    match cell.char_indices().nth(WIDEST) {
        Some(_) => cell.chars().take(WIDEST - 1).chain(['…']).collect(),
        None => cell,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_cell_widens_no_other_row_and_is_cut_on_a_terminal_alone() {
        let long = "n".repeat(10_000);
        let rows = [
            vec!["t".to_owned(), long.clone(), "why".to_owned()],
            vec!["t".to_owned(), "short".to_owned(), long.clone()],
        ];
        let head = ["TYPE", "NAME", "NOTE"];
        let whole = aligned(&head, &rows, false);
        let lines: Vec<&str> = whole.lines().collect();
        assert_eq!(lines[0], "TYPE  NAME   NOTE");
        assert_eq!(lines[1], format!("t     {long}  why"));
        assert_eq!(lines[2], format!("t     short  {long}"));
        let cut = aligned(&head, &rows, true);
        let lines: Vec<&str> = cut.lines().collect();
        assert_eq!(lines[1], format!("t     {}…  why", "n".repeat(WIDEST - 1)));
        assert!(lines[2].ends_with(&format!("  {long}")));
    }
}
