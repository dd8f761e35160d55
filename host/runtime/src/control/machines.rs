//! What a process does for a job that gets other machines: it passes on what supervisors tell each other, and where it leaves the job it
//! waits until others run that.

use super::others::OtherProcesses;
use super::{ControlAnswer, ControlQuestion};
use millstream_base::error::{Error, Result};
use millstream_base::ids::Generation;
use millstream_base::threads::lost_connection;
use millstream_engine::checkpoint::manifest;
use millstream_engine::checkpoint::types::Manifest;
use millstream_engine::running::Running;
use millstream_engine::running::handover::HandoverWord;
use std::thread;
use std::time::{Duration, Instant};

/// How often a process that leaves looks whether others run the job.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long it waits for that. The supervisor of process 0 gives up earlier.
const SUCCESSOR_MAX: Duration = Duration::from_secs(90);

/// Tells the supervisors of other processes something: that of process 0 where something has failed, else all of them. An error where one of
/// them does not take it.
pub(crate) fn tell(running: &Running, others: &OtherProcesses, word: &HandoverWord) -> Result<()> {
    let (own, processes) = running.options.place();
    let to = match word {
        HandoverWord::Failed(_) => 0..1,
        HandoverWord::Prepare(_) | HandoverWord::HandOver | HandoverWord::GiveUp(_) => 0..processes,
    };
    let question = serde_json::to_vec(&ControlQuestion::Supervisor(word.clone())).map_err(Error::bug)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::environment(format!("cannot query the processes: {error}")))?;
    for process in to.filter(|process| *process != own) {
        let refused = |why: &str| Error::environment(format!("process {process} of the job does not take part: {why}"));
        let answer = runtime.block_on(others.ask(process, question.clone())).map_err(|why| refused(&why))?;
        match serde_json::from_slice(&answer) {
            Ok(ControlAnswer::Done(true)) => {}
            Ok(ControlAnswer::Error(why) | ControlAnswer::Refused(why)) => return Err(refused(&why)),
            _ => return Err(refused("it replies in the format of another version")),
        }
    }
    Ok(())
}

/// Waits until others run the job that this process has ended for: until they have made a checkpoint. Another process is lost, so that this one is
/// started again, where the job goes on as it was instead, or nobody runs it.
pub(crate) fn await_successor(running: &Running, goes_on: impl Fn() -> bool) -> Result<()> {
    let Some(checkpoints) = &running.checkpoints else { return Ok(()) };
    let own = checkpoints.owner.generation;
    let workers = running.threads.count.saturating_mul(running.options.place().1);
    let began = Instant::now();
    while goes_on() && began.elapsed() < SUCCESSOR_MAX {
        // A store that is away says nothing.
        let held = manifest::read(&*checkpoints.loaded.store).ok().flatten().map(|(manifest, _)| manifest);
        match held.as_ref().map(|manifest| successor(manifest, own, workers)) {
            Some(Successor::Runs) => return Ok(()),
            Some(Successor::IsAsBefore) => return Err(lost_connection()),
            Some(Successor::Unknown) | None => thread::sleep(LOOK_EVERY),
        }
    }
    if goes_on() { Err(lost_connection()) } else { Ok(()) }
}

/// Who has the job after a handover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Successor {
    /// Others, which have made a checkpoint.
    Runs,
    /// As many as before, or somebody who started it once more: the handover has failed.
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
