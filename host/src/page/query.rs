//! SQL over the checkpoint of a job, and other commands that the page gives: in a process of its own, with a time and an output that
//! are bounded, so that no query costs the page or the job more than that.

use crate::child::limits::signals_as_usual;
use crate::error::{Error, Result};
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// A query has so long.
const TIME_MAX: Duration = Duration::from_secs(15);
/// Its answer has so many bytes at most.
const OUTPUT_BYTES_MAX: u64 = 1 << 20;
/// What it says of a mistake.
const WORDS_BYTES_MAX: u64 = 16 << 10;
/// A query has so many bytes at most.
pub const SQL_BYTES_MAX: usize = 8 << 10;
/// Memory that the process may have, in KiB.
const MEMORY_KIB_MAX: u64 = 2 << 20;
/// How often it is looked whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// One at a time; more are refused.
static RUNNING: Semaphore = Semaphore::const_new(1);

/// The rows that a query over the state of a job gives, as JSON lines.
pub async fn state(job: PathBuf, sql: String) -> Result<String> {
    let Ok(place) = RUNNING.try_acquire() else {
        return Err(Error::environment("another query is running; try again when it is done"));
    };
    let asked = tokio::task::spawn_blocking(move || {
        let _place = place;
        ask(&job, &sql)
    });
    asked.await.map_err(Error::environment)?
}

fn ask(job: &Path, sql: &str) -> Result<String> {
    let program = std::env::current_exe().map_err(Error::environment)?;
    let sql = OsString::from(format!("--sql={sql}"));
    let arguments = ["state".into(), "--json".into(), sql, "--".into(), job.as_os_str().to_owned()];
    // The shell sets the limits for itself and becomes the program.
    let limits = format!("ulimit -d {MEMORY_KIB_MAX}; ulimit -t {}; exec \"$0\" \"$@\"", TIME_MAX.as_secs() + 1);
    let mut command = Command::new("sh");
    command.arg("-c").arg(limits).arg(program).args(arguments).env("MILLSTREAM_LOG", "off");
    // The signals that the job has blocked for itself are for the query as well.
    // SAFETY: between fork and exec only system calls are made, and no memory is allocated.
    unsafe { command.pre_exec(signals_as_usual) };
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.as_mut().map_err(|error| Error::environment(format!("no query can be asked: {error}")))?;
    let rows = read(child.stdout.take(), OUTPUT_BYTES_MAX);
    let words = read(child.stderr.take(), WORDS_BYTES_MAX);
    let deadline = Instant::now() + TIME_MAX;
    let status = loop {
        match child.try_wait() {
            Ok(None) if Instant::now() < deadline => std::thread::sleep(LOOK_EVERY),
            Ok(status) => break status,
            Err(_) => break None,
        }
    };
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
    let (rows, words) = (rows.join().unwrap_or_default(), words.join().unwrap_or_default());
    if rows.len() as u64 >= OUTPUT_BYTES_MAX {
        return Err(Error::job("the answer is larger than 1 MiB; end the query with `limit 100`"));
    }
    match status {
        Some(status) if status.success() => Ok(rows),
        Some(_) => Err(Error::job(words.trim().trim_start_matches("error: ").to_owned())),
        None => Err(Error::job(format!("the query has not ended in {TIME_MAX:?}; let it read less"))),
    }
}

/// What a process says, up to so many bytes, on a thread of its own. What comes after breaks its pipe, and so ends it.
fn read(from: Option<impl Read + Send + 'static>, bytes_max: u64) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(from) = from {
            // What was read before it broke is what there is.
            let _ = from.take(bytes_max).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
