//! `millstream ask-registry`: the process that talks to a registry, under limits. Millstream starts it automatically.

use super::client::{Client, ClientResult};
use super::message::{self, RegistryOrder, RegistryQuestion, RegistryResponse};
use super::referrers;
use crate::limits::{REGISTRY_FILES_MAX, REGISTRY_INDEX_BYTES_MAX, REGISTRY_MEMORY_BYTES_MAX};
use clap::Args;
use millstream_base::error::{Error, Result};
use millstream_base::limits::COMPONENT_BYTES_MAX;
use millstream_plugins::child::limits::{self, Limits};
use std::ffi::OsString;
use std::io::{self, Read};
use std::process::{self, ExitCode};

/// The name of the command.
const COMMAND: &str = "ask-registry";
/// Maximum bytes of a push.
const ORDER_BYTES_MAX: u64 = COMPONENT_BYTES_MAX + REGISTRY_INDEX_BYTES_MAX;

/// The arguments of the command.
#[derive(Args)]
pub struct RegistryArguments {
    /// How long it may take
    #[arg(long)]
    seconds: u64,
    /// The process that waits for the answer
    #[arg(long)]
    parent: u32,
}

/// The command line of the process.
pub fn arguments(seconds: u64) -> Vec<OsString> {
    let parent = process::id();
    [COMMAND.into(), format!("--seconds={seconds}").into(), format!("--parent={parent}").into()].into()
}

/// Reads a request from standard input, and writes the response to standard output.
pub fn obey(arguments: &RegistryArguments) -> Result<ExitCode> {
    let failed = |error: io::Error| Error::environment(format!("querying a registry: {error}"));
    limits::die_with(arguments.parent).map_err(failed)?;
    let limits = Limits {
        seconds: arguments.seconds,
        memory_bytes_max: REGISTRY_MEMORY_BYTES_MAX,
        files_max: REGISTRY_FILES_MAX,
    };
    limits::take_on(&limits).map_err(failed)?;
    let mut input = Vec::new();
    io::stdin().lock().take(ORDER_BYTES_MAX).read_to_end(&mut input).map_err(failed)?;
    let (order, bytes) =
        message::read::<RegistryOrder>(&input).ok_or_else(|| Error::bug("querying a registry: no request"))?;
    drop(input);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let result = runtime.block_on(async {
        let RegistryOrder { address, login, silence_seconds, question } = order;
        response(&Client::new(address, login, silence_seconds).await?, question, bytes).await
    });
    let (response, bytes) = result.unwrap_or_else(|text| (RegistryResponse::Failed(text), Vec::new()));
    let bytes: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
    message::write(&mut io::stdout().lock(), &response, &bytes).map_err(failed)?;
    // Do not wait for a name lookup that is still running.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

/// Handles a request, with the bytes that belong to it.
async fn response(
    client: &Client,
    question: RegistryQuestion,
    bytes: Vec<Vec<u8>>,
) -> ClientResult<(RegistryResponse, Vec<Vec<u8>>)> {
    match question {
        RegistryQuestion::Find { name, version } => Ok((client.find(&name, version).await?, Vec::new())),
        RegistryQuestion::Fetch { name, digest } => Ok((RegistryResponse::Bytes, client.fetch(&name, &digest).await?)),
        RegistryQuestion::Signatures { name, digest } => {
            Ok((RegistryResponse::Bytes, referrers::signatures(client, &client.by_digest(&name, &digest)).await?))
        }
        RegistryQuestion::Push { name, version } => Ok((client.push(&name, &version, bytes).await?, Vec::new())),
        RegistryQuestion::Attach { name, digest } => {
            referrers::attach(client, &client.by_digest(&name, &digest), bytes).await?;
            Ok((RegistryResponse::Bytes, Vec::new()))
        }
        RegistryQuestion::List => Ok((RegistryResponse::Hits(client.list().await?), Vec::new())),
    }
}
