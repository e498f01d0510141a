//! The thread that writes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use redb::{Database, Durability};

use super::failure::{Failure, OnFailure};
use super::outbox::Outlets;
use super::touched::{OnChange, Touched};
use super::tx::{Tx, failed};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

/// A write that waits for its turn: runs within the transaction and tells
/// whether its changes are to be kept; then hears whether they are durable.
pub trait Job: Send {
    /// Whether it has to have a commit for itself.
    fn is_large(&self) -> bool;
    /// Runs the closure and applies its changes. Whether it ended well.
    fn run(&mut self, tx: Tx<'_>) -> Result<bool>;
    /// What the changes that it applied tell of.
    fn touched(&mut self) -> Vec<Touched>;
    /// Tells the caller how it ended.
    fn done(self: Box<Self>, commit: Option<Error>);
}

/// The writing thread's inbox.
pub struct Writer {
    jobs: Option<Sender<Box<dyn Job>>>,
    thread: Option<std::thread::JoinHandle<()>>,
    failure: Arc<Failure>,
}

/// Called after each durable commit.
pub type AfterCommit = Arc<dyn Fn() + Send + Sync>;

impl Writer {
    /// Starts the thread.
    pub fn start(
        db: Arc<Database>,
        clock: Arc<dyn Clock>,
        after: Option<AfterCommit>,
        on_change: Option<OnChange>,
        on_failure: Option<OnFailure>,
        outlets: Arc<Outlets>,
    ) -> Result<Self> {
        let (jobs, inbox) = channel();
        let failure = Arc::new(Failure::new(on_failure));
        let broken = Arc::clone(&failure);
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || work(&db, &*clock, &Hooks { after, on_change, outlets }, &inbox, &broken))
            .map_err(|e| Error::internal("the store's thread could not be started").caused_by(e))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), failure })
    }

    /// Why nothing can be read or written any more, if that is so.
    pub fn failure(&self) -> &Failure {
        &self.failure
    }

    /// Hands a job to the thread.
    pub fn send(&self, job: Box<dyn Job>) -> Result<()> {
        self.jobs.as_ref().ok_or_else(|| self.gone())?.send(job).map_err(|_| self.gone())
    }

    /// What a caller is told whom the thread does not answer any more. Nothing is
    /// written from then on, which is a failure of the file to everyone else.
    pub fn gone(&self) -> Error {
        const TEXT: &str = "tidegate.redb: the writing thread has ended";
        self.failure.met(TEXT);
        Error::new(ErrorKind::StoreFailed, TEXT)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Hooks {
    after: Option<AfterCommit>,
    on_change: Option<OnChange>,
    outlets: Arc<Outlets>,
}

/// Most writes that share a commit.
const GROUP: usize = 64;

fn work(db: &Database, clock: &dyn Clock, hooks: &Hooks, inbox: &Receiver<Box<dyn Job>>, broken: &Failure) {
    // A large one that came behind others waits for their commit.
    let mut large: Option<Box<dyn Job>> = None;
    while let Some(first) = large.take().or_else(|| inbox.recv().ok()) {
        let alone = first.is_large();
        let mut jobs = vec![first];
        while !alone
            && large.is_none()
            && jobs.len() < GROUP
            && let Ok(more) = inbox.try_recv()
        {
            match more.is_large() {
                true => large = Some(more),
                false => jobs.push(more),
            }
        }
        let error = if let Some(error) = broken.error() {
            Some(error.message().to_owned())
        } else {
            // Whoever waits has to be answered, and the service has to learn
            // that nothing is written any more; a thread that just ends tells
            // neither. What the closure left behind is never committed.
            match catch_unwind(AssertUnwindSafe(|| commit(db, clock, &hooks.outlets, &mut jobs))) {
                Ok(result) => result.err().map(|e| e.to_string()),
                Err(_) => Some("tidegate.redb: a write ended in a panic, nothing of it was kept".to_owned()),
            }
        };
        match &error {
            None => {
                if let Some(after) = &hooks.after {
                    after();
                }
                let touched: Vec<Touched> = jobs.iter_mut().flat_map(|job| job.touched()).collect();
                if let Some(on_change) = hooks.on_change.as_ref().filter(|_| !touched.is_empty()) {
                    on_change(&touched);
                }
            }
            // redb answers every call with an error after one of the disk.
            Some(text) => broken.met(text),
        }
        for job in jobs {
            job.done(error.as_ref().map(|text| Error::new(ErrorKind::StoreFailed, text.clone())));
        }
    }
}

fn commit(db: &Database, clock: &dyn Clock, outlets: &Outlets, jobs: &mut [Box<dyn Job>]) -> Result<()> {
    let mut tx = db.begin_write().map_err(failed)?;
    tx.set_durability(Durability::Immediate).map_err(failed)?;
    tx.set_quick_repair(true);
    for job in jobs {
        if !job.is_large() {
            job.run(Tx::new(&tx, clock.now(), outlets))?;
        } else if !job.run(Tx::large(&tx, clock.now(), outlets))? {
            // It may have handed changes over before it failed, and is alone.
            return tx.abort().map_err(failed);
        }
    }
    tx.commit().map_err(failed)
}
