//! What an operator can decide on a page: a button, and a dialog that asks
//! once before the API is called.

use super::show::link;
use crate::domain::plan::PlanDigest;
use crate::service::views::{BatchAction, BatchView};

/// A decision and how it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Its name, as in the API's paths.
    pub name: &'static str,
    /// On the button.
    pub label: &'static str,
    /// How the button looks.
    pub class: &'static str,
    /// The dialog's id.
    pub dialog: String,
    /// The question.
    pub heading: &'static str,
    /// What follows.
    pub text: &'static str,
    /// Where it is sent.
    pub post: String,
    /// What is said when it is done.
    pub done: &'static str,
    /// The plan that is decided on; empty where none is.
    pub digest: String,
    /// Whether a reason has to be given.
    pub must_reason: bool,
}

impl Decision {
    /// A plain decision.
    pub fn new(
        name: &'static str,
        label: &'static str,
        heading: &'static str,
        text: &'static str,
        post: String,
        done: &'static str,
    ) -> Self {
        let (dialog, digest) = (format!("d-{name}"), String::new());
        Self { name, label, class: "", dialog, heading, text, post, done, digest, must_reason: false }
    }

    /// The one that is offered first.
    pub fn into_main(self) -> Self {
        Self { class: "button-main", ..self }
    }

    /// One that ends something.
    fn into_bad(self) -> Self {
        Self { class: "button-bad", ..self }
    }

    /// One about a plan, with a reason.
    fn about(self, digest: Option<PlanDigest>) -> Self {
        Self {
            digest: digest.map(|digest| digest.to_string()).unwrap_or_default(),
            must_reason: true,
            ..self
        }
    }
}

/// What can be decided of a batch now.
pub fn of(batch: &BatchView) -> Vec<Decision> {
    batch.actions.iter().map(|action| decision(batch, *action)).collect()
}

fn decision(batch: &BatchView, action: BatchAction) -> Decision {
    let post = format!("/api/v1{}/{}", link::batch(&batch.publish_state.batch_id), action.as_str());
    let digest = batch.plan.as_ref().map(|plan| plan.digest);
    let ask = |label, heading, text, done| Decision::new(action.as_str(), label, heading, text, post, done);
    match action {
        BatchAction::Approve if batch.publish_state.status.is_final() => ask(
            "Approve its deletions",
            "Approve the deletions that it withheld?",
            "The batch comes again and speaks for what it does not list, although a line of it could not be read: what that line was about is deleted if no other line names it. It is planned against today, guards included.",
            "Approved. It comes again at its turn.",
        )
        .into_bad()
        .about(digest),
        BatchAction::Approve => ask(
            "Approve",
            "Approve this plan?",
            "It is published, the guards that tripped included. If other changes turn up when it is planned again, it is parked again.",
            "Approved. It runs at its turn.",
        )
        .into_main()
        .about(digest),
        BatchAction::Reject => ask(
            "Reject",
            "Reject this plan?",
            "Nothing of the batch is published, and it asserts nothing. The source goes on with its next batch.",
            "Rejected.",
        )
        .into_bad()
        .about(None),
        BatchAction::Prioritize => ask(
            "Prioritise",
            "Prioritise this batch?",
            "It goes before other sources’ batches, never before older ones of its own source.",
            "Prioritised.",
        ),
        BatchAction::Unprioritize => ask(
            "Take the priority back",
            "Take the priority back?",
            "Its score decides again.",
            "Its score decides again.",
        ),
        BatchAction::Cancel => ask(
            "Cancel the batch",
            "Cancel this batch?",
            "It ends between two operations. What it published until then stays published, and the snapshot holds it.",
            "Cancelled.",
        ),
        BatchAction::Retry => ask(
            "Retry",
            "Try this batch again?",
            "It is planned again against what is published today, with its own timestamp: it never brings old data back over newer.",
            "It is back in the queue.",
        ),
    }
}
