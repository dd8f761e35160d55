//! A running job, whose processes are all queried together.

use crate::cli::run::signals;
use millstream_base::digest::Digest;
use millstream_base::error::{Error, Result};
use millstream_base::time;
use millstream_engine::operators::plugin::shadow::ShadowReport;
use millstream_engine::running::upgrade::{PrepareRequest, UpgradeStatus, UpgradeStep};
use millstream_runtime::control::{
    ControlQuestion, ControlResponse, ProcessResponse, RunningMark, StatusResponses, query_status, send_question,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How often the status of an upgrade is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How long to wait for a starting job until one of its processes responds.
const START_MAX: Duration = Duration::from_secs(30);
/// How long to wait for the other processes once one responds. Those of one machine start together; those of other
/// machines respond there.
const OTHERS_START_MAX: Duration = Duration::from_secs(5);
/// After this time the user is notified that the job is being waited for.
const NOTICE_AFTER: Duration = Duration::from_secs(1);

/// A job whose processes can all be reached.
pub struct RunningJob {
    /// The job file.
    pub file: PathBuf,
    processes: usize,
}

/// A component for a stage.
pub struct NextComponent<'a> {
    /// The new value of `plugin` in the job file.
    pub plugin: &'a str,
    /// The component file.
    pub file: &'a Path,
    /// The digest of the component.
    pub digest: &'a Digest,
    /// The trusted signers, if it is a package.
    pub signers: Option<&'a [String]>,
}

impl RunningJob {
    /// Finds the running job of this file. Waits for a job that is starting. Fails if the job does not run, or not all
    /// of its processes are on this machine and respond.
    pub fn find(file: &Path) -> Result<RunningJob> {
        let began = Instant::now();
        let mut reported = false;
        loop {
            let responses = query_status(file)?;
            let found = RunningJob::from_responses(file, &responses);
            let responses_max = if responses.responded.is_empty() { START_MAX } else { OTHERS_START_MAX };
            if found.is_ok() || began.elapsed() >= responses_max || !RunningMark::is_held(file)? {
                return found;
            }
            if !reported && began.elapsed() >= NOTICE_AFTER {
                tracing::info!("the job {} is starting; waiting until it responds", file.display());
                reported = true;
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    fn from_responses(file: &Path, responses: &StatusResponses) -> Result<RunningJob> {
        let shown = file.display();
        let causes: String = responses
            .unresponsive
            .iter()
            .map(|(process, message)| format!("\n  process {process}: {message}"))
            .collect();
        let Some(processes) = responses.responded.first().map(|reported| reported.status.processes) else {
            return Err(Error::environment(match causes.is_empty() {
                true if RunningMark::is_held(file)? => {
                    format!("the job {shown} is starting and does not respond yet; its log shows what it waits for")
                }
                true => format!(
                    "the job {shown} is not running (no process of yours responds); to change a plugin of a stopped job, edit \
                     its job file (`millstream add`) and start it"
                ),
                false => format!("the job {shown} is running but does not respond{causes}"),
            }));
        };
        if responses.responded.len() < processes {
            return Err(Error::environment(format!(
                "{} of {processes} processes of the job {shown} respond on this machine, but an upgrade needs all of them; stop \
                 the job, change it and restart it{causes}",
                responses.responded.len()
            )));
        }
        Ok(RunningJob { file: file.to_owned(), processes })
    }

    /// Makes all processes load and check a plugin for a stage.
    pub fn prepare(&self, stage: &str, next: &NextComponent) -> Result<UpgradeStatus> {
        self.prepare_one(stage, next, false)
    }

    /// Like [`RunningJob::prepare`], on trial: if a call of the plugin fails, the previous version continues.
    pub fn prepare_on_trial(&self, stage: &str, next: &NextComponent) -> Result<UpgradeStatus> {
        self.prepare_one(stage, next, true)
    }

    fn prepare_one(&self, stage: &str, next: &NextComponent, on_trial: bool) -> Result<UpgradeStatus> {
        let id = time::now().0.unsigned_abs().max(1);
        let prepared = self.all(&ControlQuestion::Prepare(PrepareRequest {
            id,
            stage: stage.to_owned(),
            plugin: next.plugin.to_owned(),
            file: std::fs::canonicalize(next.file).unwrap_or_else(|_| next.file.to_owned()),
            digest: next.digest.to_string(),
            signers: next.signers.map(<[String]>::to_vec),
            on_trial,
        }));
        if prepared.is_err() {
            // Processes that have prepared it need not keep it.
            let _ = send_question(
                &self.file,
                &ControlQuestion::Drop { id, why: "another process rejected it".into() },
                |_| true,
            );
        }
        self.any(prepared?)
    }

    /// Replaces a plugin with a prepared one, and waits until that is done or was canceled.
    pub fn commit(&self, id: u64) -> Result<UpgradeStatus> {
        let mut status = self.first(&ControlQuestion::Commit { id })?;
        while !matches!(status.step, UpgradeStep::Done { .. } | UpgradeStep::Dropped(_) | UpgradeStep::Failed(_)) {
            thread::sleep(POLL_INTERVAL);
            status = self.first(&ControlQuestion::Upgrade { id })?;
        }
        Ok(status)
    }

    /// Runs a prepared plugin in a shadow for `batches` batches. Waits until that is done, has failed or was canceled.
    /// Returns what all processes have observed.
    pub fn shadow(&self, id: u64, batches: u64) -> Result<UpgradeStatus> {
        self.first(&ControlQuestion::Shadow { id, batches })?;
        loop {
            let mut all = self.status(id)?;
            let mut report: Option<ShadowReport> = None;
            for shown in all.iter_mut().filter_map(|status| status.shadow.take()) {
                report.get_or_insert_default().add(shown);
            }
            let failed = report.as_ref().is_some_and(|report| report.failed.is_some());
            let dropped = all.iter().position(|status| matches!(status.step, UpgradeStep::Dropped(_)));
            let first = dropped.unwrap_or_default();
            let over = |status: &UpgradeStatus| failed || dropped.is_some() || status.step == UpgradeStep::Shadowed;
            if let Some(status) = all.into_iter().nth(first).filter(over) {
                return Ok(UpgradeStatus { shadow: report, ..status });
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Until `over` is set, a signal also cancels the prepared plugin. Later steps are not interrupted.
    pub fn give_up_on_signals(&self, id: u64, over: Arc<AtomicBool>) -> Result<()> {
        let file = self.file.clone();
        signals::watch(signals::exit_unstoppable, move || {
            if !over.load(Ordering::Acquire) {
                let why = "the command that requested it has stopped waiting".into();
                let _ = send_question(&file, &ControlQuestion::Drop { id, why }, |_| true);
                std::process::exit(1);
            }
            true
        })
    }

    /// Cancels a prepared plugin.
    pub fn give_up(&self, id: u64, why: &str) -> Result<UpgradeStatus> {
        self.any(self.all(&ControlQuestion::Drop { id, why: why.to_owned() })?)
    }

    /// Returns the status of an upgrade in each process.
    pub fn status(&self, id: u64) -> Result<Vec<UpgradeStatus>> {
        self.all(&ControlQuestion::Upgrade { id })
    }

    /// Sends a request to process 0.
    pub fn first(&self, question: &ControlQuestion) -> Result<UpgradeStatus> {
        let responses = send_question(&self.file, question, |process| process == 0)?;
        responses.into_iter().next().map_or_else(|| Err(self.ended()), |responses| self.status_of(responses))
    }

    /// Sends a request to all processes. All must respond.
    pub fn all(&self, question: &ControlQuestion) -> Result<Vec<UpgradeStatus>> {
        let responses = send_question(&self.file, question, |_| true)?;
        if responses.len() < self.processes {
            return Err(self.ended());
        }
        responses.into_iter().map(|responses| self.status_of(responses)).collect()
    }

    fn status_of(&self, responses: ProcessResponse) -> Result<UpgradeStatus> {
        let of = |message: String| {
            if self.processes > 1 { format!("process {} of the job: {message}", responses.process) } else { message }
        };
        match responses.response {
            Ok(ControlResponse::Upgrade(status)) => Ok(*status),
            Ok(ControlResponse::Refused(message)) => Err(Error::job(message)),
            Ok(ControlResponse::Error(message)) | Err(message) => Err(Error::environment(of(message))),
            Ok(ControlResponse::Status(_) | ControlResponse::View(_) | ControlResponse::Done(_)) => {
                Err(Error::environment(of("it sent an unexpected response".into())))
            }
        }
    }

    fn ended(&self) -> Error {
        Error::environment(format!("the job {} has ended or restarted in the meantime", self.file.display()))
    }

    fn any(&self, all: Vec<UpgradeStatus>) -> Result<UpgradeStatus> {
        all.into_iter().next().ok_or_else(|| self.ended())
    }
}
