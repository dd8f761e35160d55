//! How registries are reached, and error messages if they are not.
//!
//! TLS is required, except on this machine. A response must never lead from TLS to plain HTTP: because `oci-client` would follow it,
//! requests without TLS go to a proxy that does not exist.

use super::address::Address;
use crate::limits::REGISTRY_CONNECT_S;
use millstream_base::limits::PLUGIN_REASON_BYTES_MAX;
use millstream_base::shown::printable;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use reqwest::redirect::Policy;
use reqwest::{NoProxy, Proxy, StatusCode};
use std::env;
use std::error::Error as _;
use std::time::Duration;

/// An address at which nothing can listen.
const NOWHERE: &str = "0.0.0.0:0";
/// Hosts that need no TLS.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// Builds the settings for this registry. On this machine, first detects whether it uses TLS.
pub async fn config(address: &Address, silence: Duration) -> Result<ClientConfig, String> {
    choose_tls();
    let variable = |names: [&str; 2]| names.iter().find_map(|name| env::var(name).ok()).filter(|text| !text.is_empty());
    let no_proxy = variable(["NO_PROXY", "no_proxy"]);
    let tls = !address.is_loopback() || needs_tls(address, silence).await?;
    Ok(ClientConfig {
        protocol: if tls { ClientProtocol::Https } else { ClientProtocol::Http },
        http_proxy: Some(format!("http://{NOWHERE}")),
        https_proxy: variable(["HTTPS_PROXY", "https_proxy"]),
        no_proxy: if tls {
            no_proxy
        } else {
            Some([Some(LOOPBACK.into()), no_proxy].into_iter().flatten().collect::<Vec<String>>().join(","))
        },
        // In one piece, which all registries support.
        use_monolithic_push: true,
        // An entry for a single platform is not a package.
        platform_resolver: None,
        read_timeout: Some(silence),
        connect_timeout: Some(Duration::from_secs(REGISTRY_CONNECT_S)),
        user_agent: concat!("millstream/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    })
}

/// Sets the default cryptography of TLS in this process, unless it is set. Without it, `reqwest` panics.
pub fn choose_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Whether a registry on this machine uses TLS: such servers respond to plain HTTP with 400, or close the connection.
async fn needs_tls(address: &Address, silence: Duration) -> Result<bool, String> {
    let client = reqwest::Client::builder().no_proxy().redirect(Policy::none()).timeout(silence).build();
    let client = client.map_err(|error| story(&error))?;
    match client.get(format!("http://{}/v2/", address.host)).send().await {
        Ok(response) => Ok(response.status() == StatusCode::BAD_REQUEST),
        Err(error) if error.is_connect() || error.is_timeout() => Err(unreachable(&error, silence)),
        Err(_) => Ok(true),
    }
}

/// Describes an error; the text continues after the registry's address.
pub fn describe(error: &OciDistributionError, address: &Address, silence: Duration) -> String {
    use OciDistributionError as Why;
    let words = match error {
        Why::UnauthorizedError { .. } => denied(address),
        Why::AuthenticationFailure(said) => format!("{} ({})", denied(address), said.trim()),
        Why::RegistryError { envelope, .. } => {
            let is = |code: &OciErrorCode| envelope.errors.iter().any(|error| error.code == *code);
            let said: Vec<&str> = envelope.errors.iter().map(|error| error.message.as_str()).collect();
            match is(&OciErrorCode::Denied) || is(&OciErrorCode::Unauthorized) {
                true => format!("{} ({})", denied(address), said.join("; ")),
                false => format!("rejected the request: {}", said.join("; ")),
            }
        }
        Why::ServerError { code, message, .. } => format!("replied with HTTP status {code}: {}", message.trim()),
        Why::RequestError(error) => unreachable(error, silence),
        Why::DigestError(error) => format!("sent other data than requested: {error}"),
        Why::IoError(error) => error.to_string(),
        other => format!("sent an invalid reply: {other}"),
    };
    clean(&words)
}

/// Formats a registry's text as one safe line.
pub fn clean(words: &str) -> String {
    printable(words, PLUGIN_REASON_BYTES_MAX).trim_end_matches([' ', '\n', ':']).replace('\n', " ")
}

/// Builds an HTTP client that reaches servers as `oci-client` does with these settings.
pub fn client(config: &ClientConfig, redirects: Policy) -> Result<reqwest::Client, String> {
    let mut builder = reqwest::Client::builder().user_agent(config.user_agent).redirect(redirects);
    if let Some(timeout) = config.read_timeout {
        builder = builder.read_timeout(timeout);
    }
    if let Some(timeout) = config.connect_timeout {
        builder = builder.connect_timeout(timeout);
    }
    let no_proxy = config.no_proxy.as_deref().and_then(NoProxy::from_string);
    let https = config.https_proxy.as_deref().map(Proxy::https).transpose();
    let http = config.http_proxy.as_deref().map(Proxy::http).transpose();
    for proxy in [https, http] {
        let proxy = proxy.map_err(|error| format!("is unreachable through the proxy: {}", story(&error)))?;
        if let Some(proxy) = proxy {
            builder = builder.proxy(proxy.no_proxy(no_proxy.clone()));
        }
    }
    builder.build().map_err(|error| story(&error))
}

fn denied(address: &Address) -> String {
    format!("needs a login with the permission for this; log in with: docker login {} (or podman login)", address.host)
}

pub fn unreachable(error: &reqwest::Error, silence: Duration) -> String {
    match () {
        // The error names the requested URL, not the one that a redirect led to.
        () if error.is_connect() && format!("{error:?}").contains(NOWHERE) => {
            "redirects to an address without TLS (http://), which is not followed".into()
        }
        () if error.is_timeout() && error.is_connect() => {
            format!("cannot be reached within {REGISTRY_CONNECT_S} seconds")
        }
        () if error.is_timeout() => format!("sent nothing for {} seconds", silence.as_secs()),
        () if error.is_connect() => format!("is unreachable: {}", story(error)),
        () if error.is_redirect() => format!("redirects to an address that is not followed: {}", story(error)),
        () => format!("failed: {}", story(error)),
    }
}

/// Formats an error with its causes.
fn story(error: &reqwest::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(&format!(": {error}"));
        cause = error.source();
    }
    words
}
