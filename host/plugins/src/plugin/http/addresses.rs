//! The addresses to which a granted host name leads. The owner of a name decides about its addresses, and may give other ones
//! each time. A granted name must not lead to this machine, nor to addresses that are reachable only from this machine's own
//! network, such as the services from which clouds give out credentials.

use super::allow::grants_address;
use crate::job::spec::HttpGrant;
use http::Uri;
use http::uri::Authority;
use std::net::{IpAddr, SocketAddr};
use tokio::net::TcpStream;
use wasmtime_wasi_http::{Error, WasiBody};

/// A request that may be sent as it is, or why not. The name is looked up once, and over plain HTTP the request goes to the
/// address that was looked at; with TLS whoever answers must prove that the name is theirs.
pub async fn settled(
    request: http::Request<WasiBody>,
    grant: Option<&HttpGrant>,
) -> Result<Result<http::Request<WasiBody>, String>, Error> {
    let uri = request.uri();
    let Some(authority) = uri.authority() else { return Err(Error::HttpRequestUriInvalid) };
    let with_tls = uri.scheme_str() == Some("https");
    let usual_port = if with_tls { 443 } else { 80 };
    let (host, port) = (authority.host(), authority.port_u16().unwrap_or(usual_port));
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    // An address leads to itself, and everybody knows where that name does.
    if bare.parse::<IpAddr>().is_ok() || host.eq_ignore_ascii_case("localhost") {
        return Ok(Ok(request));
    }
    let found: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await.map_err(Error::Connect)?.collect();
    let refused = |address: &&SocketAddr| is_near(address.ip()) && !grants_address(grant, **address, usual_port);
    if let Some(address) = found.iter().find(refused) {
        return Ok(Err(format!(
            "the request to `{authority}` is refused: the name leads to {}, which is no address of another machine; to grant \
             that, add \"{address}\" to `grant.http.hosts`",
            address.ip()
        )));
    }
    if with_tls {
        return Ok(Ok(request));
    }
    let address = first(&found).await.map_err(Error::Connect)?;
    Ok(Ok(to(request, address)?))
}

/// The first that answers, where there are several.
async fn first(found: &[SocketAddr]) -> std::io::Result<SocketAddr> {
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for address in found {
        if found.len() == 1 {
            return Ok(*address);
        }
        match TcpStream::connect(address).await {
            Ok(_) => return Ok(*address),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The same request to this address. Its header `Host` has the name.
fn to(mut request: http::Request<WasiBody>, address: SocketAddr) -> Result<http::Request<WasiBody>, Error> {
    let invalid = || Error::HttpRequestUriInvalid;
    let mut parts = request.uri().clone().into_parts();
    parts.authority = Some(address.to_string().parse::<Authority>().map_err(|_| invalid())?);
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| invalid())?;
    Ok(request)
}

/// Whether an address is this machine's, or of its own network cable: none that a name of somebody else may lead to.
pub fn is_near(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            // `0.…` is this machine, too.
            ip.is_loopback() || ip.is_link_local() || ip.octets()[0] == 0 || ip.is_multicast() || ip.is_broadcast()
        }
        IpAddr::V6(ip) => {
            let embedded = ip.to_ipv4().is_some_and(|ip| is_near(IpAddr::V4(ip)));
            embedded || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_machine_and_of_its_cable_are_near() {
        let near = [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
        ];
        assert!(near.iter().all(|ip| is_near(ip.parse().unwrap())), "{near:?}");
        let far = ["10.0.0.1", "192.168.1.1", "93.184.216.34", "2001:db8::1", "fd00::1", "::ffff:10.0.0.1"];
        assert!(!far.iter().any(|ip| is_near(ip.parse().unwrap())), "{far:?}");
    }
}
