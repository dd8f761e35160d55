//! What the page does to a job where it may: stop it, give rows back, put another version of a plugin in its place.
//!
//! But for the stop, each is a command of the program in a process of its own, so that it checks, asks and refuses as it does in a
//! terminal. It goes on when whoever asked for it looks away, and what became of it is part of the job's view ([`ActionRequest`]). What
//! needs somebody's consent is refused, and the command that consents is shown.

use super::body::{self, Answer};
use super::command::{self, Order};
use super::parameters::{number, text};
use super::poll::Jobs;
use super::site::Site;
use super::view::ActionRequest;
use clap::ValueEnum;
use hyper::StatusCode;
use millstream_base::job::plugin_part::PluginPart;
use millstream_base::limits::SHADOW_BATCHES_MAX;
use millstream_base::package_name::version;
use millstream_base::time;
use millstream_engine::operators::plugin::shadow::rule::ShadowRule;
use millstream_runtime::control::{ControlAnswer, ControlQuestion, ProcessAnswer, put};
use serde_json::json;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Rows are given back within this time.
const RETRY_TIME_MAX: Duration = Duration::from_secs(120);
/// A shadow lasts as long as its batches, but no longer than this.
const UPGRADE_TIME_MAX: Duration = Duration::from_secs(3600);
/// What is kept of the words of a command.
const OUTPUT_BYTES_MAX: u64 = 16 << 10;
/// A version, a name with one, or a path has so many letters at most.
const PLUGIN_CHARS_MAX: usize = 512;

type ActionRefusal = (StatusCode, String);

fn refused<T>(status: StatusCode, words: impl Into<String>) -> Result<T, ActionRefusal> {
    Err((status, words.into()))
}

/// Answers a request to do something.
pub async fn act(site: &Arc<Site>, path: &[&str], query: &str) -> Answer {
    let [id, what @ ("stop" | "retry" | "upgrade" | "drop")] = path else {
        return body::error(StatusCode::NOT_FOUND, "no such action; use stop, retry, upgrade or drop");
    };
    if !site.actions {
        let words = format!("the page is read-only; start the job with --ui-actions to {what} it from here");
        return body::error(StatusCode::FORBIDDEN, &words);
    }
    let Some(file) = site.jobs.file(id) else { return body::error(StatusCode::NOT_FOUND, "job not found") };
    let done = match *what {
        "stop" => asked_of(file, ControlQuestion::Stop).await.map(|()| body::json(&json!({ "stopping": true }))),
        "drop" => drop_upgrade(file, query).await,
        "retry" => retry(&site.jobs, id, file, query),
        _ => upgrade(&site.jobs, id, file, query),
    };
    done.unwrap_or_else(|(status, words)| body::error(status, &words))
}

/// Puts a question to all processes of the job. It waits for their answers, so it has a thread of its own.
async fn asked_of(file: PathBuf, question: ControlQuestion) -> Result<(), ActionRefusal> {
    tracing::info!(
        "action from the page: {}",
        if matches!(question, ControlQuestion::Stop) { "stop the job" } else { "cancel an upgrade" }
    );
    let hears = |said: &ProcessAnswer| matches!(said.answer, Ok(ControlAnswer::Done(_) | ControlAnswer::Upgrade(_)));
    match tokio::task::spawn_blocking(move || put(&file, &question, |_| true)).await {
        Ok(Ok(said)) if said.iter().any(hears) => Ok(()),
        Ok(Ok(said)) => {
            let words = said.into_iter().find_map(|said| match said.answer {
                Ok(ControlAnswer::Refused(words) | ControlAnswer::Error(words)) => Some(words),
                _ => None,
            });
            let unheard = || "no process of the job responds; retry when it is running".to_owned();
            refused(StatusCode::SERVICE_UNAVAILABLE, words.unwrap_or_else(unheard))
        }
        Ok(Err(error)) => refused(StatusCode::SERVICE_UNAVAILABLE, error.message),
        Err(_) => refused(StatusCode::INTERNAL_SERVER_ERROR, "the request to the job panicked"),
    }
}

/// Gives an upgrade up that has not taken place: its command is told by the job.
async fn drop_upgrade(file: PathBuf, query: &str) -> Result<Answer, ActionRefusal> {
    let Some(id) = number(query, "upgrade") else {
        return refused(StatusCode::BAD_REQUEST, "no upgrade to cancel; add upgrade=ID");
    };
    asked_of(file, ControlQuestion::Drop { id, why: "it was canceled from the page".into() }).await?;
    Ok(body::json(&json!({ "dropped": id })))
}

fn retry(jobs: &Arc<Jobs>, id: &str, file: PathBuf, query: &str) -> Result<Answer, ActionRefusal> {
    let stage = stage_of(jobs, id, query)?;
    let mut arguments: Vec<OsString> = vec!["retry".into()];
    arguments.extend(jobs.sets());
    arguments.extend(["--".into(), file.into(), stage.clone().into()]);
    begin(jobs, id, ActionRequest { what: "retry", stage, ..ActionRequest::default() }, arguments, RETRY_TIME_MAX)
}

fn upgrade(jobs: &Arc<Jobs>, id: &str, file: PathBuf, query: &str) -> Result<Answer, ActionRefusal> {
    let stage = plugin_part_of(jobs, id, query)?;
    let to = text(query, "to").filter(|to| !to.is_empty() && to.chars().count() <= PLUGIN_CHARS_MAX);
    let Some(to) = to else {
        let words = "no plugin to run; add to=0.2.0, to=name@0.2.0, or to= with the path of a component";
        return refused(StatusCode::BAD_REQUEST, words);
    };
    let to = plugin(&file, &to)?;
    let mut arguments: Vec<OsString> = vec!["upgrade".into()];
    match number(query, "shadow") {
        None | Some(0) => {}
        Some(batches) if batches > SHADOW_BATCHES_MAX => {
            let words = format!("`shadow` must be from 1 to {SHADOW_BATCHES_MAX} batches, not {batches}");
            return refused(StatusCode::BAD_REQUEST, words);
        }
        Some(batches) => {
            let rule = text(query, "promote").unwrap_or_else(|| "same".into());
            if ShadowRule::from_str(&rule, false).is_err() {
                let words = "`promote` must be same, no-more-rejected, always or never";
                return refused(StatusCode::BAD_REQUEST, words);
            }
            arguments.extend([format!("--shadow={batches}").into(), format!("--promote={rule}").into()]);
        }
    }
    arguments.extend(["--".into(), file.into(), stage.clone().into(), to.into()]);
    begin(jobs, id, ActionRequest { what: "upgrade", stage, ..ActionRequest::default() }, arguments, UPGRADE_TIME_MAX)
}

/// The stage of the job that is meant.
fn stage_of(jobs: &Jobs, id: &str, query: &str) -> Result<String, ActionRefusal> {
    let stage = text(query, "stage").unwrap_or_default();
    match jobs.has_part(id, PluginPart::Stage(&stage)) {
        true => Ok(stage),
        false => refused(StatusCode::NOT_FOUND, format!("the job has no stage `{stage}`, or has not answered yet")),
    }
}

/// The stage, source or sink of the job that is meant.
fn plugin_part_of(jobs: &Jobs, id: &str, query: &str) -> Result<String, ActionRefusal> {
    let named = text(query, "stage").unwrap_or_default();
    let part = PluginPart::of(&named);
    match jobs.has_part(id, part) {
        true => Ok(part.id()),
        false => refused(StatusCode::NOT_FOUND, format!("the job has no {part}, or has not answered yet")),
    }
}

/// What is to run, as the command takes it. Of files only those in the job's folder: who may act on a job from a browser need not be
/// able to say what else lies on this machine.
fn plugin(job: &Path, to: &str) -> Result<String, ActionRefusal> {
    if version(to).is_ok() || (to.contains('@') && !to.contains('/')) {
        return Ok(to.to_owned());
    }
    let folder = job.parent().unwrap_or(Path::new("."));
    let inside = folder.canonicalize().ok().zip(folder.join(to).canonicalize().ok());
    match inside.filter(|(folder, path)| path.starts_with(folder)) {
        Some((_, path)) => Ok(path.to_string_lossy().into_owned()),
        None => refused(
            StatusCode::BAD_REQUEST,
            format!(
                "`{to}` does not exist in the directory of the job file, and the page takes no other files; to use one, run \
                 millstream upgrade JOB STAGE PATH"
            ),
        ),
    }
}

/// Runs a command for a job on a thread of its own, one at a time.
fn begin(
    jobs: &Arc<Jobs>,
    id: &str,
    asked: ActionRequest,
    arguments: Vec<OsString>,
    time_max: Duration,
) -> Result<Answer, ActionRefusal> {
    let words = arguments.iter().map(|word| shown(&word.to_string_lossy())).filter(|word| word != "--");
    let command = format!("millstream {}", words.collect::<Vec<_>>().join(" "));
    let asked = ActionRequest { begun_us: time::now().0, command, ..asked };
    tracing::info!("action from the page: {} stage `{}`", asked.what, asked.stage);
    let Some(number) = jobs.begin(id, asked) else {
        return refused(StatusCode::CONFLICT, "another action of this job is running; wait until it has ended");
    };
    let (jobs, id) = (jobs.clone(), id.to_owned());
    let order = Order { arguments, time_max, output_bytes_max: OUTPUT_BYTES_MAX };
    tokio::task::spawn_blocking(move || {
        let (failed, words) = done(&order);
        jobs.ended(&id, number, failed, words);
    });
    Ok(body::json(&json!({ "asked": number })))
}

/// Whether the command failed, and what it said.
fn done(order: &Order) -> (bool, String) {
    match command::run(order) {
        Ok(outcome) => {
            let ended = match outcome.status {
                Some(status) if status.success() => (false, String::new()),
                Some(_) => (true, outcome.words),
                None => (true, format!("it did not end within {:?} and was canceled", order.time_max)),
            };
            (ended.0, format!("{}{}", outcome.output, ended.1).trim_end().to_owned())
        }
        Err(error) => (true, error.message),
    }
}

/// An argument of a command as it is shown: values that were set may be secret.
fn shown(word: &str) -> String {
    match word.strip_prefix("--set=").and_then(|set| set.split_once('=')) {
        Some((key, _)) => format!("--set {key}=…"),
        None => quoted(word),
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=@:,+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_a_package_or_lies_in_the_folder_of_the_job() {
        let around = tempfile::tempdir().unwrap();
        let folder = around.path().join("job");
        std::fs::create_dir(&folder).unwrap();
        let job = folder.join("job.toml");
        for file in [&job, &folder.join("new.wasm"), &around.path().join("other.wasm")] {
            std::fs::write(file, "").unwrap();
        }
        std::os::unix::fs::symlink(around.path().join("other.wasm"), folder.join("link.wasm")).unwrap();
        for package in ["0.2.0", "split-words@0.2.0", "@"] {
            assert_eq!(plugin(&job, package).unwrap(), package);
        }
        let inside = folder.canonicalize().unwrap().join("new.wasm").display().to_string();
        assert_eq!(plugin(&job, "new.wasm").unwrap(), inside);
        assert_eq!(plugin(&job, &inside).unwrap(), inside);
        let outside = around.path().join("other.wasm").display().to_string();
        for path in
            ["none.wasm", "../other.wasm", "./../job/../other.wasm", "link.wasm", outside.as_str(), "/etc/passwd", "-x"]
        {
            assert_eq!(plugin(&job, path).unwrap_err().0, StatusCode::BAD_REQUEST, "{path}");
        }
    }

    #[test]
    fn a_command_can_be_typed() {
        assert_eq!(quoted("--shadow=5"), "--shadow=5");
        assert_eq!(quoted("a b'c"), "'a b'\\''c'");
        assert_eq!(quoted(""), "''");
        assert_eq!(shown("--set=sinks.out.url=postgres://me:secret@host/a"), "--set sinks.out.url=…");
    }
}
