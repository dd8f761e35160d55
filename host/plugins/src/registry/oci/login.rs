//! Names and passwords for registries: those that docker and podman keep, also in their helpers.

use super::address::Address;
use crate::error::{Error, Result};
use docker_credential::{CredentialRetrievalError, DockerCredential};
use serde::{Deserialize, Serialize};

/// A name and a password.
#[derive(Serialize, Deserialize)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

/// The names of Docker Hub, and the one under which its password is kept.
const DOCKER_HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];
const DOCKER_HUB_KEPT: &str = "https://index.docker.io/v1/";

/// For this registry: of podman, or else of docker; `None` where neither has one.
pub fn of(address: &Address) -> Result<Option<Login>> {
    let server = match DOCKER_HUB.contains(&address.host.as_str()) {
        true => DOCKER_HUB_KEPT,
        false => &address.host,
    };
    let podmans = docker_credential::get_podman_credential;
    let dockers = docker_credential::get_credential;
    match kept("podman", server, podmans).or_else(|| kept("docker", server, dockers)) {
        None => Ok(None),
        Some(DockerCredential::UsernamePassword(user, password)) => Ok(Some(Login { user, password })),
        Some(DockerCredential::IdentityToken(_)) => Err(Error::environment(format!(
            "the login for {} is an identity token, which only docker itself can use; log in with a name and a password, or \
             an access token in its place: docker login {}",
            address.host, address.host
        ))),
    }
}

fn kept(
    whose: &str,
    server: &str,
    get: fn(&str) -> Result<DockerCredential, CredentialRetrievalError>,
) -> Option<DockerCredential> {
    use CredentialRetrievalError as Why;
    match get(server) {
        Ok(login) => Some(login),
        Err(Why::ConfigNotFound | Why::ConfigReadError | Why::NoCredentialConfigured) => None,
        // So do helpers say that they have none.
        Err(Why::HelperFailure { helper, stdout, stderr }) => {
            tracing::debug!("{helper} has no login for {server}: {} {}", stdout.trim(), stderr.trim());
            None
        }
        Err(why) => {
            tracing::warn!("the login that {whose} keeps for {server} cannot be read: {why}");
            None
        }
    }
}
