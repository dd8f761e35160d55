//! `millstream test`.

use super::output::{show, show_as_it_is, warn_of};
use crate::author::watch::ProjectWatch;
use crate::author::{build, cases, stale};
use clap::Args;
use millstream_base::error::{Error, Result};
use millstream_plugins::plugin::component_file;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How long a build may take to notice that it was interrupted.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a terminal takes for: forget what is shown, and begin at the top.
const CLEAR: &str = "\x1b[2J\x1b[3J\x1b[H";

/// The arguments of `millstream test`.
#[derive(Args)]
pub struct TestArguments {
    /// Directory of the plugin
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Build and test whenever a file of the project is saved
    ///
    /// Ctrl-C stops it.
    #[arg(long)]
    watch: bool,
    /// Write the actual output into the cases that differ
    #[arg(long)]
    accept: bool,
}

/// Runs the cases; returns whether all passed.
pub fn test(arguments: &TestArguments) -> Result<bool> {
    let folder = &arguments.folder;
    if arguments.watch {
        return again_and_again(folder, arguments.accept);
    }
    component_file(folder)?;
    warn_of(stale::stale(folder));
    let report = cases::run(folder, arguments.accept)?;
    show(&report.to_string())?;
    Ok(report.passed())
}

/// Builds and tests at every change. A mistake in the project is shown, and waits to be mended like any other.
fn again_and_again(folder: &Path, accepts: bool) -> Result<bool> {
    let stop = stop_on_signal()?;
    // Before anything else: what changes during a build is not in it.
    let mut watch = ProjectWatch::new(folder);
    let mut why = String::new();
    loop {
        show_as_it_is(if io::stdout().is_terminal() { CLEAR } else { "" })?;
        show(&why)?;
        let tested = build::build(folder).and_then(|_| cases::run(folder, accepts));
        if stop.load(Ordering::Acquire) {
            return Ok(true);
        }
        match tested {
            Ok(report) => show(&report.to_string())?,
            Err(error) => show(&format!("error: {error}\n"))?,
        }
        show(&format!("waiting for changes in {}; Ctrl-C ends\n", folder.display()))?;
        let Some(changed) = watch.wait(&stop) else { return Ok(true) };
        why = format!("{} changed\n", changed.display());
    }
}

/// A flag that Ctrl-C raises. What a build has started hears of Ctrl-C itself.
fn stop_on_signal() -> Result<Arc<AtomicBool>> {
    let failed = |error: io::Error| Error::environment(format!("cannot listen for signals: {error}"));
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    // Listening begins here, not when the thread gets so far.
    let (mut interrupt, mut terminate) = runtime
        .block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
        })
        .map_err(failed)?;
    let raised = stop.clone();
    let listen = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        raised.store(true, Ordering::Release);
        thread::sleep(PATIENCE);
        process::exit(0);
    };
    thread::Builder::new().name("millstream-signals".into()).spawn(listen).map_err(failed)?;
    Ok(stop)
}
