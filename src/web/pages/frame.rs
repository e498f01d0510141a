//! What all pages have in common: the frame around them, and the page that
//! tells of an error.

use askama::Template;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;

use super::super::lanes::Lane;
use super::AppState;
use super::problem::Problem;
use super::show::{filters, text};
use crate::error::{Error, Result};
use crate::service::Engine;

/// What to do where an address leads nowhere, or asks for what there is not.
pub const CHECK_ADDRESS: &str = "Check the address, or start from one of the pages below.";

/// What stands around a page.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The time that everything on the page is told by.
    pub at: Timestamp,
    /// The page's name in the browser.
    pub title: String,
    /// The page's place in the navigation.
    pub nav: &'static str,
    /// How many dead letters are not settled.
    pub dead_letters: u64,
}

impl Frame {
    /// A frame of now.
    pub fn new(engine: &Engine, title: impl Into<String>, nav: &'static str) -> Self {
        // A page that can't tell tells nothing.
        let dead_letters =
            engine.store().read(|view| view.count_unsettled_dead_letters()).unwrap_or_default();
        Self { dead_letters, ..Self::at(engine.now(), title, nav) }
    }

    /// A frame of some time.
    pub fn at(at: Timestamp, title: impl Into<String>, nav: &'static str) -> Self {
        Self { at, title: text::visible(&title.into()), nav, dead_letters: 0 }
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    frame: &'a Frame,
    heading: &'a str,
    problem: &'a crate::service::views::ProblemView,
}

/// Answers with what `make` makes of the engine, on a thread where it may
/// block; an error becomes a page of its own.
pub async fn answer(
    state: AppState,
    make: impl FnOnce(&Engine) -> Result<String> + Send + 'static,
) -> Response {
    answer_in(Lane::Quick, state, make).await
}

/// The same of a page that is none of the quick ones.
pub async fn answer_in(
    lane: Lane,
    state: AppState,
    make: impl FnOnce(&Engine) -> Result<String> + Send + 'static,
) -> Response {
    match state.run_in(lane, make).await {
        Ok(page) => html(StatusCode::OK, page),
        Err(error) => {
            let mut problem = Problem::from(error);
            // What the table says is for who typed a command or wrote a program.
            if matches!(problem.0.status, 400 | 404) {
                problem.0.action = CHECK_ADDRESS.to_owned();
            }
            error_page(&Frame::at(state.engine.now(), "Problem", ""), &problem)
        }
    }
}

/// A page that tells what went wrong and what to do.
pub fn error_page(frame: &Frame, problem: &Problem) -> Response {
    let heading = match problem.0.status {
        404 => "There is nothing here",
        400..500 => "That did not work",
        _ => "Something went wrong",
    };
    let status = StatusCode::from_u16(problem.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match rendered(&ErrorPage { frame, heading, problem: &problem.0 }) {
        Ok(page) => html(status, page),
        Err(error) => Problem::from(error).into_response(),
    }
}

/// A template's text.
pub fn rendered(page: &impl Template) -> Result<String> {
    page.render().map_err(|error| Error::internal("a page could not be rendered").caused_by(error))
}

fn html(status: StatusCode, page: String) -> Response {
    (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}
