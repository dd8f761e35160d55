//! The addresses to which a granted host name leads. The owner of a name decides about its addresses, and may give other ones
//! each time, so a name is looked up once for a request: what was checked is what is connected to.

use super::allow::grants_address;
use crate::plugin::near::is_near;
use http::Uri;
use millstream_job::spec::HttpGrant;
use std::net::{IpAddr, SocketAddr};
use wasmtime_wasi_http::Error;

/// The destination of a request.
pub struct Destination {
    /// The host as the plugin wrote it, without the brackets of an address.
    pub host: String,
    /// The host's checked addresses.
    pub addresses: Vec<SocketAddr>,
    /// Whether the server must prove that the name is its own.
    pub tls: bool,
}

/// Returns the destination of a request to this address, or why it is rejected.
pub async fn destination(uri: &Uri, grant: Option<&HttpGrant>) -> Result<Result<Destination, String>, Error> {
    let Some(authority) = uri.authority() else { return Err(Error::HttpRequestUriInvalid) };
    let tls = uri.scheme_str() == Some("https");
    let usual_port = if tls { 443 } else { 80 };
    let (host, port) = (authority.host(), authority.port_u16().unwrap_or(usual_port));
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let found = tokio::net::lookup_host((host.as_str(), port)).await.map_err(Error::Connect)?;
    let addresses: Vec<SocketAddr> = found.collect();
    // An IP address needs no lookup, and the addresses of `localhost` are known.
    if host.parse::<IpAddr>().is_err() && !host.eq_ignore_ascii_case("localhost") {
        let is_rejected =
            |address: &&SocketAddr| is_near(address.ip()) && !grants_address(grant, **address, usual_port);
        if let Some(address) = addresses.iter().find(is_rejected) {
            return Ok(Err(format!(
                "the request to `{authority}` is rejected: the name resolves to {}, which is not an address of \
                 another machine; to grant that, add \"{address}\" to `grant.http.hosts`",
                address.ip()
            )));
        }
    }
    Ok(Ok(Destination { host, addresses, tls }))
}
