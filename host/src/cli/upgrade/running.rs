//! A running job, all processes of which are asked together.

use crate::cli::run::signals;
use millstream_base::digest::Digest;
use millstream_base::error::{Error, Result};
use millstream_base::time;
use millstream_engine::operators::plugin::shadow::ShadowReport;
use millstream_engine::running::upgrade::{Prepare, UpgradeStatus, UpgradeStep};
use millstream_runtime::control::{
    ControlAnswer, ControlQuestion, ProcessAnswer, RunningMark, StatusAnswers, ask, put,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How often it is looked how an upgrade stands.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long a job that is being started is waited for, until a process of it answers.
const START_MAX: Duration = Duration::from_secs(30);
/// How long the other processes are, once one answers: those of one machine start together, those of others answer there.
const OTHERS_START_MAX: Duration = Duration::from_secs(5);
/// After how long it is told that the job is waited for.
const TELL_AFTER: Duration = Duration::from_secs(1);

/// A job whose processes can all be reached.
pub struct RunningJob {
    /// The job file.
    pub file: PathBuf,
    processes: usize,
}

/// A component that a stage may get.
pub struct NextComponent<'a> {
    /// `plugin` as the job file is to have it.
    pub plugin: &'a str,
    /// The component.
    pub file: &'a Path,
    /// Its digest.
    pub digest: &'a Digest,
    /// Who has signed it and is trusted, where it is a package.
    pub signers: Option<&'a [String]>,
}

impl RunningJob {
    /// The running job of this file. One that is being started is waited for. An error where it does not run, or not all of it is on this
    /// machine and answers.
    pub fn find(file: &Path) -> Result<RunningJob> {
        let began = Instant::now();
        let mut told = false;
        loop {
            let answers = ask(file)?;
            let found = RunningJob::of(file, &answers);
            let answers_max = if answers.answered.is_empty() { START_MAX } else { OTHERS_START_MAX };
            if found.is_ok() || began.elapsed() >= answers_max || !RunningMark::is_held(file)? {
                return found;
            }
            if !told && began.elapsed() >= TELL_AFTER {
                tracing::info!("the job {} is starting; waiting until it responds", file.display());
                told = true;
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    fn of(file: &Path, answers: &StatusAnswers) -> Result<RunningJob> {
        let shown = file.display();
        let silent: String =
            answers.silent.iter().map(|(process, words)| format!("\n  process {process}: {words}")).collect();
        let Some(processes) = answers.answered.first().map(|told| told.status.processes) else {
            return Err(Error::environment(match silent.is_empty() {
                true if RunningMark::is_held(file)? => {
                    format!("the job {shown} is starting and does not respond yet; its log shows what it waits for")
                }
                true => format!(
                    "the job {shown} is not running (no process of yours responds); to change a plugin of a stopped job, edit \
                     its job file (`millstream add`) and start it"
                ),
                false => format!("the job {shown} is running but does not respond{silent}"),
            }));
        };
        if answers.answered.len() < processes {
            return Err(Error::environment(format!(
                "{} of {processes} processes of the job {shown} respond on this machine, but an upgrade needs all of them; stop \
                 the job, change it and restart it{silent}",
                answers.answered.len()
            )));
        }
        Ok(RunningJob { file: file.to_owned(), processes })
    }

    /// Has all processes load and check a plugin for a stage.
    pub fn prepare(&self, stage: &str, next: &NextComponent) -> Result<UpgradeStatus> {
        self.prepare_one(stage, next, false)
    }

    /// The same; where a call of the plugin fails, the one that ran before goes on.
    pub fn prepare_on_trial(&self, stage: &str, next: &NextComponent) -> Result<UpgradeStatus> {
        self.prepare_one(stage, next, true)
    }

    fn prepare_one(&self, stage: &str, next: &NextComponent, on_trial: bool) -> Result<UpgradeStatus> {
        let id = time::now().0.unsigned_abs().max(1);
        let prepared = self.all(&ControlQuestion::Prepare(Prepare {
            id,
            stage: stage.to_owned(),
            plugin: next.plugin.to_owned(),
            file: std::fs::canonicalize(next.file).unwrap_or_else(|_| next.file.to_owned()),
            digest: next.digest.to_string(),
            signers: next.signers.map(<[String]>::to_vec),
            on_trial,
        }));
        if prepared.is_err() {
            // Those that have prepared it need not keep it.
            let _ = put(&self.file, &ControlQuestion::Drop { id, why: "another process rejected it".into() }, |_| true);
        }
        self.any(prepared?)
    }

    /// Puts a prepared plugin in its place, and waits until that is done or was given up.
    pub fn commit(&self, id: u64) -> Result<UpgradeStatus> {
        let mut status = self.first(&ControlQuestion::Commit { id })?;
        while !matches!(status.step, UpgradeStep::Done { .. } | UpgradeStep::Dropped(_) | UpgradeStep::Failed(_)) {
            thread::sleep(LOOK_EVERY);
            status = self.first(&ControlQuestion::Upgrade { id })?;
        }
        Ok(status)
    }

    /// Runs a prepared plugin in a shadow for so many batches, and waits until it has, or has failed, or was given up: what
    /// all processes have seen of it.
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
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Until it is `over`, whoever stops this command gives its prepared plugin up with it; what follows is not interrupted.
    pub fn give_up_on_signals(&self, id: u64, over: Arc<AtomicBool>) -> Result<()> {
        let file = self.file.clone();
        signals::watch(signals::end_unheard, move || {
            if !over.load(Ordering::Acquire) {
                let why = "the command that requested it has stopped waiting".into();
                let _ = put(&file, &ControlQuestion::Drop { id, why }, |_| true);
                std::process::exit(1);
            }
            true
        })
    }

    /// Gives a prepared plugin up.
    pub fn give_up(&self, id: u64, why: &str) -> Result<UpgradeStatus> {
        self.any(self.all(&ControlQuestion::Drop { id, why: why.to_owned() })?)
    }

    /// How an upgrade stands, in each process.
    pub fn status(&self, id: u64) -> Result<Vec<UpgradeStatus>> {
        self.all(&ControlQuestion::Upgrade { id })
    }

    /// Asks process 0.
    pub fn first(&self, question: &ControlQuestion) -> Result<UpgradeStatus> {
        let said = put(&self.file, question, |process| process == 0)?;
        said.into_iter().next().map_or_else(|| Err(self.ended()), |said| self.status_of(said))
    }

    /// Asks all processes: none may be missing.
    pub fn all(&self, question: &ControlQuestion) -> Result<Vec<UpgradeStatus>> {
        let said = put(&self.file, question, |_| true)?;
        if said.len() < self.processes {
            return Err(self.ended());
        }
        said.into_iter().map(|said| self.status_of(said)).collect()
    }

    fn status_of(&self, said: ProcessAnswer) -> Result<UpgradeStatus> {
        let of = |words: String| {
            if self.processes > 1 { format!("process {} of the job: {words}", said.process) } else { words }
        };
        match said.answer {
            Ok(ControlAnswer::Upgrade(status)) => Ok(*status),
            Ok(ControlAnswer::Refused(words)) => Err(Error::job(words)),
            Ok(ControlAnswer::Error(words)) | Err(words) => Err(Error::environment(of(words))),
            Ok(ControlAnswer::Status(_) | ControlAnswer::View(_) | ControlAnswer::Done(_)) => {
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
