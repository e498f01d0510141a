//! The long-running service: workers that publish, watchers of inboxes, and
//! the signals that stop it or have it read its settings again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::engine::Engine;
use super::queue::Next;
use super::watch::{self, Control};
use crate::config::{LoadOptions, Reload, Settings};
use crate::error::{Error, Result};
use crate::intake::inbox::InboxSettings;
use crate::observe::webhooks::Courier;
use crate::targets::embedded::Following;
use crate::threads;

/// Longest wait of a worker that nothing wakes.
const IDLE: Duration = Duration::from_secs(60);
/// Shortest wait for something that is due.
const TICK: Duration = Duration::from_millis(10);
/// Pause of a thread that met a defect.
const AFTER_DEFECT: Duration = Duration::from_secs(1);

/// How often it is looked whether the store failed while things end.
const LOOK: Duration = Duration::from_millis(50);
/// How long what is at work may take to end when the store failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// A running service.
pub struct Service {
    engine: Arc<Engine>,
    threads: Mutex<Threads>,
    fatal: Arc<Mutex<Option<Error>>>,
}

#[derive(Default)]
struct Threads {
    workers: Vec<JoinHandle<()>>,
    watchers: Vec<Watcher>,
    /// Watchers that were told to end.
    ended: Vec<JoinHandle<()>>,
    /// Keep the search indexes.
    following: Vec<Following>,
    /// Brings notices to webhooks.
    courier: Option<JoinHandle<()>>,
    /// Copies the files of batches that wait.
    pins: Option<JoinHandle<()>>,
}

impl Threads {
    /// Waits for all of them.
    fn join(self, engine: &Engine) {
        let Self { workers, watchers, ended, following, courier, pins } = self;
        for worker in workers {
            // Its panics were caught.
            let _ = worker.join();
        }
        // The workers are gone because the process is to end.
        engine.stop();
        for watcher in watchers {
            watcher.control.end();
            let _ = watcher.thread.join();
        }
        for thread in ended.into_iter().chain(courier).chain(pins) {
            let _ = thread.join();
        }
        drop(following);
    }
}

struct Watcher {
    inbox: InboxSettings,
    control: Arc<Control>,
    thread: JoinHandle<()>,
}

fn thread(name: String, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name)
        .spawn(work)
        .map_err(|e| Error::internal("a thread could not be started").caused_by(e))
}

impl Service {
    /// Starts workers and watchers, and what keeps the search indexes.
    ///
    /// # Errors
    /// When threads can't be started, or the store fails.
    pub fn start(engine: Arc<Engine>) -> Result<Self> {
        engine.recheck_holds(None)?;
        let service = Self { engine, threads: Mutex::default(), fatal: Arc::default() };
        service.fit()?;
        service.threads().following = service.engine.index_behind()?;
        let (engine, fatal) = (Arc::clone(&service.engine), Arc::clone(&service.fatal));
        let courier = Courier::new()?;
        let courier = thread("webhooks".into(), move || {
            let bring = || engine.bring_notices(&courier);
            if let Err(error) = go_on(&engine, "bringing messages to webhooks", bring) {
                fail(&engine, &fatal, error);
            }
        })?;
        service.threads().courier = Some(courier);
        let (engine, fatal) = (Arc::clone(&service.engine), Arc::clone(&service.fatal));
        let pins = thread("pins".into(), move || {
            let follow = || engine.follow_pins();
            if let Err(error) = go_on(&engine, "copying the files of batches that wait", follow) {
                fail(&engine, &fatal, error);
            }
        })?;
        service.threads().pins = Some(pins);
        Ok(service)
    }

    /// The engine that it works with.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    fn threads(&self) -> MutexGuard<'_, Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As many workers, and watchers of those inboxes, as the settings say.
    fn fit(&self) -> Result<()> {
        let settings = self.engine.settings();
        let mut threads = self.threads();
        let wanted = settings.service.workers.max(1);
        self.engine.workers.store(wanted, Ordering::Relaxed);
        // Workers past the number end by themselves.
        threads.workers.retain(|worker| !worker.is_finished());
        for number in threads.workers.len()..wanted {
            let (engine, fatal) = (Arc::clone(&self.engine), Arc::clone(&self.fatal));
            threads.workers.push(thread(format!("worker-{number}"), move || work(&engine, number, &fatal))?);
        }
        let (kept, gone): (Vec<Watcher>, Vec<Watcher>) = std::mem::take(&mut threads.watchers)
            .into_iter()
            .partition(|w| settings.inboxes.contains(&w.inbox));
        threads.watchers = kept;
        for watcher in gone {
            watcher.control.end();
            threads.ended.push(watcher.thread);
        }
        for (n, inbox) in settings.inboxes.iter().enumerate() {
            if threads.watchers.iter().any(|watcher| watcher.inbox == *inbox) {
                continue;
            }
            make(inbox);
            let control = Arc::new(Control::default());
            let (engine, of, told) = (Arc::clone(&self.engine), inbox.clone(), Arc::clone(&control));
            let run = move || watch_on(&engine, &of, &told);
            let thread = thread(format!("inbox-{n}"), run)?;
            threads.watchers.push(Watcher { inbox: inbox.clone(), control, thread });
        }
        Ok(())
    }

    /// Reads the settings again and puts them in force; refused as a whole
    /// when anything is wrong with them.
    ///
    /// # Errors
    /// Everything that is wrong with the settings; those in force stay.
    pub fn reload(&self, options: &LoadOptions) -> Result<Reload> {
        let reload = self.engine.reload(&Settings::load(options)?)?;
        self.fit()?;
        Ok(reload)
    }

    /// Has everything end: what is planned is planned again at the next start,
    /// what is executed goes on from its journal.
    pub fn stop(&self) {
        self.engine.stop();
        for watcher in &self.threads().watchers {
            watcher.control.end();
        }
    }

    /// Waits until everything has ended after [`Self::stop`], or because the
    /// store failed. Then what is in the middle of something gets a moment:
    /// nothing of it can be kept, and a supervisor waits to start anew.
    ///
    /// # Errors
    /// The failure of the store.
    pub fn wait(self) -> Result<()> {
        let threads = std::mem::take(&mut *self.threads());
        let engine = Arc::clone(&self.engine);
        let (ended, heard) = channel();
        thread("end".into(), move || {
            threads.join(&engine);
            // Whoever is told may open the data directory anew at once.
            drop(engine);
            // Whoever asked may not wait any more.
            let _ = ended.send(());
        })?;
        let mut left = AFTER_FAILURE;
        // It is told, or the thread is gone, which is an end too.
        while let Err(RecvTimeoutError::Timeout) = heard.recv_timeout(LOOK) {
            if !self.engine.store().failed() {
                continue;
            }
            left = left.saturating_sub(LOOK);
            if left.is_zero() {
                tracing::debug!("what is still at work is cut off");
                break;
            }
        }
        let fatal = self.fatal.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.engine.store().failure().or(fatal).map_or(Ok(()), Err)
    }

    /// Serves until SIGTERM or Ctrl-C, reads the settings again on SIGHUP, and
    /// ends everything. A second SIGTERM or Ctrl-C ends the process at once;
    /// nothing is lost by that.
    ///
    /// # Errors
    /// The failure of the store.
    pub fn until_signal(self, signals: Signals, options: &LoadOptions) -> Result<()> {
        let Signals { asked, mut signals } = signals;
        let handle = signals.handle();
        // Ends the waiting for signals when the workers end by themselves.
        let mut stopped = self.engine.stop_signal();
        let waiter = thread("stop".into(), move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            if let Ok(runtime) = runtime {
                // An error says that the engine is gone, which is a stop too.
                let _ = runtime.block_on(stopped.wait_for(|stopped| *stopped));
            }
            handle.close();
        })?;
        for signal in &mut signals {
            if signal == SIGHUP {
                match self.reload(options) {
                    Ok(_) => {}
                    Err(error) => {
                        tracing::error!(%error, "the settings were refused; those before stay in force");
                    }
                }
                continue;
            }
            tracing::info!("stopping");
            asked.store(true, Ordering::Release);
            self.stop();
        }
        let _ = waiter.join();
        self.stop();
        let result = self.wait();
        tracing::info!("stopped");
        result
    }
}

/// The signals that a service listens to. Set up before it starts: one that
/// comes earlier would end the process without a word.
pub struct Signals {
    /// Whether the process was asked to end.
    asked: Arc<AtomicBool>,
    signals: signal_hook::iterator::Signals,
}

impl Signals {
    /// Begins to listen to SIGTERM, SIGINT and SIGHUP.
    ///
    /// # Errors
    /// When signals can't be listened to.
    pub fn listen() -> Result<Self> {
        let failed = |e| Error::internal("signals can't be listened to").caused_by(e);
        // Registered first, so that a signal finds the flag as it was before it.
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&asked))
                .map_err(failed)?;
        }
        let signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(failed)?;
        Ok(Self { asked, signals })
    }
}

/// A local inbox is made when it is first watched.
fn make(inbox: &InboxSettings) {
    if let Ok(path) = inbox.url.to_file_path()
        && let Err(error) = std::fs::create_dir_all(&path)
    {
        tracing::warn!(inbox = %inbox.url, %error, "the inbox can't be made");
    }
}

/// A watcher goes on whatever one look met.
fn watch_on(engine: &Engine, inbox: &InboxSettings, control: &Arc<Control>) {
    // It says itself what it meets.
    let _ = go_on(engine, &format!("watching the inbox {}", inbox.url), || {
        watch::run(engine, inbox, control);
        Ok(())
    });
}

/// Runs what a thread does for as long as the service runs. A panic is told,
/// and it begins anew after a pause: nobody would notice that it is gone.
fn go_on(engine: &Engine, what: &str, mut run: impl FnMut() -> Result<()>) -> Result<()> {
    loop {
        match catch_unwind(AssertUnwindSafe(&mut run)) {
            Ok(ended) => return ended,
            Err(_) => tracing::error!("{what} met a defect and begins anew"),
        }
        engine.clock.sleep(AFTER_DEFECT);
        if engine.stopping() {
            return Ok(());
        }
    }
}

/// The store answers nothing any more, and neither do we.
fn fail(engine: &Engine, fatal: &Mutex<Option<Error>>, error: Error) {
    fatal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    engine.stop();
}

/// Works until it is asked to stop, or there are too many workers.
fn work(engine: &Engine, number: usize, fatal: &Mutex<Option<Error>>) {
    threads::stand_back(threads::PUBLISHING);
    while !engine.stopping() && number < engine.workers.load(Ordering::Relaxed) {
        let generation = engine.work.generation();
        // What one batch meets is caught where it is met, and told of it.
        let turn = catch_unwind(AssertUnwindSafe(|| one_turn(engine)));
        match turn.unwrap_or_else(|_| Err(Error::internal("a worker met a defect"))) {
            Ok(Turned::Worked) => {}
            Ok(Turned::Nothing(due)) => {
                let most = due.map_or(IDLE, |due| {
                    let left = due.duration_since(engine.clock.now());
                    Duration::try_from(left).unwrap_or_default().clamp(TICK, IDLE)
                });
                engine.work.wait(generation, most);
            }
            Err(error) if engine.is_fatal(&error) => {
                fail(engine, fatal, error);
            }
            // It would meet the same at once.
            Err(error) => {
                tracing::error!(%error, "a worker can't go on now, and tries again");
                engine.clock.sleep(AFTER_DEFECT);
            }
        }
    }
}

/// What a worker did.
enum Turned {
    /// Something.
    Worked,
    /// Nothing: there is something to do at this time, if nothing happens before.
    Nothing(Option<jiff::Timestamp>),
}

/// Takes up one batch, or looks at one target.
fn one_turn(engine: &Engine) -> Result<Turned> {
    match engine.claim(None)? {
        Next::Batch(claim) => match engine.attempt(claim) {
            Err(error) if !engine.is_fatal(&error) => {
                // The source is held, or waits; the others go on.
                tracing::debug!(%error, "a source has trouble");
            }
            worked => worked?,
        },
        Next::Probe(probing) => engine.probe(&probing.target)?,
        Next::Nothing(due) => return Ok(Turned::Nothing(due)),
    }
    Ok(Turned::Worked)
}
