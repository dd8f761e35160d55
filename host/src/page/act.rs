//! The actions of the page on a job, if enabled: stop it, retry rows, upgrade a plugin.
//!
//! Except for the stop, each action is a command of the program in its own process. So it has the same checks and
//! errors as in a terminal. It continues if the client disconnects, and its outcome is part of the job's view
//! ([`ActionRequest`]). Actions that need confirmation are rejected, and the command that confirms is shown.

use super::body::{self, PageResponse};
use super::command::{self, Order};
use super::parameters::{number, text};
use super::poll::Jobs;
use super::site::Site;
use super::view::ActionRequest;
use clap::ValueEnum;
use hyper::StatusCode;
use millstream_base::limits::SHADOW_BATCHES_MAX;
use millstream_base::package_name::version;
use millstream_base::time;
use millstream_engine::operators::plugin::shadow::rule::ShadowRule;
use millstream_job::plugin_part::PluginPart;
use millstream_runtime::control::{ControlQuestion, ControlResponse, ProcessResponse, send_question};
use serde_json::json;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The time limit of a retry.
const RETRY_TIME_MAX: Duration = Duration::from_secs(120);
/// The time limit of an upgrade, including its shadow.
const UPGRADE_TIME_MAX: Duration = Duration::from_secs(3600);
/// How much of a command's output is kept.
const OUTPUT_BYTES_MAX: u64 = 16 << 10;
/// Maximum characters of a version, a name with one, or a path.
const PLUGIN_CHARS_MAX: usize = 512;

type ActionRefusal = (StatusCode, String);

fn reject<T>(status: StatusCode, message: impl Into<String>) -> Result<T, ActionRefusal> {
    Err((status, message.into()))
}

/// Handles an action request.
pub async fn act(site: &Arc<Site>, path: &[&str], query: &str) -> PageResponse {
    let [id, what @ ("stop" | "retry" | "upgrade" | "drop")] = path else {
        return body::error(StatusCode::NOT_FOUND, "no such action; use stop, retry, upgrade or drop");
    };
    if !site.actions {
        let message = format!("the page is read-only; start the job with --ui-actions to {what} it from here");
        return body::error(StatusCode::FORBIDDEN, &message);
    }
    let Some(file) = site.jobs.file(id) else { return body::error(StatusCode::NOT_FOUND, "job not found") };
    let run_command = match *what {
        "stop" => send(file, ControlQuestion::Stop).await.map(|()| body::json(&json!({ "stopping": true }))),
        "drop" => drop_upgrade(file, query).await,
        "retry" => retry(&site.jobs, id, file, query),
        _ => upgrade(&site.jobs, id, file, query),
    };
    run_command.unwrap_or_else(|(status, message)| body::error(status, &message))
}

/// Sends a request to all processes of the job and waits for their responses, on a blocking thread.
async fn send(file: PathBuf, question: ControlQuestion) -> Result<(), ActionRefusal> {
    tracing::info!(
        "action from the page: {}",
        if matches!(question, ControlQuestion::Stop) { "stop the job" } else { "cancel an upgrade" }
    );
    let is_received =
        |own: &ProcessResponse| matches!(own.response, Ok(ControlResponse::Done(_) | ControlResponse::Upgrade(_)));
    match tokio::task::spawn_blocking(move || send_question(&file, &question, |_| true)).await {
        Ok(Ok(responses)) if responses.iter().any(is_received) => Ok(()),
        Ok(Ok(responses)) => {
            let message = responses.into_iter().find_map(|own| match own.response {
                Ok(ControlResponse::Refused(message) | ControlResponse::Error(message)) => Some(message),
                _ => None,
            });
            let unanswered = || "no process of the job responds; retry when it is running".to_owned();
            reject(StatusCode::SERVICE_UNAVAILABLE, message.unwrap_or_else(unanswered))
        }
        Ok(Err(error)) => reject(StatusCode::SERVICE_UNAVAILABLE, error.message),
        Err(_) => reject(StatusCode::INTERNAL_SERVER_ERROR, "the request to the job panicked"),
    }
}

/// Cancels an upgrade that has not taken place. The job notifies its command.
async fn drop_upgrade(file: PathBuf, query: &str) -> Result<PageResponse, ActionRefusal> {
    let Some(id) = number(query, "upgrade") else {
        return reject(StatusCode::BAD_REQUEST, "no upgrade to cancel; add upgrade=ID");
    };
    send(file, ControlQuestion::Drop { id, why: "it was canceled from the page".into() }).await?;
    Ok(body::json(&json!({ "dropped": id })))
}

fn retry(jobs: &Arc<Jobs>, id: &str, file: PathBuf, query: &str) -> Result<PageResponse, ActionRefusal> {
    let stage = stage_of(jobs, id, query)?;
    let mut arguments: Vec<OsString> = vec!["retry".into()];
    arguments.extend(jobs.sets());
    arguments.extend(["--".into(), file.into(), stage.clone().into()]);
    begin(jobs, id, ActionRequest { what: "retry", stage, ..ActionRequest::default() }, arguments, RETRY_TIME_MAX)
}

fn upgrade(jobs: &Arc<Jobs>, id: &str, file: PathBuf, query: &str) -> Result<PageResponse, ActionRefusal> {
    let stage = plugin_part_of(jobs, id, query)?;
    let to = text(query, "to").filter(|to| !to.is_empty() && to.chars().count() <= PLUGIN_CHARS_MAX);
    let Some(to) = to else {
        let message = "no plugin to run; add to=0.2.0, to=name@0.2.0, or to= with the path of a component";
        return reject(StatusCode::BAD_REQUEST, message);
    };
    let to = plugin(&file, &to)?;
    let mut arguments: Vec<OsString> = vec!["upgrade".into()];
    match number(query, "shadow") {
        None | Some(0) => {}
        Some(batches) if batches > SHADOW_BATCHES_MAX => {
            let message = format!("`shadow` must be from 1 to {SHADOW_BATCHES_MAX} batches, not {batches}");
            return reject(StatusCode::BAD_REQUEST, message);
        }
        Some(batches) => {
            let rule = text(query, "promote").unwrap_or_else(|| "same".into());
            if ShadowRule::from_str(&rule, false).is_err() {
                let message = "`promote` must be same, no-more-rejected, always or never";
                return reject(StatusCode::BAD_REQUEST, message);
            }
            arguments.extend([format!("--shadow={batches}").into(), format!("--promote={rule}").into()]);
        }
    }
    arguments.extend(["--".into(), file.into(), stage.clone().into(), to.into()]);
    begin(jobs, id, ActionRequest { what: "upgrade", stage, ..ActionRequest::default() }, arguments, UPGRADE_TIME_MAX)
}

/// Returns the requested stage of the job.
fn stage_of(jobs: &Jobs, id: &str, query: &str) -> Result<String, ActionRefusal> {
    let stage = text(query, "stage").unwrap_or_default();
    match jobs.has_part(id, PluginPart::Stage(&stage)) {
        true => Ok(stage),
        false => reject(StatusCode::NOT_FOUND, format!("the job has no stage `{stage}`, or has not responded yet")),
    }
}

/// Returns the requested stage, source or sink of the job.
fn plugin_part_of(jobs: &Jobs, id: &str, query: &str) -> Result<String, ActionRefusal> {
    let named = text(query, "stage").unwrap_or_default();
    let part = PluginPart::parse(&named);
    match jobs.has_part(id, part) {
        true => Ok(part.id()),
        false => reject(StatusCode::NOT_FOUND, format!("the job has no {part}, or has not responded yet")),
    }
}

/// Returns the plugin argument of the command. Files must be in the job's directory: a browser user may not learn about
/// other files of this machine.
fn plugin(job: &Path, to: &str) -> Result<String, ActionRefusal> {
    if version(to).is_ok() || (to.contains('@') && !to.contains('/')) {
        return Ok(to.to_owned());
    }
    let dir = job.parent().unwrap_or(Path::new("."));
    let inside = dir.canonicalize().ok().zip(dir.join(to).canonicalize().ok());
    match inside.filter(|(dir, path)| path.starts_with(dir)) {
        Some((_, path)) => Ok(path.to_string_lossy().into_owned()),
        None => reject(
            StatusCode::BAD_REQUEST,
            format!(
                "`{to}` does not exist in the directory of the job file, and the page accepts no other files; to \
                 use one, run millstream upgrade JOB STAGE PATH"
            ),
        ),
    }
}

/// Runs a command for a job on its own thread, one at a time.
fn begin(
    jobs: &Arc<Jobs>,
    id: &str,
    request: ActionRequest,
    arguments: Vec<OsString>,
    time_max: Duration,
) -> Result<PageResponse, ActionRefusal> {
    let message = arguments.iter().map(|word| display_argument(&word.to_string_lossy())).filter(|word| word != "--");
    let command = format!("millstream {}", message.collect::<Vec<_>>().join(" "));
    let request = ActionRequest { begun_us: time::now().0, command, ..request };
    tracing::info!("action from the page: {} stage `{}`", request.what, request.stage);
    let Some(number) = jobs.begin(id, request) else {
        return reject(StatusCode::CONFLICT, "another action of this job is running; wait until it has ended");
    };
    let (jobs, id) = (jobs.clone(), id.to_owned());
    let order = Order { arguments, time_max, output_bytes_max: OUTPUT_BYTES_MAX };
    tokio::task::spawn_blocking(move || {
        let (failed, message) = run_command(&order);
        jobs.ended(&id, number, failed, message);
    });
    Ok(body::json(&json!({ "asked": number })))
}

/// Returns whether the command failed, and its output.
fn run_command(order: &Order) -> (bool, String) {
    match command::run(order) {
        Ok(outcome) => {
            let ended = match outcome.status {
                Some(status) if status.success() => (false, String::new()),
                Some(_) => (true, outcome.errors),
                None => (true, format!("it did not end within {:?} and was canceled", order.time_max)),
            };
            (ended.0, format!("{}{}", outcome.output, ended.1).trim_end().to_owned())
        }
        Err(error) => (true, error.message),
    }
}

/// Formats an argument of a command. Values that were set may be secret.
fn display_argument(word: &str) -> String {
    match word.strip_prefix("--set=").and_then(|set| set.split_once('=')) {
        Some((key, _)) => format!("--set {key}=…"),
        None => quote(word),
    }
}

/// Quotes an argument for a shell.
fn quote(word: &str) -> String {
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
    fn a_plugin_is_a_package_or_lies_in_the_dir_of_the_job() {
        let around = tempfile::tempdir().unwrap();
        let dir = around.path().join("job");
        std::fs::create_dir(&dir).unwrap();
        let job = dir.join("job.toml");
        for file in [&job, &dir.join("new.wasm"), &around.path().join("other.wasm")] {
            std::fs::write(file, "").unwrap();
        }
        std::os::unix::fs::symlink(around.path().join("other.wasm"), dir.join("link.wasm")).unwrap();
        for package in ["0.2.0", "split-words@0.2.0", "@"] {
            assert_eq!(plugin(&job, package).unwrap(), package);
        }
        let inside = dir.canonicalize().unwrap().join("new.wasm").display().to_string();
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
        assert_eq!(quote("--shadow=5"), "--shadow=5");
        assert_eq!(quote("a b'c"), "'a b'\\''c'");
        assert_eq!(quote(""), "''");
        assert_eq!(display_argument("--set=sinks.out.url=postgres://me:secret@host/a"), "--set sinks.out.url=…");
    }
}
