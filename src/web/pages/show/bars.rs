//! Amounts as bars. The numbers always stand beside them.

use super::number::percent;
use super::{Html, words};
use crate::service::views::{PriorityView, ProgressView, QueueDepth};

/// How far work has come.
pub fn progress(progress: &ProgressView) -> Html {
    let phase = words::phase(progress.phase);
    Html::trusted(match progress.total {
        Some(total) if total > 0 => format!(
            "<progress max=\"100\" value=\"{:.1}\" aria-label=\"{phase}\"></progress>",
            percent(progress.done, total)
        ),
        Some(_) | None => format!("<progress aria-label=\"{phase}\"></progress>"),
    })
}

/// How much of a source waits and runs, beside the deepest queue.
pub fn depth(depth: &QueueDepth, deepest: u64) -> Html {
    let deepest = deepest.max(1);
    let running = percent(depth.running, deepest);
    let waiting = percent(depth.waiting, deepest);
    let class = if depth.held { "bar-2" } else { "bar-1" };
    Html::trusted(format!(
        "<svg class=\"bar\" aria-hidden=\"true\"><rect class=\"bar-work\" width=\"{running:.1}%\" height=\"8\"/><rect class=\"{class}\" x=\"{running:.1}%\" width=\"{waiting:.1}%\" height=\"8\"/></svg>"
    ))
}

/// The parts of a score side by side, beside the best score.
pub fn score(priority: &PriorityView, best: f64) -> Html {
    let best = best.max(f64::EPSILON);
    let width = |part: f64| (part / best * 100.0).clamp(0.0, 100.0);
    let (age, importance, simplicity) =
        (width(priority.age), width(priority.importance), width(priority.simplicity));
    Html::trusted(format!(
        "<div class=\"score\"><strong>{:.2}</strong><svg class=\"bar\" aria-hidden=\"true\"><rect width=\"{age:.1}%\" height=\"8\"/><rect class=\"bar-3\" x=\"{age:.1}%\" width=\"{importance:.1}%\" height=\"8\"/><rect class=\"bar-2\" x=\"{:.1}%\" width=\"{simplicity:.1}%\" height=\"8\"/></svg><span class=\"small muted\">age {:.2} · importance {:.2} (of {}) · simplicity {:.2} (complexity {})</span></div>",
        priority.score,
        age + importance,
        priority.age,
        priority.importance,
        priority.source_importance,
        priority.simplicity,
        priority.complexity
    ))
}
