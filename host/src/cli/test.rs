//! `millstream test`.

use super::output::{show, show_unescaped, warn_of};
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

/// How long a build may take to react to an interrupt.
const INTERRUPT_TIME_MAX: Duration = Duration::from_secs(2);

/// The terminal sequence that clears the screen and the scrollback, and moves the cursor to the top.
const CLEAR: &str = "\x1b[2J\x1b[3J\x1b[H";

/// The arguments of `millstream test`.
#[derive(Args)]
pub struct TestArguments {
    /// Directory of the plugin
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Build and test whenever a file of the project is saved
    ///
    /// Ctrl-C stops it.
    #[arg(long)]
    watch: bool,
    /// Write the actual output into the cases that differ
    #[arg(long)]
    accept: bool,
}

/// Runs the cases. Returns whether all passed.
pub fn test(arguments: &TestArguments) -> Result<bool> {
    let dir = &arguments.dir;
    if arguments.watch {
        return test_on_change(dir, arguments.accept);
    }
    component_file(dir)?;
    warn_of(stale::stale(dir));
    let report = cases::run(dir, arguments.accept)?;
    show(&report.to_string())?;
    Ok(report.passed())
}

/// Builds and tests at every change. An error in the project is shown, and waits to be fixed like a failed case.
fn test_on_change(dir: &Path, accepts: bool) -> Result<bool> {
    let stop = stop_on_signal()?;
    // Created first: changes during a build are not part of it.
    let mut watch = ProjectWatch::new(dir);
    let mut why = String::new();
    loop {
        show_unescaped(if io::stdout().is_terminal() { CLEAR } else { "" })?;
        show(&why)?;
        let tested = build::build(dir).and_then(|_| cases::run(dir, accepts));
        if stop.load(Ordering::Acquire) {
            return Ok(true);
        }
        match tested {
            Ok(report) => show(&report.to_string())?,
            Err(error) => show(&format!("error: {error}\n"))?,
        }
        show(&format!("waiting for changes in {}; Ctrl-C ends\n", dir.display()))?;
        let Some(changed) = watch.wait(&stop) else { return Ok(true) };
        why = format!("{} changed\n", changed.display());
    }
}

/// Returns a flag that Ctrl-C sets. Processes of a build receive Ctrl-C themselves.
fn stop_on_signal() -> Result<Arc<AtomicBool>> {
    let failed = |error: io::Error| Error::environment(format!("cannot listen for signals: {error}"));
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    // Listening begins here, not when the thread runs.
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
        thread::sleep(INTERRUPT_TIME_MAX);
        process::exit(0);
    };
    thread::Builder::new().name("millstream-signals".into()).spawn(listen).map_err(failed)?;
    Ok(stop)
}
