//! A graph of entities as SVG: upstream at the left, downstream at the right.
//! Made on the server, so that it is there without a script.

use std::collections::BTreeMap;

use super::{Html, link, text};
use crate::service::query::{Lineage, LineageNode};

/// Of a box, in pixels.
const WIDTH: i64 = 188;
const HEIGHT: i64 = 40;
/// Between boxes.
const GAP_X: i64 = 44;
const GAP_Y: i64 = 12;
/// Room for text in a box, in thousandths of the height of its letters: of a
/// name's and of a type's, as the sheet of style has them.
const NAME: u64 = (WIDTH as u64 - 22) * 1_000 / 12;
const TYPE: u64 = (WIDTH as u64 - 22) * 2_000 / 21;
/// Room for the word on what is left out, below a box.
const MORE: i64 = 16;

struct Placed {
    x: i64,
    y: i64,
}

/// The graph as an SVG image of links.
pub fn svg(lineage: &Lineage) -> Html {
    let mut columns: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (place, node) in lineage.nodes.iter().enumerate() {
        columns.entry(node.step).or_default().push(place);
    }
    untangle(lineage, &mut columns);
    let first = columns.keys().next().copied().unwrap_or_default();
    let tall = columns.values().map(Vec::len).max().unwrap_or(1) as i64;
    let pitch = HEIGHT + GAP_Y + MORE;
    let (width, height) = (columns.len() as i64 * (WIDTH + GAP_X) - GAP_X + 8, tall * pitch + 8);
    let mut placed: BTreeMap<usize, Placed> = BTreeMap::new();
    for (step, nodes) in &columns {
        let top = (tall - nodes.len() as i64) * pitch / 2;
        for (row, place) in nodes.iter().enumerate() {
            let x = 4 + (step - first) * (WIDTH + GAP_X);
            placed.insert(*place, Placed { x, y: 4 + top + row as i64 * pitch });
        }
    }
    let mut out = format!(
        "<svg width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"group\" aria-label=\"{} entities\"><defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path class=\"tip\" d=\"M0 0.8L7.5 4L0 7.2z\"/></marker></defs>",
        lineage.nodes.len()
    );
    for (from, to, type_name) in &lineage.edges {
        if let (Some(a), Some(b)) = (placed.get(from), placed.get(to)) {
            edge(&mut out, a, b, type_name);
        }
    }
    for (place, node) in lineage.nodes.iter().enumerate() {
        if let Some(at) = placed.get(&place) {
            entity(&mut out, at, node, place == 0);
        }
    }
    out.push_str("</svg>");
    Html::trusted(out)
}

/// The same entities as lists, the nearest first, for screens that have no room
/// for the image.
pub fn list(lineage: &Lineage) -> Html {
    let mut out = String::from("<div class=\"near\">");
    for (heading, side) in [("Upstream", -1), ("Downstream", 1)] {
        let mut nodes: Vec<&LineageNode> =
            lineage.nodes.iter().filter(|node| node.step.signum() == side).collect();
        nodes.sort_by_key(|node| node.step.abs());
        if nodes.is_empty() {
            continue;
        }
        out.push_str(&format!("<h3>{heading}</h3><ul>"));
        for node in nodes {
            let mut href = String::new();
            text::push_attribute(&mut href, &link::entity(&node.key));
            out.push_str(&format!("<li><a class=\"name\" href=\"{href}\">"));
            out.push_str(text::short(&node.key.qualified_name, 200).as_str());
            out.push_str("</a><div class=\"type\">");
            out.push_str(text::short(&node.key.type_name, 120).as_str());
            let steps = node.step.abs();
            if steps > 1 {
                out.push_str(&format!(" · {steps} steps away"));
            }
            if node.more > 0 {
                out.push_str(&format!(" · {} more behind it", node.more));
            }
            if node.archived {
                out.push_str(" · archived");
            }
            out.push_str("</div></li>");
        }
        out.push_str("</ul>");
    }
    out.push_str("</div>");
    Html::trusted(out)
}

/// Orders each column by where its entities' neighbours stand.
fn untangle(lineage: &Lineage, columns: &mut BTreeMap<i64, Vec<usize>>) {
    let steps: Vec<i64> = columns.keys().copied().collect();
    for _ in 0..3 {
        for step in &steps {
            let mut rows: BTreeMap<usize, f64> = BTreeMap::new();
            for nodes in columns.values() {
                let middle = (nodes.len() as f64 - 1.0) / 2.0;
                rows.extend(nodes.iter().enumerate().map(|(row, place)| (*place, row as f64 - middle)));
            }
            let Some(nodes) = columns.get_mut(step) else { continue };
            let weight = |place: usize| {
                let ends =
                    lineage.edges.iter().filter_map(|(from, to, _)| match (*from == place, *to == place) {
                        (true, false) => rows.get(to),
                        (false, true) => rows.get(from),
                        (true, true) | (false, false) => None,
                    });
                let ends: Vec<f64> = ends.copied().collect();
                if ends.is_empty() { 0.0 } else { ends.iter().sum::<f64>() / ends.len() as f64 }
            };
            let mut weighed: Vec<(f64, usize)> = nodes.iter().map(|place| (weight(*place), *place)).collect();
            weighed.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
            *nodes = weighed.into_iter().map(|(_, place)| place).collect();
        }
    }
}

fn edge(out: &mut String, from: &Placed, to: &Placed, type_name: &str) {
    let (y1, y2) = (from.y + HEIGHT / 2, to.y + HEIGHT / 2);
    let (x1, x2) = (from.x + WIDTH, to.x);
    let path = if x2 > x1 {
        let bend = (x2 - x1) / 2;
        format!("M{x1} {y1}C{} {y1} {} {y2} {x2} {y2}", x1 + bend, x2 - bend)
    } else {
        // It leads within a column, or back: around the right side.
        let out_x = x1.max(to.x + WIDTH) + GAP_X / 2;
        let x2 = to.x + WIDTH;
        format!("M{x1} {y1}C{out_x} {y1} {out_x} {y2} {x2} {y2}")
    };
    out.push_str(&format!("<path class=\"edge\" d=\"{path}\" marker-end=\"url(#tip)\"><title>"));
    let (name, _) = text::cut(type_name, 80);
    text::push_attribute(out, &text::visible(name));
    out.push_str("</title></path>");
}

fn entity(out: &mut String, at: &Placed, node: &LineageNode, here: bool) {
    let mut class = String::from("node");
    if here {
        class.push_str(" here");
    }
    if node.archived {
        class.push_str(" gone");
    }
    let (x, y) = (at.x, at.y);
    let attribute = |text: &str| {
        let mut out = String::new();
        text::push_attribute(&mut out, text);
        out
    };
    let (title, more) = text::cut(&node.key.qualified_name, 300);
    let title = format!(
        "{} {}{}",
        text::visible(&node.key.type_name),
        text::visible(title),
        if more { "…" } else { "" }
    );
    out.push_str(&format!(
        "<a class=\"{class}\" href=\"{}\"{}><title>{}</title><rect class=\"box\" x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"6\"/>",
        attribute(&link::entity(&node.key)),
        if here { " aria-current=\"true\"" } else { "" },
        attribute(&title)
    ));
    // Letters may be wider than most: what does not fit is cut at the box.
    let width = WIDTH - 12;
    out.push_str(&format!(
        "<svg x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{HEIGHT}\" viewBox=\"{x} {y} {width} {HEIGHT}\">"
    ));
    for (class, dy, text) in [
        ("label", 17, end_of(&node.key.qualified_name, NAME)),
        ("kind", 32, start_of(&node.key.type_name, TYPE)),
    ] {
        out.push_str(&format!(
            "<text class=\"{class}\" x=\"{}\" y=\"{}\">{}</text>",
            x + 10,
            y + dy,
            attribute(&text)
        ));
    }
    out.push_str("</svg></a>");
    if node.more > 0 {
        let anchor = if node.step < 0 { ("start", x + 2) } else { ("end", x + WIDTH - 2) };
        out.push_str(&format!(
            "<g class=\"more\"><text class=\"kind\" x=\"{}\" y=\"{}\" text-anchor=\"{}\">+ {} more</text></g>",
            anchor.1,
            y + HEIGHT + 12,
            anchor.0,
            node.more
        ));
    }
}

/// Names of one catalogue begin alike: their ends tell them apart.
fn end_of(name: &str, room: u64) -> String {
    let name = text::visible(name);
    if width(&name) <= room {
        return name;
    }
    let room = room.saturating_sub(width("…"));
    // From a part's beginning on, if what follows is long enough to say something.
    let parts = name.char_indices().filter(|(_, c)| matches!(c, '.' | '/' | ':'));
    let fits = parts.map(|(at, c)| &name[at + c.len_utf8()..]).find(|end| width(end) <= room);
    if let Some(end) = fits.filter(|end| width(end) * 3 >= room) {
        return format!("…{end}");
    }
    let mut taken = 0;
    let fitting = name.char_indices().rev().take_while(|(_, c)| {
        taken += width_of(*c);
        taken <= room
    });
    let from = fitting.last().map_or(name.len(), |(at, _)| at);
    format!("…{}", &name[from..])
}

fn start_of(name: &str, room: u64) -> String {
    let name = text::visible(name);
    if width(&name) <= room {
        return name;
    }
    let mut taken = width("…");
    let fitting = name.chars().take_while(|c| {
        taken += width_of(*c);
        taken <= room
    });
    let start: String = fitting.collect();
    format!("{start}…")
}

fn width(text: &str) -> u64 {
    text.chars().map(width_of).sum()
}

/// About how wide a letter is, in thousandths of its height: as in DejaVu Sans,
/// the widest of the fonts that the sheet of style names.
fn width_of(c: char) -> u64 {
    match c {
        'i' | 'j' | 'l' | '\'' => 280,
        ' ' | '.' | ',' | '/' | ':' | ';' | '|' | '\\' | 'I' | 'J' => 340,
        'f' | 't' | 'r' | '-' | '(' | ')' | '[' | ']' | '!' => 415,
        's' | 'c' | 'z' | '_' | '?' => 550,
        'm' | 'M' | 'w' | 'W' | '@' | '%' | '…' => 1_000,
        'a'..='z' | '0'..='9' => 640,
        c if c.is_ascii() => 790,
        c if ('\u{a0}'..='\u{52f}').contains(&c) => 790,
        _ => 1_050,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::key::EntityKey;

    fn node(name: &str, step: i64) -> LineageNode {
        LineageNode { key: EntityKey::new("t", name), archived: false, step, more: 0 }
    }

    #[test]
    fn upstream_stands_left_of_downstream_and_names_are_escaped() {
        let lineage = Lineage {
            nodes: vec![node("here", 0), node("<script>", -1), node("down", 1)],
            edges: vec![(1, 0, "lineage".into()), (0, 2, "lineage".into())],
            cut: false,
        };
        let shown = svg(&lineage).to_string();
        assert!(shown.contains("&lt;script&gt;") && !shown.contains("<script>"), "{shown}");
        let x = |name: &str| {
            let at = shown.find(&format!(">{name}</text>")).unwrap();
            let from = shown[..at].rfind("x=\"").unwrap() + 3;
            shown[from..at].split('"').next().unwrap().parse::<i64>().unwrap()
        };
        assert!(x("&lt;script&gt;") < x("here") && x("here") < x("down"));
        let listed = list(&lineage).to_string();
        let place = |text: &str| listed.find(text).unwrap();
        assert!(place("Upstream") < place("&lt;script&gt;") && place("Downstream") < place(">down<"));
        assert!(!listed.contains("<script>") && !listed.contains(">here<"), "{listed}");
    }

    #[test]
    fn what_does_not_fit_into_a_box_by_its_width_is_cut_with_an_ellipsis() {
        // 26 letters, wider than the box.
        assert_eq!(end_of("halden/revenue-cockpit/data", NAME), "…revenue-cockpit/data");
        assert_eq!(end_of(&"W".repeat(20), NAME), format!("…{}", "W".repeat(12)));
        assert_eq!(start_of(&"W".repeat(20), TYPE), format!("{}…", "W".repeat(14)));
        assert_eq!(start_of("dbt_model", TYPE), "dbt_model");
    }

    #[test]
    fn long_names_are_cut_at_their_start() {
        assert_eq!(end_of(&"a".repeat(40), 3_000), "…aaa");
        assert_eq!(end_of("abc", 3_000), "abc");
        assert_eq!(end_of("halden_analytics.mart_revenue_daily", NAME), "…mart_revenue_daily");
    }
}
