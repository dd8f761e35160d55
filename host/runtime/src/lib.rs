//! A job as a program handles it: load or build, start, wait, stop. The documentation of the crate
//! `millstream` has an example.

mod connect;
pub mod control;
mod launch;
mod limits;
mod local_ports;
mod prepared;
pub mod recover;
pub mod replay;
mod sent;
mod stand_by;
mod start;
mod stopper;
#[cfg_attr(not(feature = "telemetry"), path = "traces/absent.rs")]
mod traces;

pub use local_ports::LocalPorts;
pub use millstream_engine::running::cluster_key::ClusterKey;
pub use millstream_engine::running::handover::HandoverWord;
pub use millstream_engine::running::layout::{JobLayout, LAYOUT_BYTES_MAX, LayoutNews};
pub use millstream_engine::running::peer_trust::{PeerTrust, name_in};
pub use millstream_engine::running::{Cluster, Options};

use millstream_base::error::{Error, Result};
use millstream_base::job::{
    self,
    spec::{JobSpec, SinkSpec, SourceSpec, StageSpec},
};
use millstream_connectors::kinds;
use prepared::PreparedStart;
use stand_by::StandBy;
pub use stand_by::StandByNews;
use std::path::Path;
use std::time::Duration;
pub use stopper::{Stop, Stopper};

/// A job: first put together, then started once. Dropping it does not stop it: it goes on until it ends, is stopped by
/// a [`Stopper`], or the process exits.
pub struct Job {
    spec: JobSpec,
    options: Options,
    /// What it goes on with, where it stood by.
    ready: Option<PreparedStart>,
    started: Option<Stopper>,
}

impl Job {
    /// A job from a job file. Errors are those of the file; plugins are looked at by [`Job::start`].
    pub fn load(path: &Path, options: Options) -> Result<Job> {
        Ok(Job { spec: job::load(path, kinds::all(), &options.sets)?, options, ready: None, started: None })
    }

    /// A job that a program puts together.
    pub fn new(spec: JobSpec, options: Options) -> Job {
        Job { spec, options, ready: None, started: None }
    }

    /// Adds a source. An error once the job is started.
    pub fn add_source(&mut self, source: SourceSpec) -> Result<()> {
        self.not_started("add a source")?.sources.push(source);
        Ok(())
    }

    /// Adds a stage. An error once the job is started.
    pub fn add_stage(&mut self, stage: StageSpec) -> Result<()> {
        self.not_started("add a stage")?.stages.push(stage);
        Ok(())
    }

    /// Adds a sink. An error once the job is started.
    pub fn add_sink(&mut self, sink: SinkSpec) -> Result<()> {
        self.not_started("add a sink")?.sinks.push(sink);
        Ok(())
    }

    /// Instead of writing to sinks, shows the first rows of every stream. It keeps no checkpoint.
    pub fn sample(&mut self, rows: usize) {
        let sources = self.spec.sources.iter().map(|source| (source.name.clone(), vec!["rejected"]));
        let stages = self.spec.stages.iter().map(|stage| (stage.name.clone(), stage.sides().collect()));
        let streams = sources.chain(stages).flat_map(|(name, sides)| {
            let sides: Vec<String> = sides.into_iter().map(|side| format!("{name}.{side}")).collect();
            std::iter::once(name).chain(sides)
        });
        let sink = |name: String| SinkSpec {
            from: vec![name.clone()],
            kind: kinds::sample(rows),
            name,
            wants_changes: true,
            encoding: None,
        };
        self.spec.sinks = streams.map(sink).collect();
        self.spec.checkpoint = None;
        // The job itself may run, and what a server keeps for it stays where it is.
        self.spec.sources.iter_mut().for_each(|source| source.kind.sample());
    }

    fn not_started(&mut self, what: &str) -> Result<&mut JobSpec> {
        match self.started {
            None => Ok(&mut self.spec),
            Some(_) => Err(Error::job(format!(
                "cannot {what}: the job `{}` is already started; put it together before `start`",
                self.spec.name
            ))),
        }
    }

    /// Whether the job has `[checkpoint]`.
    pub fn keeps_checkpoints(&self) -> bool {
        self.spec.checkpoint.is_some()
    }

    /// Gets ready to take the job of this file over from the processes that run it, as [`StandBy`] says, until `go` does; then it is
    /// to be started.
    pub fn stand_by(
        &mut self,
        file: &Path,
        tell: impl FnMut(StandByNews),
        go: impl FnMut(Duration) -> bool,
    ) -> Result<()> {
        let ready = StandBy::new(&self.spec, &self.options)?.until(tell, go)?;
        // An upgrade may have changed it meanwhile.
        self.spec = job::load(file, kinds::all(), &self.options.sets)?;
        self.options.ahead = Some(ready.ahead.clone());
        self.ready = Some(ready);
        Ok(())
    }

    /// Checks the job, loads its plugins and starts receivers and workers. Errors come before anything runs.
    pub fn start(&mut self) -> Result<()> {
        if self.started.is_some() {
            return Err(Error::job(format!("the job `{}` is already started; a job starts once", self.spec.name)));
        }
        self.started = Some(start::start(self.spec.clone(), self.options.clone(), self.ready.take())?);
        Ok(())
    }

    /// Waits until the job has ended: `true`, or the error that ended it. `false` when `timeout` passed first.
    pub fn await_termination(&mut self, timeout: Option<Duration>) -> Result<bool> {
        self.stopper()?.await_termination(timeout)
    }

    /// Asks the job to stop; [`Job::await_termination`] tells when it has.
    pub fn stop(&mut self, how: Stop) -> Result<()> {
        self.stopper()?.stop(how);
        Ok(())
    }

    /// A handle that can stop the job from elsewhere. An error before the job is started.
    pub fn stopper(&self) -> Result<Stopper> {
        let not_started = || Error::job(format!("the job `{}` is not started; call `start` first", self.spec.name));
        self.started.clone().ok_or_else(not_started)
    }
}
