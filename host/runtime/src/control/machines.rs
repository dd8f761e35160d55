//! What a process does for a job that gets other machines. It forwards messages between supervisors. If it leaves the
//! job, it waits until other processes run it.

use super::others::OtherProcesses;
use super::{ControlQuestion, ControlResponse};
use millstream_base::error::{Error, Result};
use millstream_base::ids::Generation;
use millstream_base::threads::lost_connection;
use millstream_engine::checkpoint::manifest;
use millstream_engine::checkpoint::types::Manifest;
use millstream_engine::running::Running;
use millstream_engine::running::handover::HandoverMessage;
use std::thread;
use std::time::{Duration, Instant};

/// How often a process that leaves checks whether others run the job.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// How long it waits for that. The supervisor of process 0 cancels earlier.
const SUCCESSOR_MAX: Duration = Duration::from_secs(90);

/// Sends a message to the supervisors of other processes: to that of process 0 if something has failed, otherwise to
/// all. Fails if one of them does not accept it.
pub(crate) fn send(running: &Running, others: &OtherProcesses, word: &HandoverMessage) -> Result<()> {
    let (own, processes) = running.options.process_and_count();
    let to = match word {
        HandoverMessage::Failed(_) => 0..1,
        HandoverMessage::Prepare(_) | HandoverMessage::HandOver | HandoverMessage::GiveUp(_) => 0..processes,
    };
    let question = serde_json::to_vec(&ControlQuestion::Supervisor(word.clone())).map_err(Error::bug)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::environment(format!("cannot query the processes: {error}")))?;
    for process in to.filter(|process| *process != own) {
        let rejected = |why: &str| Error::environment(format!("process {process} of the job has not joined: {why}"));
        let response =
            runtime.block_on(others.send_question(process, question.clone())).map_err(|why| rejected(&why))?;
        match serde_json::from_slice(&response) {
            Ok(ControlResponse::Done(true)) => {}
            Ok(ControlResponse::Error(why) | ControlResponse::Refused(why)) => return Err(rejected(&why)),
            _ => return Err(rejected("it replies in the format of another version")),
        }
    }
    Ok(())
}

/// Waits until others run the job that this process has ended for and have made a checkpoint. If the job continues
/// unchanged instead, or no process runs it, returns the error for a lost process, so that this one is restarted.
pub(crate) fn await_successor(running: &Running, keep_waiting: impl Fn() -> bool) -> Result<()> {
    let Some(checkpoints) = &running.checkpoints else { return Ok(()) };
    let own = checkpoints.owner.generation;
    let workers = running.threads.count.saturating_mul(running.options.process_and_count().1);
    let began = Instant::now();
    while keep_waiting() && began.elapsed() < SUCCESSOR_MAX {
        // An unreachable store gives no information.
        let saved_manifest = manifest::read(&*checkpoints.loaded.store).ok().flatten().map(|(manifest, _)| manifest);
        match saved_manifest.as_ref().map(|manifest| successor(manifest, own, workers)) {
            Some(Successor::Runs) => return Ok(()),
            Some(Successor::IsAsBefore) => return Err(lost_connection()),
            Some(Successor::Unknown) | None => thread::sleep(POLL_INTERVAL),
        }
    }
    if keep_waiting() { Err(lost_connection()) } else { Ok(()) }
}

/// Which processes have the job after a handover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Successor {
    /// Others, which have made a checkpoint.
    Runs,
    /// The same number of processes as before, or another start of the job: the handover has failed.
    IsAsBefore,
    Unknown,
}

fn successor(manifest: &Manifest, own: Generation, workers: usize) -> Successor {
    if manifest.newest().is_some_and(|newest| newest.generation > own) {
        return Successor::Runs;
    }
    let as_many = manifest.starts.last().is_some_and(|start| usize::try_from(start.workers) == Ok(workers));
    match manifest.generation.0.saturating_sub(own.0) {
        0 => Successor::Unknown,
        1 if !as_many => Successor::Unknown,
        _ => Successor::IsAsBefore,
    }
}
