//! `--fresh` forgets all that a checkpoint folder holds, so a person must say so.

use super::signals;
use millstream_base::error::{Error, Result};
use millstream_base::job::retry_source;
use millstream_base::job::spec::{CheckpointSpec, JobSpec};
use millstream_base::shown;
use millstream_engine::checkpoint::{manifest, store};
use std::io::{self, BufRead, IsTerminal, Write};

/// Returns when nothing would be forgotten, or the person at the terminal agreed. `Error` otherwise.
pub fn confirm(spec: &JobSpec, checkpoint: &CheckpointSpec) -> Result<()> {
    let Some(mut what) = what_is_forgotten(spec, checkpoint)? else { return Ok(()) };
    let given_back = spec.origin.folder.join(retry_source::folder(&spec.name, ""));
    if given_back.is_dir() {
        what += &format!(", and reads the retried rows in {} again", given_back.display());
    }
    if !io::stdin().is_terminal() {
        return Err(Error::job(format!("--fresh discards {what}; add --yes to confirm")));
    }
    let mut answer = String::new();
    signals::unblock().map_err(Error::environment)?;
    let asked = write!(io::stderr(), "This discards {}. Type yes to continue: ", shown::message(&what))
        .and_then(|()| io::stderr().flush());
    asked.and_then(|()| io::stdin().lock().read_line(&mut answer)).map_err(Error::environment)?;
    signals::block().map_err(Error::environment)?;
    match answer.trim() {
        "yes" => Ok(()),
        _ => Err(Error::job("nothing was discarded, and the job was not started")),
    }
}

/// In words; `None`: there is nothing.
fn what_is_forgotten(spec: &JobSpec, checkpoint: &CheckpointSpec) -> Result<Option<String>> {
    let store = store::open(&checkpoint.dir, &spec.origin.folder)?;
    let place = store.place();
    Ok(match manifest::read(&*store) {
        Ok(None) => None,
        Ok(Some((manifest, _))) => Some(match manifest.checkpoints.last() {
            Some(last) => {
                format!("batch {} and all before it of the job `{}` in {place}", last.batch, manifest.job)
            }
            None => format!("the received rows of the job `{}` in {place}", manifest.job),
        }),
        // What cannot be read may well be the reason for beginning afresh.
        Err(error) => Some(format!("the contents of {place} ({error})")),
    })
}
