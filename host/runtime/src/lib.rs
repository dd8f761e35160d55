//! A job as a program uses it: load or build, start, wait, stop. The documentation of the crate `millstream` has an
//! example.

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
pub use millstream_engine::running::handover::HandoverMessage;
pub use millstream_engine::running::layout::{JobLayout, LAYOUT_BYTES_MAX, LayoutUpdate};
pub use millstream_engine::running::peer_trust::{PeerTrust, name_in};
pub use millstream_engine::running::{Cluster, Options};

use millstream_base::error::{Error, Result};
use millstream_connectors::kinds;
use millstream_job::spec::{JobSpec, SinkSpec, SourceSpec, StageSpec};
use prepared::PreparedStart;
use stand_by::Standby;
pub use stand_by::StandbyEvent;
use std::path::Path;
use std::time::Duration;
pub use stopper::{Stop, Stopper};

/// A job: configured first, then started once. Dropping it does not stop it. It runs until it ends, is stopped by a
/// [`Stopper`], or the process exits.
pub struct Job {
    spec: JobSpec,
    options: Options,
    /// The prepared start, if this was a standby process.
    ready: Option<PreparedStart>,
    started: Option<Stopper>,
}

impl Job {
    /// Creates a job from a job file. Errors are those of the file. Plugins are checked by [`Job::start`].
    pub fn load(path: &Path, options: Options) -> Result<Job> {
        Ok(Job { spec: millstream_job::load(path, kinds::all(), &options.sets)?, options, ready: None, started: None })
    }

    /// Creates a job from a specification that a program has built.
    pub fn new(spec: JobSpec, options: Options) -> Job {
        Job { spec, options, ready: None, started: None }
    }

    /// Adds a source. Fails if the job has started.
    pub fn add_source(&mut self, source: SourceSpec) -> Result<()> {
        self.not_started("add a source")?.sources.push(source);
        Ok(())
    }

    /// Adds a stage. Fails if the job has started.
    pub fn add_stage(&mut self, stage: StageSpec) -> Result<()> {
        self.not_started("add a stage")?.stages.push(stage);
        Ok(())
    }

    /// Adds a sink. Fails if the job has started.
    pub fn add_sink(&mut self, sink: SinkSpec) -> Result<()> {
        self.not_started("add a sink")?.sinks.push(sink);
        Ok(())
    }

    /// Shows the first rows of every stream instead of writing to sinks. The job keeps no checkpoint.
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
        // The job itself may run at the same time, so the state that a server keeps for it is not changed.
        self.spec.sources.iter_mut().for_each(|source| source.kind.sample());
    }

    fn not_started(&mut self, what: &str) -> Result<&mut JobSpec> {
        match self.started {
            None => Ok(&mut self.spec),
            Some(_) => Err(Error::job(format!(
                "cannot {what}: the job `{}` is already started; do that before `start`",
                self.spec.name
            ))),
        }
    }

    /// Returns whether the job has `[checkpoint]`.
    pub fn keeps_checkpoints(&self) -> bool {
        self.spec.checkpoint.is_some()
    }

    /// Prepares to take over the job of this file from the processes that run it (see [`Standby`]), until `go` returns
    /// `true`. The job is to be started afterwards.
    pub fn stand_by(
        &mut self,
        file: &Path,
        report: impl FnMut(StandbyEvent),
        go: impl FnMut(Duration) -> bool,
    ) -> Result<()> {
        let ready = Standby::new(&self.spec, &self.options)?.follow_until(report, go)?;
        // An upgrade may have changed the file meanwhile.
        self.spec = millstream_job::load(file, kinds::all(), &self.options.sets)?;
        self.options.ahead = Some(ready.ahead.clone());
        self.ready = Some(ready);
        Ok(())
    }

    /// Checks the job, loads its plugins and starts receivers and workers. Errors are returned before anything runs.
    pub fn start(&mut self) -> Result<()> {
        if self.started.is_some() {
            return Err(Error::job(format!(
                "the job `{}` is already started; a job can be started once",
                self.spec.name
            )));
        }
        self.started = Some(start::start(self.spec.clone(), self.options.clone(), self.ready.take())?);
        Ok(())
    }

    /// Waits until the job has ended. Returns `true`, or the error of the job, or `false` if `timeout` passed first.
    pub fn await_termination(&mut self, timeout: Option<Duration>) -> Result<bool> {
        self.stopper()?.await_termination(timeout)
    }

    /// Requests the job to stop. [`Job::await_termination`] returns when it has.
    pub fn stop(&mut self, how: Stop) -> Result<()> {
        self.stopper()?.stop(how);
        Ok(())
    }

    /// Returns a handle that can stop the job from another thread. Fails before the job has started.
    pub fn stopper(&self) -> Result<Stopper> {
        let not_started = || Error::job(format!("the job `{}` is not started; call `start` first", self.spec.name));
        self.started.clone().ok_or_else(not_started)
    }
}
