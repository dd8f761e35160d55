//! `millstream run`: runs a job in this process, or in worker processes under a supervisor if the job keeps
//! checkpoints.

pub mod arguments;
mod fresh;
mod line;
pub mod page_notice;
pub mod processes;
pub mod signals;
mod watch;

use super::inspect::text::count as number_of;
use super::output::warn_of;
use super::status::text;
use super::supervise;
use super::supervise::Layout;
use super::supervise::report::Reporter;
use crate::author::stale;
use crate::page::{self, Jobs, PageOptions};
use crate::program_limits::{SAMPLE_ROWS_READ, SAMPLE_ROWS_SHOWN};
use arguments::RunArguments;
use line::JobLine;
use millstream_base::error::{Error, Result};
use millstream_base::fault;
use millstream_base::ids::BatchId;
use millstream_base::terminal;
use millstream_base::threads::is_connection_loss;
use millstream_connectors::kinds;
use millstream_engine::running::{Cluster, Options};
use millstream_job::spec::JobSpec;
use millstream_metrics::Snapshot;
use millstream_runtime::control::Control;
use millstream_runtime::{ClusterKey, Job, JobLayout, LayoutUpdate, LocalPorts, Stop, Stopper};
use page_notice::{PageNotice, ServedPage};
use processes::{PROCESSES_MAX, process_and_hosts, trust};
use signals::StopOnSignals;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Runs a job until it has ended.
pub fn run(mut arguments: RunArguments) -> Result<ExitCode> {
    let blocked = signals::block();
    blocked.map_err(|error| Error::environment(format!("signals cannot be blocked: {error}")))?;
    if arguments.quiet {
        terminal::stop();
    }
    processes::settle(&mut arguments)?;
    if arguments.stand_by && arguments.own_number() == 0 {
        return Err(Error::job("--stand-by is for processes that join a running job, which process 0 cannot"));
    }
    if arguments.own_number() != 0 {
        // Process 0 shows the status of all.
        terminal::mute();
    }
    if let Some(reporter) = Reporter::of_this_process()? {
        terminal::share_output(true);
        let result = run_here(arguments, Some(&reporter), None);
        reporter.report_ended(&result);
        return result;
    }
    if arguments.sample {
        return run_here(arguments, None, None);
    }
    let spec = millstream_job::load(&arguments.job, kinds::all(), &arguments.sets)?;
    if arguments.own_number() == 0 {
        warn_of(stale::of_job(&spec));
    }
    if arguments.watch && arguments.own_number() == 0 {
        watch::start(&arguments.job, &spec)?;
    }
    let Some(checkpoint) = &spec.checkpoint else {
        let back = arguments.resume_from.or(arguments.replay_from);
        if arguments.fresh || back.is_some() || !arguments.drop_state.is_empty() {
            return Err(Error::job(format!(
                "{}: --fresh, --resume-from, --replay-from and --drop-state need checkpoints, but the job has no \
                [checkpoint]",
                arguments.job.display()
            )));
        }
        let page = serve_page(&arguments, &spec, false)?;
        return run_here(arguments, None, page.as_ref());
    };
    if arguments.fresh && !arguments.yes && arguments.own_number() == 0 {
        fresh::confirm(&spec, checkpoint)?;
    }
    let supervised = !arguments.unsupervised;
    let page = serve_page(&arguments, &spec, supervised)?;
    if !supervised {
        return run_here(arguments, None, page.as_ref());
    }
    terminal::share_output(false);
    let mut ports = None;
    let (numbers, key) = match (arguments.processes, arguments.number()) {
        (Some(processes @ 2..), None) => {
            if arguments.hosts.is_empty() {
                let reserved = LocalPorts::reserve(processes.min(PROCESSES_MAX))?;
                arguments.hosts = reserved.hosts()?;
                ports = Some(reserved);
            }
            process_and_hosts(&arguments, Some(0))?;
            // All processes are on this machine, so no one else needs the key.
            let key = arguments.cluster_key.as_deref().map_or_else(ClusterKey::generate, ClusterKey::read)?;
            ((0..processes).map(Some).collect(), Some(key))
        }
        (_, process) => {
            let processes = process_and_hosts(&arguments, process)?;
            // This includes processes that were not configured explicitly.
            processes.iter().for_each(|(_, hosts)| arguments.hosts.clone_from(hosts));
            // Report errors before anything is started. A worker process reads certificates itself, as they may be
            // newer then.
            let trust = processes.map(|(process, hosts)| trust(&arguments, &hosts, process, None)).transpose()?;
            (vec![None], trust.and_then(|trust| trust.key().cloned()))
        }
    };
    let layout = Layout { _ports: ports, ..Layout::new(&arguments, numbers, key) };
    supervise::supervise(&arguments, layout, page.as_ref())
}

/// Serves the page about the job from this process. If no page was requested, an error does not stop the job.
fn serve_page(arguments: &RunArguments, spec: &JobSpec, supervised: bool) -> Result<Option<ServedPage>> {
    let wanted =
        [&arguments.ui_token_file, &arguments.ui_cert].iter().any(|file| file.is_some()) || arguments.ui.is_some();
    // Process 0 shows all processes. Others serve a page only on request.
    let shows = wanted || (spec.ui && arguments.own_number() == 0);
    if arguments.no_ui || !shows {
        return Ok(None);
    }
    let options = PageOptions {
        address: arguments.ui.clone(),
        token_file: arguments.ui_token_file.clone(),
        certificate: arguments.ui_cert.clone().zip(arguments.ui_key.clone()),
        actions: arguments.ui_actions,
    };
    let jobs = Jobs::of_file(&arguments.job, &arguments.sets, supervised)?;
    match page::serve(&options, jobs.clone()) {
        Ok(page) => {
            let notice = PageNotice::new(&page.address)?;
            Ok(Some(ServedPage { _page: page, jobs, notice }))
        }
        Err(error) if wanted => Err(error),
        Err(error) => {
            tracing::warn!("{error}");
            Ok(None)
        }
    }
}

/// Runs a job in this process. `page`: the page of the job, if this process serves it.
fn run_here(arguments: RunArguments, reporter: Option<&Reporter>, page: Option<&ServedPage>) -> Result<ExitCode> {
    let signals = StopOnSignals::listen()?;
    let draws_line = arguments.own_number() == 0;
    let cluster = match process_and_hosts(&arguments, arguments.number())? {
        Some((process, hosts)) => {
            let trust = trust(&arguments, &hosts, process, reporter.and_then(Reporter::key))?;
            let id =
                arguments.layout.or(arguments.stand_by.then(|| JobLayout { workers: None, hosts: hosts.clone() }.id()));
            let layout = LayoutUpdate { id: id.unwrap_or(0), ..LayoutUpdate::default() };
            Some(Cluster { process, hosts, listen: arguments.listen.clone(), trust, layout })
        }
        None => None,
    };
    if cluster.is_some() {
        quiet_broken_connections();
    }
    let options = Options {
        workers: arguments.workers,
        until_idle: arguments.until_idle || arguments.sample,
        limit: arguments.limit.or(arguments.sample.then_some(SAMPLE_ROWS_READ)),
        sets: arguments.sets,
        cluster,
        fresh: arguments.fresh,
        resume_from: arguments.resume_from.map(BatchId),
        replay_from: arguments.replay_from.map(BatchId),
        drop_state: arguments.drop_state,
        replay_until: None,
        dry: false,
        start_until: arguments.timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
        supervised: reporter.is_some(),
        ahead: None,
    };
    let began = Instant::now();
    let deadline = arguments.timeout.and_then(|timeout| began.checked_add(timeout));
    let new_layout = options.cluster.as_ref().map(|cluster| cluster.layout.reported.clone());
    let elsewhere = |_: &Error| {
        if let (Some(reporter), Some(layout)) = (reporter, new_layout.as_ref().and_then(|new_layout| new_layout.get()))
        {
            reporter.report_layout(layout);
        }
    };
    let stands_by = arguments.stand_by || arguments.takes_over;
    let mut job = Job::load(&arguments.job, options)?;
    if arguments.sample {
        job.sample(SAMPLE_ROWS_SHOWN);
    }
    if let (Some(reporter), true) = (reporter, stands_by) {
        // A process that joins has no predecessor to wait for.
        let go = |time| reporter.has_taken_over_within(time) || arguments.stand_by;
        job.stand_by(&arguments.job, |event| reporter.report_standby(event), go).inspect_err(elsewhere)?;
    }
    job.start().inspect_err(elsewhere)?;
    if let Some(page) = page {
        page.notice.show();
    }
    if stands_by {
        fault::point("handover.started");
    }
    if !job.keeps_checkpoints() && !arguments.sample {
        tracing::info!("the job keeps no checkpoints: if it is killed, uncommitted rows are lost");
    }
    let stopper = job.stopper()?;
    // The job itself may run at the same time.
    let control = (!arguments.sample).then(|| Control::listen(&arguments.job, stopper.clone()));
    if let Some(reporter) = reporter {
        reporter.report_running(stopper.clone());
    }
    signals.started(stopper.clone());
    let line = match control.is_some() && draws_line {
        true => show_line(&arguments.job, page.map(|page| page.jobs.clone())),
        false => None,
    };
    // The startup used part of the time.
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let timed_out = !stopper.await_termination(left)?;
    if timed_out {
        tracing::info!("--timeout has expired; stopping");
        stopper.stop(Stop::Graceful);
        stopper.await_termination(None)?;
    }
    drop(line);
    drop(control);
    summarize(&stopper, began.elapsed(), job.keeps_checkpoints());
    if reporter.is_some() && stopper.is_leaving() {
        tracing::info!("the job continues on other machines; this process exits when they run it");
        stopper.await_successor(|| !signals.requested())?;
        return Ok(ExitCode::SUCCESS);
    }
    if let (Some(reporter), true) = (reporter, stopper.hands_over()) {
        // Process 0 has begun all batches.
        reporter.report_handed(stopper.begun_us().map_or(0, |(_, last_us)| last_us));
        fault::point("handover.handed");
    }
    if let (Some(reporter), Some(batch)) = (reporter, stopper.requested_back()) {
        reporter.report_back(batch);
    }
    let ended = !timed_out && !signals.requested() && stopper.requested_back().is_none();
    if ended && let Some((name, rejected)) = stopper.rejected_source() {
        return Err(all_rejected_error(name, rejected));
    }
    // Batches were dropped, so the job must not be considered done.
    Ok(if signals.is_immediate() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Returns the error for a job whose input has ended without a row from a source, as all its records were rejected.
fn all_rejected_error(name: &str, rejected: u64) -> Error {
    let records = number_of(rejected, "record");
    Error::plugin(format!(
        "source `{name}`: all {records} that it read were rejected, and nothing reads `{name}.rejected`; check its `format` and `schema`, \
         or let a sink read `{name}.rejected`"
    ))
}

/// Shows the job status on the terminal, if there is one.
fn show_line(file: &Path, page: Option<Arc<Jobs>>) -> Option<JobLine> {
    if !terminal::draws() {
        return None;
    }
    let jobs = page.map_or_else(
        || {
            let jobs = Jobs::of_file(file, &[], false)?;
            jobs.poll().map(|()| jobs)
        },
        Ok,
    );
    match jobs {
        Ok(jobs) => Some(JobLine::show(jobs)),
        Err(error) => {
            tracing::debug!("cannot show the status line: {error}");
            None
        }
    }
}

/// If the connection to another process breaks, several threads panic one after the other. The job's error describes
/// the cause once.
fn quiet_broken_connections() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.payload_as_str().is_some_and(is_connection_loss) {
            usual(panic);
        }
    }));
}

/// Describes the rows of a source, stage or sink, with those that it rejected.
fn describe_rows(name: &str, count: &Snapshot) -> String {
    match count.rejected {
        0 => format!("{name} {}", count.rows),
        rejected => format!("{name} {} ({rejected} rejected)", count.rows),
    }
}

/// Logs a summary of the job in a few lines.
fn summarize(stopper: &Stopper, took: Duration, keeps_checkpoints: bool) {
    let (batches, counts) = stopper.counts();
    for (name, count) in &counts {
        if count.unread_rejected > 0 {
            tracing::warn!("`{name}` rejected {} that nothing read", number_of(count.unread_rejected, "row"));
        }
        if count.late > 0 {
            tracing::warn!("`{name}` had {}: older than the watermark allows", number_of(count.late, "late row"));
        }
        for of_plugin in &count.plugins {
            tracing::info!("`{name}` {}", text::cost(of_plugin, count.rejected));
        }
        for (counter, value) in &count.counters {
            tracing::info!("`{name}` counted {counter} = {value}");
        }
    }
    let with_state = counts.iter().filter(|(_, count)| count.held > 0);
    let with_state: Vec<String> = with_state.map(|(name, count)| format!("{name} {}", count.held)).collect();
    if !with_state.is_empty() {
        let becomes =
            if keeps_checkpoints { "stay in the checkpoint" } else { "are lost, as the job keeps no checkpoints" };
        tracing::info!(
            "left in state (keys, open windows, waiting rows, timers): {}; they {becomes}",
            with_state.join(", ")
        );
    }
    let rows: Vec<String> = counts.iter().map(|(name, count)| describe_rows(name, count)).collect();
    let plural = if batches == 1 { "" } else { "es" };
    tracing::info!("done: {batches} batch{plural} in {:.1} s; rows: {}", took.as_secs_f64(), rows.join(", "));
}
