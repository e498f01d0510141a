//! `tidegate serve`: the long-running service.

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::Global;
use super::common::{clock, crash_points, load_options, settings, tell};
use crate::config::{LoadOptions, LogFormat, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::publishing::crash::CrashPoints;
use crate::service::serve::Signals;
use crate::service::{Engine, Service};
use crate::web;
use crate::web::presence::{self, Presence};

/// How often, and how long after, a held directory is tried again.
const PATIENCE: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);
/// Threads that answer requests; what blocks runs on others.
const THREADS: usize = 2;
/// How long what still blocks at the end is waited for.
const LAST: Duration = Duration::from_secs(5);
/// The same when the store failed, so that nothing can come of it.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Watches the inboxes, publishes what comes, and shows it, until it is asked
/// to stop.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// How the log is written [default: the setting server.log_format]
    #[arg(long, value_enum)]
    log_format: Option<LogFormatArg>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormatArg {
    Pretty,
    Json,
}

/// How the log is written. Settings that can't be read are told later.
pub fn log_format(global: &Global, args: &ServeArgs) -> LogFormat {
    match args.log_format {
        Some(LogFormatArg::Pretty) => LogFormat::Pretty,
        Some(LogFormatArg::Json) => LogFormat::Json,
        None => settings(global).map_or(LogFormat::Pretty, |settings| settings.server.log_format),
    }
}

/// A data directory that is being served by this process.
pub struct Served {
    engine: Arc<Engine>,
    signals: Signals,
    runtime: Runtime,
    service: Service,
    answering: JoinHandle<Result<()>>,
    url: String,
    // Goes last: whoever finds it may come.
    presence: Presence,
}

impl Served {
    /// Publishes what comes to the inboxes, and answers requests.
    ///
    /// # Errors
    /// When the address can't be listened on, or threads can't be started.
    pub fn start(engine: Arc<Engine>) -> Result<Self> {
        let signals = Signals::listen()?;
        let settings = engine.settings();
        let address = settings.server.listen;
        engine.clear_uploads()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("web")
            .enable_all()
            .build()
            .map_err(|e| Error::internal("the server's threads could not be started").caused_by(e))?;
        let unusable = |e| {
            let error = Error::new(ErrorKind::Io, format!("{address} can't be listened on")).caused_by(e);
            error.with_action("Set `server.listen` to another address, or stop what listens there.")
        };
        let listener = runtime.block_on(TcpListener::bind(address)).map_err(unusable)?;
        let bound = listener.local_addr().map_err(unusable)?;
        engine.listens_at(bound);
        let url = format!("http://{bound}/");
        let presence = Presence::announce(&settings.data, &url)?;
        let service = Service::start(Arc::clone(&engine))?;
        let mut stopped = engine.stop_signal();
        let until = async move {
            // An error says that the engine is gone, which is a stop too.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        let answering = runtime.spawn(web::serve(Arc::clone(&engine), listener, until));
        Ok(Self { engine, signals, runtime, service, answering, url, presence })
    }

    /// Where it answers, with a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What is served.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Serves until it is asked to stop, and ends everything.
    ///
    /// # Errors
    /// The failure of the store, or of the server.
    pub fn until_signal(self, options: &LoadOptions) -> Result<()> {
        let result = self.service.until_signal(self.signals, options);
        // The engine has stopped, and so does the server.
        let answered = self.runtime.block_on(self.answering);
        let last = if self.engine.store().failed() { AFTER_FAILURE } else { LAST };
        self.runtime.shutdown_timeout(last);
        drop(self.presence);
        result?;
        answered.map_err(|_| Error::internal("the server ended in a panic"))?
    }
}

/// Opens what is to be served. A command that only looks holds the directory
/// for a moment, which should not keep a service from starting; another server
/// holds it for good.
fn open(settings: &Settings, crash: &Arc<CrashPoints>) -> Result<Engine> {
    let data = &settings.data;
    for _ in 0..PATIENCE {
        match Engine::open_with(data, settings.clone(), clock(), Arc::clone(crash)) {
            Err(e) if e.kind() == ErrorKind::StoreInUse && !data.join(presence::FILE).exists() => {
                clock().sleep(PAUSE);
            }
            opened => return opened,
        }
    }
    Engine::open_with(data, settings.clone(), clock(), Arc::clone(crash))
}

/// Runs the command.
pub fn run(global: &Global, args: &ServeArgs) -> Result<u8> {
    let settings = settings(global)?;
    let crash = crash_points()?;
    let engine = Arc::new(open(&settings, &crash)?);
    let options = load_options(global);
    engine.read_from(&options);
    let served = Served::start(engine)?;
    // Read by people and by scripts that started it.
    match log_format(global, args) {
        LogFormat::Pretty => tell(format_args!("Tidegate serves {}", served.url())),
        LogFormat::Json => tracing::info!(url = served.url(), "Tidegate serves"),
    }
    served.until_signal(&options)?;
    crash.report()?;
    Ok(0)
}
