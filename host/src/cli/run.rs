//! `millstream run`.

use crate::error::{Error, Result};
use crate::job::units;
use crate::run::{Cluster, Job, Options, Stop, Stopper};
use crate::timely_ext::is_lost_connection;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The arguments of `millstream run`.
#[derive(Args)]
pub struct RunArguments {
    /// The job file
    job: PathBuf,
    /// Worker threads of this process (default: `workers` of the job file, or all cores)
    #[arg(long)]
    workers: Option<usize>,
    /// Stop once every source is finished or has had nothing to read for two seconds
    #[arg(long)]
    until_idle: bool,
    /// Stop gracefully after this time, as `30s`
    #[arg(long, value_parser = units::time)]
    timeout: Option<Duration>,
    /// Replace a value of the job file, as `sources.lines.address=127.0.0.1:9999`
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_set)]
    sets: Vec<(String, String)>,
    /// How many processes run the job together; each is started with the same job and its own --process
    #[arg(long)]
    processes: Option<usize>,
    /// The number of this process, from 0
    #[arg(long, requires = "processes")]
    process: Option<usize>,
    /// The address of each process, `host:port,host:port` (default: 127.0.0.1 and ports from 2101)
    #[arg(long, requires = "processes", value_delimiter = ',')]
    hosts: Vec<String>,
}

/// Splits `key=value`.
pub fn parse_set(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE, for example sources.lines.address=127.0.0.1:9999".to_owned()),
    }
}

/// Runs a job until it has ended.
pub fn run(arguments: RunArguments) -> Result<ExitCode> {
    let cluster = cluster(&arguments)?;
    if cluster.is_some() {
        quiet_broken_connections();
    }
    let options =
        Options { workers: arguments.workers, until_idle: arguments.until_idle, sets: arguments.sets, cluster };
    let began = Instant::now();
    let mut job = Job::load(&arguments.job, options)?;
    job.start()?;
    tracing::info!("the job keeps no checkpoints: what it has not committed is lost if it is killed");
    let stopper = job.stopper()?;
    let at_once = stop_on_signals(stopper.clone())?;
    if !stopper.await_termination(arguments.timeout)? {
        tracing::info!("the time of --timeout has passed; stopping");
        stopper.stop(Stop::Graceful);
        stopper.await_termination(None)?;
    }
    summarize(&stopper, began.elapsed());
    // Batches were dropped, so whoever started the job must not take it for done.
    Ok(if at_once.load(Ordering::Acquire) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Where the connection to another process breaks, several threads end in panics one after the other; the job's error
/// says once what they mean.
fn quiet_broken_connections() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.payload_as_str().is_some_and(is_lost_connection) {
            usual(panic);
        }
    }));
}

fn cluster(arguments: &RunArguments) -> Result<Option<Cluster>> {
    let Some(processes) = arguments.processes else { return Ok(None) };
    let hosts = if arguments.hosts.is_empty() {
        (0..processes.min(1000)).map(|process| format!("127.0.0.1:{}", 2101 + process)).collect()
    } else {
        arguments.hosts.clone()
    };
    if processes == 0 || hosts.len() != processes {
        return Err(Error::job(format!(
            "--processes is {processes}, and --hosts names {} addresses; name one for each process",
            hosts.len()
        )));
    }
    let process = arguments.process.unwrap_or(0);
    if process >= processes {
        return Err(Error::job(format!(
            "--process is {process}, and there are {processes} processes; the last is {}",
            processes - 1
        )));
    }
    Ok((processes > 1).then_some(Cluster { process, hosts }))
}

/// What a job that was told to stop at once has to do it.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The first SIGINT or SIGTERM stops the job gracefully, the second at once; the flag returned says that it came.
fn stop_on_signals(stopper: Stopper) -> Result<Arc<AtomicBool>> {
    let failed = |error: std::io::Error| Error::environment(format!("cannot listen for signals: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let (mut interrupt, mut terminate) = {
        use tokio::signal::unix::{SignalKind, signal};
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt()).map_err(failed)?, signal(SignalKind::terminate()).map_err(failed)?)
    };
    let at_once = Arc::new(AtomicBool::new(false));
    let came = at_once.clone();
    let watch = move || {
        runtime.block_on(async {
            for how in [Stop::Graceful, Stop::Now] {
                tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
                match how {
                    Stop::Graceful => tracing::info!("stopping; batches in flight are finished (again: at once)"),
                    Stop::Now => {
                        came.store(true, Ordering::Release);
                        tracing::warn!("stopping at once");
                    }
                }
                stopper.stop(how);
            }
            // A job that does not even stop at once (a plugin or sink that hangs) must not hold the terminal.
            tokio::time::sleep(AT_ONCE).await;
            std::process::exit(1);
        });
    };
    std::thread::Builder::new().name("millstream-signals".into()).spawn(watch).map_err(failed)?;
    Ok(at_once)
}

/// What the job did, in a few lines.
fn summarize(stopper: &Stopper, took: Duration) {
    let (batches, counts) = stopper.counts();
    for (name, count) in &counts {
        if count.unread_rejected > 0 {
            tracing::warn!("`{name}` rejected {} rows that nothing read", count.unread_rejected);
        }
        for (counter, value) in &count.counters {
            tracing::info!("`{name}` counted {counter} = {value}");
        }
    }
    let rows: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {}", count.rows)).collect();
    let plural = if batches == 1 { "" } else { "es" };
    tracing::info!("done: {batches} batch{plural} in {:.1} s; rows: {}", took.as_secs_f64(), rows.join(", "));
}
