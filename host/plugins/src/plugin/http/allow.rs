//! Whether a grant covers a request. Hosts are `host`, `host:port`, or `*.domain`, which is every host below it; without a
//! port they mean the usual one of the request's scheme.

use http::Uri;
use millstream_job::spec::HttpGrant;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// A host of a grant.
#[derive(Debug, PartialEq)]
struct Host {
    /// In lower case, an IPv6 address in brackets.
    name: String,
    /// Whether the hosts below it are meant instead.
    below: bool,
    port: Option<u16>,
}

impl Host {
    /// Parses a host. The error continues after the host's name.
    fn parse(text: &str) -> Result<Host, String> {
        if let Some((_, rest)) = text.split_once("://") {
            let host = rest.split('/').next().unwrap_or_default();
            return Err(format!("names a scheme; a grant covers http and https alike: write \"{host}\""));
        }
        if let Some((host, _)) = text.split_once('/') {
            return Err(format!("names a path; a grant covers the complete host: write \"{host}\""));
        }
        if let Some((_, host)) = text.split_once('@') {
            return Err(format!("names a user; write \"{host}\""));
        }
        let (name, port) = split_port(text);
        let port = match port {
            None => None,
            Some(digits) => match digits.parse::<u16>() {
                Ok(port @ 1..) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(port),
                _ => return Err(format!("has the port `{digits}`, which must be from 1 to 65535")),
            },
        };
        let (name, below) = name.strip_prefix("*.").map_or((name, false), |name| (name, true));
        if name.contains('*') || (name.is_empty() && below) {
            return Err(
                "has a `*` that is not the complete first label; write \"*.example.com\" for hosts below one".into()
            );
        }
        let is_ipv6 = |name: &str| {
            let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
            inner.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
        };
        if name.parse::<Ipv6Addr>().is_ok() || text.parse::<Ipv6Addr>().is_ok() {
            return Err(format!("is an IPv6 address without brackets; write \"[{text}]\""));
        }
        let is_name = !name.is_empty()
            && name.split('.').all(|label| {
                !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            });
        if !is_name && (below || !is_ipv6(name)) {
            let message =
                "is not a host; write a name or an address, for example \"api.example.com\" or \"127.0.0.1:8080\"";
            return Err(message.into());
        }
        Ok(Host { name: name.to_ascii_lowercase(), below, port })
    }

    fn covers(&self, host: &str, port: u16, usual_port: u16) -> bool {
        self.port.unwrap_or(usual_port) == port
            && if self.below { is_below(host, &self.name) } else { host == self.name }
    }
}

/// Whether a host is one below another, both in lower case.
pub fn is_below(host: &str, above: &str) -> bool {
    host.strip_suffix(above).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

/// Whether the job grants this address itself.
pub fn grants_address(grant: Option<&HttpGrant>, address: SocketAddr, usual_port: u16) -> bool {
    let name = match address.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let hosts = grant.map_or(&[][..], |grant| grant.hosts.as_slice());
    hosts.iter().filter_map(|text| Host::parse(text).ok()).any(|of| of.covers(&name, address.port(), usual_port))
}

/// Splits off the port after a host, as text.
fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (text, None),
    }
}

/// Checks a grant: what is wrong with it, and what to write.
pub fn check(grant: &HttpGrant) -> Result<(), String> {
    if grant.hosts.is_empty() {
        let message =
            "`grant.http.hosts` is empty; list the hosts that the plugin may call, for example [\"api.example.com\"]";
        return Err(message.into());
    }
    for host in &grant.hosts {
        Host::parse(host).map_err(|wrong| format!("`grant.http.hosts`: \"{host}\" {wrong}"))?;
    }
    if grant.methods.is_empty() {
        return Err("`grant.http.methods` is empty; remove it, which means [\"GET\", \"HEAD\"]".into());
    }
    grant.methods.iter().try_for_each(|method| check_method(method))
}

fn check_method(method: &str) -> Result<(), String> {
    let upper = method.to_ascii_uppercase();
    if method.is_empty() || !method.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-') {
        return Err(format!(
            "`grant.http.methods`: \"{method}\" is not a method; write for example \"GET\" or \"POST\""
        ));
    }
    if method != upper {
        return Err(format!("`grant.http.methods`: methods are in upper case; write \"{upper}\" for \"{method}\""));
    }
    if method == "CONNECT" {
        return Err("`grant.http.methods`: \"CONNECT\" opens a tunnel to any host, which is never granted".into());
    }
    Ok(())
}

/// Returns why a request is not granted, and what to write to grant it; `None` if it is granted.
pub fn rejection_reason(grant: Option<&HttpGrant>, method: &str, uri: &Uri) -> Option<String> {
    let scheme = uri.scheme_str().unwrap_or_default();
    let usual_port = if scheme == "https" { 443 } else { 80 };
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let (name, written) = split_port(authority);
    let port = written.map_or(Some(usual_port), |port| port.parse().ok());
    // A user name would be sent nowhere, and hides which host it is.
    let Some(port) = port.filter(|_| !authority.contains('@') && !name.is_empty()) else {
        return Some(format!("the request {method} to `{authority}` is rejected: it must name a host and no user"));
    };
    let host = name.to_ascii_lowercase();
    let hosts = grant.map_or(&[][..], |grant| grant.hosts.as_slice());
    let covered = hosts.iter().filter_map(|text| Host::parse(text).ok()).any(|of| of.covers(&host, port, usual_port));
    let methods = grant.map_or(&[][..], |grant| grant.methods.as_slice());
    let may = methods.iter().any(|granted| granted == method) && method != "CONNECT";
    if covered && may {
        return None;
    }
    let shown = if port == usual_port { host } else { format!("{host}:{port}") };
    let missing = match (covered, may) {
        (true, _) => format!("the job does not grant {method}; to grant it, add \"{method}\" to `grant.http.methods`"),
        (false, true) => {
            format!("the job does not grant this host; to grant it, add \"{shown}\" to `grant.http.hosts`")
        }
        (false, false) => format!(
            "the job does not grant it; to grant it, write grant = {{ http = {{ hosts = [\"{shown}\"], methods = \
             [\"{method}\"] }} }}"
        ),
    };
    Some(format!("the request {method} {scheme}://{authority} is rejected: {missing}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(hosts: &[&str], methods: &[&str]) -> HttpGrant {
        let owned = |strings: &[&str]| strings.iter().map(|text| (*text).to_owned()).collect();
        HttpGrant { hosts: owned(hosts), methods: owned(methods) }
    }

    fn covered(hosts: &[&str], uri: &str) -> bool {
        rejection_reason(Some(&grant(hosts, &["GET"])), "GET", &uri.parse().unwrap()).is_none()
    }

    #[test]
    fn a_host_is_granted_as_it_is_written_at_the_usual_port() {
        let hosts = &["API.example.com"];
        assert!(covered(hosts, "http://api.EXAMPLE.com/a?b"));
        assert!(covered(hosts, "https://api.example.com/"));
        assert!(covered(hosts, "https://api.example.com:443/"));
        assert!(!covered(hosts, "https://api.example.com:80/"), "the usual port of https is another one");
        assert!(!covered(hosts, "http://api.example.com:8080/"));
        for other in ["http://example.com/", "http://x.api.example.com/", "http://api.example.com.evil.org/"] {
            assert!(!covered(hosts, other), "{other}");
        }
        assert!(!covered(hosts, "http://api.example.com./"), "written otherwise");
    }

    #[test]
    fn a_port_is_granted_alone() {
        assert!(covered(&["127.0.0.1:8080"], "http://127.0.0.1:8080/"));
        assert!(!covered(&["127.0.0.1:8080"], "http://127.0.0.1/"));
        assert!(!covered(&["127.0.0.1:8080"], "http://127.0.0.1:8081/"));
        assert!(covered(&["[::1]:8080"], "http://[::1]:8080/"));
        assert!(covered(&["[::1]"], "http://[::1]/"));
        assert!(!covered(&["[::1]"], "http://[::2]/"));
    }

    #[test]
    fn a_star_stands_for_the_hosts_below() {
        let hosts = &["*.example.com"];
        assert!(covered(hosts, "http://a.example.com/") && covered(hosts, "http://a.b.EXAMPLE.com/"));
        assert!(!covered(hosts, "http://example.com/"));
        assert!(!covered(hosts, "http://badexample.com/"));
        assert!(!covered(hosts, "http://a.example.com.org/"));
    }

    #[test]
    fn a_user_in_front_of_a_host_fools_nobody() {
        for uri in ["http://api.example.com@evil.org/", "http://me@api.example.com/", "http://a:80@api.example.com/"] {
            assert!(!covered(&["api.example.com", "*.org"], uri), "{uri}");
        }
    }

    #[test]
    fn a_refusal_names_what_to_write() {
        let of = |grant: Option<&HttpGrant>, method: &str, uri: &str| {
            rejection_reason(grant, method, &uri.parse().unwrap()).unwrap_or_default()
        };
        let granted = grant(&["a.org"], &["GET"]);
        let denial = of(None, "GET", "http://b.org:81/");
        assert!(denial.contains("hosts = [\"b.org:81\"], methods = [\"GET\"]"), "{denial}");
        let denial = of(Some(&granted), "GET", "https://b.org/");
        assert!(denial.contains("add \"b.org\" to `grant.http.hosts`"), "{denial}");
        let denial = of(Some(&granted), "POST", "https://a.org/");
        assert!(denial.contains("add \"POST\" to `grant.http.methods`"), "{denial}");
        assert!(!of(Some(&grant(&["a.org"], &["CONNECT"])), "CONNECT", "http://a.org/").is_empty());
    }

    #[test]
    fn mistakes_in_a_grant_are_named() {
        for (host, message) in [
            ("https://a.org/v1", "names a scheme; a grant covers http and https alike: write \"a.org\""),
            ("a.org/v1", "names a path; a grant covers the complete host: write \"a.org\""),
            ("me@a.org", "names a user; write \"a.org\""),
            ("a.org:", "has the port ``"),
            ("a.org:0", "has the port `0`"),
            ("a.org:+80", "has the port `+80`"),
            ("a.org:99999", "has the port `99999`"),
            ("*", "has a `*` that is not the complete first label"),
            ("a.*.org", "has a `*`"),
            ("*a.org", "has a `*`"),
            ("*.", "has a `*`"),
            ("::1", "is an IPv6 address without brackets; write \"[::1]\""),
            ("", "is not a host"),
            ("a..org", "is not a host"),
            ("a b", "is not a host"),
            ("[::g]", "is not a host"),
            ("*.[::1]", "is not a host"),
            ("exämple.org", "is not a host"),
        ] {
            let denial = check(&grant(&[host], &["GET"])).unwrap_err();
            assert!(denial.contains(message), "{host}: {denial}");
        }
        for good in ["a.org", "A.org:1", "*.a.org", "*.a.org:65535", "[::1]", "[::1]:80", "127.0.0.1", "my_host"] {
            assert_eq!(check(&grant(&[good], &["GET", "M-SEARCH"])), Ok(()), "{good}");
        }
        for (methods, message) in [
            (&["get"][..], "write \"GET\" for \"get\""),
            (&["GE T"], "is not a method"),
            (&[""], "is not a method"),
            (&["CONNECT"], "tunnel"),
            (&[], "remove it"),
        ] {
            let denial = check(&grant(&["a.org"], methods)).unwrap_err();
            assert!(denial.contains(message), "{methods:?}: {denial}");
        }
        assert!(check(&grant(&[], &["GET"])).unwrap_err().contains("is empty"));
    }
}
