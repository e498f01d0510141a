//! What others learn of Tidegate without asking it.

pub mod webhooks;
