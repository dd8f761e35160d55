//! Uploads to a registry. It responds with the URL to send bytes to (`Location`), which may be on another host. Credentials are for the
//! registry only, so they are not sent there; `oci-client` would send them.

use super::login::Login;
use super::transport;
use oci_client::Reference;
use oci_client::client::{ClientConfig, ClientProtocol};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use std::time::Duration;

/// Maximum bytes of a response that are shown.
const MESSAGE_BYTES_MAX: usize = 1_000;
const REDIRECTS_MAX: usize = 10;

/// Uploads bytes to one registry.
pub struct Uploader {
    client: Client,
    /// `https`, or `http` for this machine.
    scheme: &'static str,
    login: Option<Login>,
    idle_max: Duration,
}

impl Uploader {
    /// Creates an uploader for a registry that `config` describes.
    pub fn new(config: &ClientConfig, login: Option<Login>, idle_max: Duration) -> Result<Uploader, String> {
        let scheme = if matches!(config.protocol, ClientProtocol::Http) { "http" } else { "https" };
        // Redirects to other hosts are not followed.
        let within = Policy::custom(|attempt| {
            let from = attempt.previous().last().map(Url::origin);
            if from.is_some_and(|from| from == attempt.url().origin()) && attempt.previous().len() < REDIRECTS_MAX {
                attempt.follow()
            } else {
                attempt.stop()
            }
        });
        Ok(Uploader { client: transport::client(config, within)?, scheme, login, idle_max })
    }

    /// Uploads bytes to a repository, with the token that the registry gave, or else with the credentials.
    pub async fn send(
        &self,
        to: &Reference,
        digest: &str,
        content: Vec<u8>,
        token: Option<&str>,
    ) -> Result<(), String> {
        let failed = |error: reqwest::Error| transport::unreachable(&error, self.idle_max);
        let begin = format!("{}://{}/v2/{}/blobs/uploads/", self.scheme, to.resolve_registry(), to.repository());
        let begin = Url::parse(&begin).map_err(|error| format!("has an invalid address: {error}"))?;
        let registry = begin.origin();
        let known = |request: RequestBuilder, to: &Url| match (to.origin() == registry, token, &self.login) {
            (true, Some(token), _) => request.bearer_auth(token),
            (true, None, Some(Login { user, password })) => request.basic_auth(user, Some(password)),
            _ => request,
        };
        let begun = self.client.post(begin.clone()).header(CONTENT_LENGTH, 0);
        let begun = known(begun, &begin).send().await.map_err(failed)?;
        if begun.status() != StatusCode::ACCEPTED {
            return Err(error_message(begun).await);
        }
        let to = begun.headers().get(LOCATION).and_then(|to| to.to_str().ok());
        let to = to.ok_or("did not return an upload address")?;
        // Relative to the requested URL.
        let mut to = begin.join(to).map_err(|error| format!("sent an invalid URL to push to: {error}"))?;
        let is_registry = to.origin() == registry;
        if to.scheme() != "https" && !is_registry {
            return Err("redirects to an address without TLS (http://), which is not followed".into());
        }
        to.query_pairs_mut().append_pair("digest", digest);
        let put = self.client.put(to.clone()).header(CONTENT_TYPE, "application/octet-stream").body(content);
        let put = known(put, &to).send().await.map_err(failed)?;
        match put.status() {
            StatusCode::CREATED => Ok(()),
            _ if is_registry => Err(error_message(put).await),
            _ => {
                let host = to.host_str().unwrap_or_default();
                let message = error_message(put).await;
                Err(format!("redirects the push to {host}, which does not receive the login; it {message}"))
            }
        }
    }
}

/// Formats the status and the text of an error response.
async fn error_message(mut response: Response) -> String {
    let status = response.status().as_u16();
    let mut said = Vec::new();
    while let Ok(Some(piece)) = response.chunk().await {
        said.extend_from_slice(&piece);
        if said.len() > MESSAGE_BYTES_MAX {
            break;
        }
    }
    said.truncate(MESSAGE_BYTES_MAX);
    transport::clean(&format!("replied with HTTP status {status}: {}", String::from_utf8_lossy(&said).trim()))
}
