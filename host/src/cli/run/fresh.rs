//! `--fresh` discards everything in a checkpoint directory, so a person must confirm it.

use super::signals;
use millstream_base::error::{Error, Result};
use millstream_base::shown;
use millstream_engine::checkpoint::{manifest, store};
use millstream_job::retry_source;
use millstream_job::spec::{CheckpointSpec, JobSpec};
use std::io::{self, BufRead, IsTerminal, Write};

/// Returns if nothing would be discarded or the person at the terminal has agreed. Otherwise fails.
pub fn confirm(spec: &JobSpec, checkpoint: &CheckpointSpec) -> Result<()> {
    let Some(mut what) = what_is_discarded(spec, checkpoint)? else { return Ok(()) };
    let given_back = spec.origin.dir.join(retry_source::dir(&spec.name, ""));
    if given_back.is_dir() {
        what += &format!(", and reads the retried rows in {} again", given_back.display());
    }
    if !io::stdin().is_terminal() {
        return Err(Error::job(format!("--fresh discards {what}; add --yes to confirm")));
    }
    let mut response = String::new();
    signals::unblock().map_err(Error::environment)?;
    let prompt = write!(io::stderr(), "This discards {}. Type yes to continue: ", shown::message(&what))
        .and_then(|()| io::stderr().flush());
    prompt.and_then(|()| io::stdin().lock().read_line(&mut response)).map_err(Error::environment)?;
    signals::block().map_err(Error::environment)?;
    match response.trim() {
        "yes" => Ok(()),
        _ => Err(Error::job("nothing was discarded, and the job was not started")),
    }
}

/// Describes what is discarded, or returns `None` if there is nothing.
fn what_is_discarded(spec: &JobSpec, checkpoint: &CheckpointSpec) -> Result<Option<String>> {
    let store = store::open(&checkpoint.dir, &spec.origin.dir)?;
    let dir = store.location();
    Ok(match manifest::read(&*store) {
        Ok(None) => None,
        Ok(Some((manifest, _))) => Some(match manifest.checkpoints.last() {
            Some(last) => {
                format!("batch {} and all previous batches of the job `{}` in {dir}", last.batch, manifest.job)
            }
            None => format!("the received rows of the job `{}` in {dir}", manifest.job),
        }),
        // Unreadable content may be the reason to start from scratch.
        Err(error) => Some(format!("the contents of {dir} ({error})")),
    })
}
