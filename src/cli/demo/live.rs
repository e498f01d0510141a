//! `tidegate demo`: the real service and its pages, with batches that arrive
//! in its inbox as workflows would write them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::super::Global;
use super::super::common::{clock, is_closed_pipe, out, out_json};
use super::super::serve::Served;
use super::generator::Generator;
use super::material::{self, Expect, Step};
use super::{DemoArgs, wrapped};
use crate::config::LoadOptions;
use crate::domain::ids::BatchId;
use crate::error::{Error, ErrorKind, Result};
use crate::intake::reader::ReadLimits;
use crate::intake::write::{Place, write_batch};
use crate::service::Engine;
use crate::service::views::WaitCode;

/// Time between two batches of the story, once the one before is done with.
const STEP: Duration = Duration::from_millis(700);
/// Time for a look at the plan that the story parks.
const LOOK: Duration = Duration::from_secs(5);
/// Time between two batches after the story.
const EVERY: Duration = Duration::from_secs(4);
/// Longest wait for a batch of the story.
const LONGEST: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(50);
/// The last extraction of the story.
const STORY_ENDS: &str = "2026-11-06T10:00:00Z";

/// Serves until Ctrl-C.
pub fn run(
    global: &Global,
    engine: Arc<Engine>,
    data: &Path,
    args: &DemoArgs,
    options: &LoadOptions,
) -> Result<u8> {
    let served = Served::start(engine)?;
    let url = served.url();
    let text = format!(
        "The demo company is published at  {url}\n\n\
         Halden Outdoor, a retailer, has a warehouse, a dbt project on it and a BI tool\n\
         on that. Their batches arrive as you look. Worth looking at:\n\
         \n\
         - the overview, while something is published\n\
         - warehouse:20261105T112000Z_inc-0003, of which one line is a dead letter\n  \
           until the next full batch settles it\n\
         - bi:20261106T100000Z_run-0003, of which one line stays a dead letter: the page\n  \
           of dead letters has it, and a person can repair it there\n\
         - warehouse:20261106T010000Z_run-0005, whose extraction was cut off: a guard\n  \
           parks its plan until the repeated extraction leaves it nothing to do\n\
         - the BI tool's parked plan, some 40 seconds from now: it waits for you\n\
         \n\
         In another terminal:\n  \
           tidegate --server {url} batches watch\n  \
           tidegate --server {url} why dbt_model halden_analytics.mart_revenue_daily\n\
         \n\
         Ctrl-C ends it.\n\n"
    );
    if global.json {
        out_json(&serde_json::json!({ "url": url }))?;
    } else {
        out(text)?;
    }
    let engine = Arc::clone(served.engine());
    let driver = Driver { engine, inbox: data.join("inbox"), hurry: args.hurry, mute: global.json };
    let length = Duration::from_secs(u64::from(args.minutes) * 60);
    let thread = std::thread::Builder::new()
        .name("demo".into())
        .spawn(move || {
            let done = driver.run(length);
            if done.is_err() {
                driver.engine.stop();
            }
            done
        })
        .map_err(|e| Error::internal("a thread could not be started").caused_by(e))?;
    served.until_signal(options)?;
    thread.join().map_err(|_| Error::internal("the demo met a defect"))??;
    Ok(0)
}

/// What happened. Nobody decides here about the plan that the story parks:
/// the batch behind it does.
fn caption(step: &Step) -> String {
    match step.expect {
        Expect::Complete | Expect::Partial | Expect::NoChanges => step.caption.clone(),
        Expect::ParkedThenRejected => {
            let parked = step.caption.split(';').next().unwrap_or_default();
            format!("{parked}, and it waits for a person.")
        }
    }
}

/// Writes batches into the inbox.
struct Driver {
    engine: Arc<Engine>,
    inbox: std::path::PathBuf,
    hurry: bool,
    /// Whether what happens is not told.
    mute: bool,
}

impl Driver {
    fn run(&self, length: Duration) -> Result<()> {
        for step in material::steps()? {
            if self.engine.stopping() {
                return Ok(());
            }
            self.told(&step.batch, &caption(&step))?;
            self.step(&step)?;
        }
        let mut generator = Generator::new(self.story_time()?)?;
        let end = self.engine.monotonic().saturating_add(length);
        while self.engine.monotonic() < end {
            if !self.pause(EVERY) {
                return Ok(());
            }
            let delivery = generator.next(self.story_time()?)?;
            let folder = write_batch(
                &delivery.options,
                &ReadLimits::default(),
                &mut &delivery.lines[..],
                &Place::new(&delivery.options, &self.inbox),
            )?;
            let name = folder.strip_prefix(&self.inbox).unwrap_or(&folder);
            self.told(&name.display().to_string(), &delivery.caption)?;
        }
        self.say("No more batches arrive. The pages stay until Ctrl-C.\n")
    }

    /// The story's days may lie ahead of the clock; what comes after it never
    /// comes before.
    fn story_time(&self) -> Result<Timestamp> {
        let ends: Timestamp = STORY_ENDS.parse().map_err(|_| Error::internal("the end of the story"))?;
        let first = ends.checked_add(SignedDuration::from_hours(1)).unwrap_or(ends);
        let passed = SignedDuration::try_from(self.engine.monotonic()).unwrap_or_default();
        Ok(self.engine.now().max(first.checked_add(passed).unwrap_or(first)))
    }

    /// Delivers a batch of the story and waits until it is done with.
    fn step(&self, step: &Step) -> Result<()> {
        material::deliver(step, &self.inbox)?;
        let id: BatchId = step
            .batch
            .replace('/', ":")
            .parse()
            .map_err(|_| Error::internal(format!("{} is no batch of the story", step.batch)))?;
        let end = self.engine.monotonic().saturating_add(LONGEST);
        while self.engine.monotonic() < end {
            match self.engine.batch_view(&id) {
                Ok(batch) if batch.hold.is_some() => {
                    self.look(LOOK);
                    return Ok(());
                }
                Ok(batch) => {
                    let waits = batch.waits.map(|waits| waits.code);
                    if batch.publish_state.status.is_final() || waits == Some(WaitCode::OlderBatch) {
                        self.look(STEP);
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            if !self.pause(TICK) {
                return Ok(());
            }
        }
        Ok(())
    }

    fn told(&self, batch: &str, caption: &str) -> Result<()> {
        let at = self.engine.now().strftime("%T");
        self.say(&format!("{at}  {batch}\n{}\n\n", wrapped(caption)))
    }

    /// Whoever reads the terminal may have gone; the pages are there still.
    fn say(&self, text: &str) -> Result<()> {
        if self.mute {
            return Ok(());
        }
        match out(text) {
            Err(error) if is_closed_pipe(&error) => Ok(()),
            other => other,
        }
    }

    /// Gives people time to look.
    fn look(&self, time: Duration) {
        if !self.hurry {
            self.pause(time);
        }
    }

    /// Waits; `false`: the demo ends.
    fn pause(&self, time: Duration) -> bool {
        let clock = clock();
        let end = clock.monotonic().saturating_add(time);
        while clock.monotonic() < end {
            if self.engine.stopping() {
                return false;
            }
            clock.sleep(TICK.min(end.saturating_sub(clock.monotonic())));
        }
        !self.engine.stopping()
    }
}
