//! Starts the process that talks to a registry, and describes how it ended.

use super::address::Address;
use super::login;
use super::message::{self, RegistryOrder, RegistryQuestion, RegistryResponse};
use crate::limits::{REGISTRY_IDLE_S, REGISTRY_INDEX_BYTES_MAX, REGISTRY_MEMORY_BYTES_MAX, REGISTRY_TIME_S};
use millstream_base::error::{Error, Result};
use millstream_base::limits::COMPONENT_BYTES_MAX;
use millstream_base::{progress, regular};
use millstream_plugins::child::{self, ProcessEnd, ProcessOutput, Program, Task};
use std::ffi::OsString;
use std::time::Duration;

/// The variable with the maximum duration of one request, in seconds.
const SECONDS: &str = "MILLSTREAM_REGISTRY_SECONDS";
/// The variables that the process inherits: certificates and proxies.
const ENVIRONMENT: [&str; 6] = ["SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"];
/// Maximum bytes of its response: a component and its metadata.
const RESPONSE_BYTES_MAX: u64 = COMPONENT_BYTES_MAX + 2 * REGISTRY_INDEX_BYTES_MAX;

/// Sends a request to a registry. The response comes from our own process; the bytes in it come from the registry.
pub fn exchange(
    address: &Address,
    question: RegistryQuestion,
    bytes: &[&[u8]],
) -> Result<(RegistryResponse, Vec<Vec<u8>>)> {
    let seconds = seconds()?;
    regular::check_certificates().map_err(Error::environment)?;
    let _shown = progress::start(&describe_request(address, &question, bytes));
    // A registry sends nothing while it receives a component.
    let silence_seconds = match question {
        RegistryQuestion::Push { .. } => seconds,
        _ => seconds.min(REGISTRY_IDLE_S),
    };
    let order = RegistryOrder {
        address: address.clone(),
        login: login::find(address, Duration::from_secs(seconds))?,
        silence_seconds,
        question,
    };
    let mut input = Vec::new();
    message::write(&mut input, &order, bytes).map_err(Error::bug)?;
    let program = Program::find().ok_or_else(|| {
        Error::environment("the program `millstream`, which is needed to reach registries, is not next to this one")
    })?;
    let task = Task {
        arguments: super::obey::arguments(seconds),
        environment: environment(),
        input: &input,
        output_bytes_max: RESPONSE_BYTES_MAX,
        time_max: Duration::from_secs(seconds),
    };
    // A push that failed may have succeeded in part.
    let ended = match order.question {
        RegistryQuestion::Push { .. } | RegistryQuestion::Attach { .. } => child::run(&program.file, &task),
        _ => child::run_to_its_end("the registry client process", &program.file, &task),
    };
    let ended =
        ended.map_err(|error| Error::environment(format!("{} does not start: {error}", program.file.display())))?;
    parse_reply(ended, seconds).map_err(|cause| Error::environment(format!("registry oci://{address} {cause}")))
}

/// Describes the request, for progress messages.
fn describe_request(address: &Address, question: &RegistryQuestion, bytes: &[&[u8]]) -> String {
    let kib = bytes.iter().map(|piece| piece.len() as u64).sum::<u64>().div_ceil(1024);
    let what = match question {
        RegistryQuestion::Find { name, .. } => format!("looking for {name} in"),
        RegistryQuestion::Fetch { name, .. } => format!("fetching {name} from"),
        RegistryQuestion::Signatures { name, .. } => format!("fetching the signatures of {name} from"),
        RegistryQuestion::Push { name, version } => format!("pushing {name} {version} ({kib} KiB) to"),
        RegistryQuestion::Attach { name, .. } => format!("pushing a signature of {name} to"),
        RegistryQuestion::List => "listing the packages of".into(),
    };
    format!("{what} oci://{address}")
}

fn parse_reply(ended: ProcessOutput, seconds: u64) -> Result<(RegistryResponse, Vec<Vec<u8>>), String> {
    let ProcessOutput { output, error_text, end } = ended;
    match end {
        ProcessEnd::Exit(0) => match message::read(&output) {
            Some((RegistryResponse::Failed(text), _)) => Err(text),
            Some(reply) => Ok(reply),
            None => Err("was queried by a program of another version; reinstall `millstream`".into()),
        },
        ProcessEnd::Late | ProcessEnd::Signal(libc::SIGXCPU) => {
            Err(format!("took longer than {seconds} seconds; retry later, or allow it more with {SECONDS}"))
        }
        ProcessEnd::OutOfMemory => {
            Err(format!("sent too much: its replies filled {} MiB", REGISTRY_MEMORY_BYTES_MAX >> 20))
        }
        ProcessEnd::TooLarge => Err("sent too much".into()),
        ProcessEnd::Exit(code) => Err(format!("sent an invalid reply{} (exit code {code})", last_line(&error_text))),
        ProcessEnd::Signal(signal) => {
            Err(format!("was queried by a process that was killed by signal {signal}{}", last_line(&error_text)))
        }
    }
}

fn last_line(message: &str) -> String {
    let line = message.lines().map(str::trim).rfind(|line| !line.is_empty() && !line.starts_with("note:"));
    line.map(|line| format!(": {line}")).unwrap_or_default()
}

fn seconds() -> Result<u64> {
    let Some(text) = std::env::var_os(SECONDS).filter(|text| !text.is_empty()) else { return Ok(REGISTRY_TIME_S) };
    let number = text.to_str().and_then(|text| text.parse().ok()).filter(|seconds| (1..=86_400).contains(seconds));
    number.ok_or_else(|| {
        Error::job(format!("{SECONDS} is `{}`; write a number of seconds from 1 to 86400", text.to_string_lossy()))
    })
}

fn environment() -> Vec<(OsString, OsString)> {
    let kept = ENVIRONMENT.iter().filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
    // It reports in its response, not in a log.
    kept.chain([("MILLSTREAM_LOG".into(), "off".into())]).collect()
}
