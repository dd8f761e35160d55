//! SQL over the checkpoint of a job, in a process with limits.

use super::command::{self, Order};
use crate::error::{Error, Result};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::Semaphore;

/// A query has so long.
const TIME_MAX: Duration = Duration::from_secs(15);
/// Its answer has so many bytes at most.
const OUTPUT_BYTES_MAX: u64 = 1 << 20;
/// A query has so many bytes at most.
pub const SQL_BYTES_MAX: usize = 8 << 10;
/// One at a time; more are refused.
static RUNNING: Semaphore = Semaphore::const_new(1);

/// The rows that a query over the state of a job gives, as JSON lines. `sets`: values that its file has not, as `--set` has them.
pub async fn state(job: PathBuf, sets: Vec<OsString>, sql: String) -> Result<String> {
    let Ok(place) = RUNNING.try_acquire() else {
        return Err(Error::environment("another query is running; try again when it is done"));
    };
    let asked = tokio::task::spawn_blocking(move || {
        let _place = place;
        ask(&job, sets, &sql)
    });
    asked.await.map_err(Error::environment)?
}

fn ask(job: &Path, sets: Vec<OsString>, sql: &str) -> Result<String> {
    let sql = OsString::from(format!("--sql={sql}"));
    let mut arguments: Vec<OsString> = vec!["state".into(), "--json".into(), sql];
    arguments.extend(sets);
    arguments.extend(["--".into(), job.as_os_str().to_owned()]);
    let order = Order { arguments, time_max: TIME_MAX, output_bytes_max: OUTPUT_BYTES_MAX };
    let outcome = command::run(&order)?;
    if outcome.too_much {
        return Err(Error::job("the answer is larger than 1 MiB; end the query with `limit 100`"));
    }
    match outcome.status {
        Some(status) if status.success() => Ok(outcome.output),
        Some(_) => Err(Error::job(outcome.words)),
        None => Err(Error::job(format!("the query has not ended in {TIME_MAX:?}; let it read less"))),
    }
}
