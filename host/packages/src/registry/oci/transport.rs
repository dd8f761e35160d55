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
pub async fn config(address: &Address, idle_max: Duration) -> Result<ClientConfig, String> {
    choose_tls();
    let variable = |names: [&str; 2]| names.iter().find_map(|name| env::var(name).ok()).filter(|text| !text.is_empty());
    let no_proxy = variable(["NO_PROXY", "no_proxy"]);
    let tls = !address.is_loopback() || needs_tls(address, idle_max).await?;
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
        read_timeout: Some(idle_max),
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
async fn needs_tls(address: &Address, idle_max: Duration) -> Result<bool, String> {
    let client = reqwest::Client::builder().no_proxy().redirect(Policy::none()).timeout(idle_max).build();
    let client = client.map_err(|error| error_chain(&error))?;
    match client.get(format!("http://{}/v2/", address.host)).send().await {
        Ok(response) => Ok(response.status() == StatusCode::BAD_REQUEST),
        Err(error) if error.is_connect() || error.is_timeout() => Err(unreachable(&error, idle_max)),
        Err(_) => Ok(true),
    }
}

/// Describes an error; the text continues after the registry's address.
pub fn describe(error: &OciDistributionError, address: &Address, idle_max: Duration) -> String {
    use OciDistributionError as Why;
    let text = match error {
        Why::UnauthorizedError { .. } => denied(address),
        Why::AuthenticationFailure(reason) => format!("{} ({})", denied(address), reason.trim()),
        Why::RegistryError { envelope, .. } => {
            let is = |code: &OciErrorCode| envelope.errors.iter().any(|error| error.code == *code);
            let reason: Vec<&str> = envelope.errors.iter().map(|error| error.message.as_str()).collect();
            match is(&OciErrorCode::Denied) || is(&OciErrorCode::Unauthorized) {
                true => format!("{} ({})", denied(address), reason.join("; ")),
                false => format!("rejected the request: {}", reason.join("; ")),
            }
        }
        Why::ServerError { code, message, .. } => format!("replied with HTTP status {code}: {}", message.trim()),
        Why::RequestError(error) => unreachable(error, idle_max),
        Why::DigestError(error) => format!("sent other data than requested: {error}"),
        Why::IoError(error) => error.to_string(),
        other => format!("sent an invalid reply: {other}"),
    };
    clean(&text)
}

/// Formats a registry's text as one safe line.
pub fn clean(message: &str) -> String {
    printable(message, PLUGIN_REASON_BYTES_MAX).trim_end_matches([' ', '\n', ':']).replace('\n', " ")
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
        let proxy = proxy.map_err(|error| format!("is unreachable through the proxy: {}", error_chain(&error)))?;
        if let Some(proxy) = proxy {
            builder = builder.proxy(proxy.no_proxy(no_proxy.clone()));
        }
    }
    builder.build().map_err(|error| error_chain(&error))
}

fn denied(address: &Address) -> String {
    format!("needs a login with the permission for this; log in with: docker login {} (or podman login)", address.host)
}

pub fn unreachable(error: &reqwest::Error, idle_max: Duration) -> String {
    match () {
        // The error names the requested URL, not the one that a redirect led to.
        () if error.is_connect() && format!("{error:?}").contains(NOWHERE) => {
            "redirects to an address without TLS (http://), which is not followed".into()
        }
        () if error.is_timeout() && error.is_connect() => {
            format!("cannot be reached within {REGISTRY_CONNECT_S} seconds")
        }
        () if error.is_timeout() => format!("sent nothing for {} seconds", idle_max.as_secs()),
        () if error.is_connect() => format!("is unreachable: {}", error_chain(error)),
        () if error.is_redirect() => format!("redirects to an address that is not followed: {}", error_chain(error)),
        () => format!("failed: {}", error_chain(error)),
    }
}

/// Formats an error with its causes.
fn error_chain(error: &reqwest::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message.push_str(&format!(": {error}"));
        cause = error.source();
    }
    message
}
