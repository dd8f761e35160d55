//! Credentials for registries, as docker and podman store them, also in their credential helpers.

use super::address::Address;
use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use millstream_base::error::{Error, Result};
use millstream_base::regular;
use millstream_plugins::child::helper;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Maximum duration of a helper, which may prompt for a password.
const HELPER_TIME_MAX: Duration = Duration::from_secs(60);
/// Maximum bytes of a file of credentials.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Maximum bytes of a helper's response.
const RESPONSE_BYTES_MAX: u64 = 64 << 10;

/// A name and a password.
#[derive(Serialize, Deserialize)]
pub struct Login {
    /// The user name.
    pub user: String,
    /// The password.
    pub password: String,
}

/// The names of Docker Hub, and the one under which its password is stored.
const DOCKER_HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];
const DOCKER_HUB_KEPT: &str = "https://index.docker.io/v1/";

/// Returns the credentials for this registry: those of podman, or else those of docker; `None` if neither has any.
pub fn find(address: &Address, time_max: Duration) -> Result<Option<Login>> {
    let server = match DOCKER_HUB.contains(&address.host.as_str()) {
        true => DOCKER_HUB_KEPT,
        false => &address.host,
    };
    let time_max = time_max.min(HELPER_TIME_MAX);
    let credential = |whose, file: Option<PathBuf>| stored_credential(whose, &file?, server, time_max);
    match credential("podman", podmans_file()).or_else(|| credential("docker", dockers_file())) {
        None => Ok(None),
        Some(DockerCredential::UsernamePassword(user, password)) => Ok(Some(Login { user, password })),
        Some(DockerCredential::IdentityToken(_)) => Err(Error::environment(format!(
            "the login for {} is an identity token, which only docker itself can use; log in with a name and a \
             password, or an access token instead: docker login {}",
            address.host, address.host
        ))),
    }
}

fn dockers_dir() -> Option<PathBuf> {
    let of_user = || env::var_os("HOME").map(|home| Path::new(&home).join(".docker"));
    env::var_os("DOCKER_CONFIG").map(PathBuf::from).or_else(of_user)
}

fn dockers_file() -> Option<PathBuf> {
    Some(dockers_dir()?.join("config.json"))
}

fn podmans_file() -> Option<PathBuf> {
    if let Some(file) = env::var_os("REGISTRY_AUTH_FILE") {
        return Some(file.into());
    }
    let running = env::var_os("XDG_RUNTIME_DIR").map(|dir| Path::new(&dir).join("containers/auth.json"))?;
    if running.exists() { Some(running) } else { Some(dockers_dir()?.join("containers/auth.json")) }
}

/// Returns the credentials for a server from a file, or from the helper that it names.
fn stored_credential(whose: &str, file: &Path, server: &str, time_max: Duration) -> Option<DockerCredential> {
    use CredentialRetrievalError as Why;
    let unread = |why: &str| {
        tracing::warn!("the login that {whose} keeps for {server} cannot be read: {why}");
        None
    };
    let text = match regular::read_at_most(file, FILE_BYTES_MAX) {
        Ok(text) => text,
        Err(error) if error.to_string() == regular::NOT_REGULAR => {
            return unread(&format!("{}: {error}", file.display()));
        }
        Err(_) => return None,
    };
    let mut config: Map<String, Value> = serde_json::from_slice(&text).ok()?;
    let named = |name: Option<Value>| Some(name?.as_str()?.to_owned()).filter(|name| !name.is_empty());
    let for_server = named(config.remove("credHelpers").and_then(|mut all| Some(all.get_mut(server)?.take())));
    let for_all = named(config.remove("credsStore"));
    let found = match for_server {
        Some(helper) => run_credential_helper(&helper, server, time_max),
        None => {
            // Without the helpers, because the library would wait for them without a limit.
            let written = serde_json::to_vec(&config).unwrap_or_default();
            match (get_credential_from_reader(written.as_slice(), server), for_all) {
                (Err(Why::NoCredentialConfigured), Some(helper)) => run_credential_helper(&helper, server, time_max),
                (Ok(login), _) => Ok(Some(login)),
                (Err(Why::ConfigReadError | Why::NoCredentialConfigured), _) => Ok(None),
                (Err(why), _) => Err(why.to_string()),
            }
        }
    };
    found.unwrap_or_else(|why| unread(&why))
}

/// The response of a helper.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperResponse {
    username: String,
    secret: String,
}

/// Requests the credentials of a server from a docker helper; `None` if it has none.
fn run_credential_helper(helper: &str, server: &str, time_max: Duration) -> Result<Option<DockerCredential>, String> {
    let program = format!("docker-credential-{helper}");
    let ended = match helper::run_helper(&program, &["get"], server.as_bytes(), RESPONSE_BYTES_MAX, time_max) {
        Ok(ended) => ended,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            return Err(format!("{program} did not respond within {} s and was stopped", time_max.as_secs()));
        }
        Err(error) => return Err(format!("{program} {error}")),
    };
    if !ended.succeeded {
        // This is how helpers report that they have none.
        let message = String::from_utf8_lossy(&ended.output);
        tracing::debug!("{program} has no login for {server}: {}", message.trim());
        return Ok(None);
    }
    let response: HelperResponse =
        serde_json::from_slice(&ended.output).map_err(|_| format!("{program} sent an invalid reply"))?;
    Ok(Some(match response.username.as_str() {
        "<token>" => DockerCredential::IdentityToken(response.secret),
        _ => DockerCredential::UsernamePassword(response.username, response.secret),
    }))
}
