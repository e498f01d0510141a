//! `tidegate demo`: a small company, published through the real pipeline.

mod company;
mod generator;
mod live;
mod material;
mod once;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::Global;
use super::common::{clock, crash_points, tell};
use crate::config::{LoadOptions, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::service::Engine;

/// Publishes the demo company: serves it, prints where to look, and goes on
/// until Ctrl-C.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Publish it in the terminal, show each plan, and end
    #[arg(long, conflicts_with_all = ["minutes", "keep"])]
    pub once: bool,
    /// How long new batches keep arriving
    #[arg(long, default_value_t = 5)]
    pub minutes: u32,
    /// Without time to look
    #[arg(long, hide = true)]
    pub hurry: bool,
    /// Keep the temporary directory at the end, and tell where it is
    #[arg(long)]
    pub keep: bool,
}

/// Runs the command.
pub fn run(global: &Global, args: &DemoArgs) -> Result<u8> {
    // Kept for as long as the demo runs, and removed with all that is in it.
    let mut temporary = None;
    let data: PathBuf = match &global.data {
        Some(data) => {
            let used = ["tidegate.redb", "tidegate.toml"].into_iter().find(|name| data.join(name).exists());
            if let Some(name) = used {
                let text = format!("{} has a {name}: the demo wants a folder of its own", data.display());
                return Err(Error::new(ErrorKind::Conflict, text)
                    .with_action("Name another folder, or leave --data and TIDEGATE_DATA out."));
            }
            data.clone()
        }
        None => temporary.insert(TemporaryFolder::new(args.keep)?).path.clone(),
    };
    std::fs::create_dir_all(&data).map_err(|e| Error::io(&data, e))?;
    let file = data.join("tidegate.toml");
    std::fs::write(&file, material::SETTINGS).map_err(|e| Error::io(&file, e))?;
    let options = LoadOptions { data: Some(data.clone()), file: None, environment: [].into() };
    let mut settings = Settings::load(&options)?;
    settings.server.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let engine = Engine::open_with(&data, settings, clock(), crash_points()?)?;
    if args.once {
        return once::run(global, &engine, &data);
    }
    live::run(global, Arc::new(engine), &data, args, &options)
}

/// Text in lines of at most 78 characters.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= 78 => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

/// A folder that goes with its owner.
struct TemporaryFolder {
    path: PathBuf,
    keep: bool,
}

impl TemporaryFolder {
    fn new(keep: bool) -> Result<Self> {
        let random = crate::clock::Clock::random(&*clock());
        let path = std::env::temp_dir().join(format!("tidegate-demo-{random:016x}"));
        std::fs::create_dir_all(&path).map_err(|e| Error::io(&path, e))?;
        Ok(Self { path, keep })
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if self.keep {
            tell(format_args!("The demo's data is kept in {}", self.path.display()));
            return;
        }
        // Should it stay, it is in the system's folder for such things.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
