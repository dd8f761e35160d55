//! Access control: clients must know the token, and use a host name of this server.
//!
//! The printed address contains the token, for one use. Then a cookie replaces it. Scripts cannot read the cookie, and
//! other sites cannot send it. A page of another site whose name resolves to this machine uses that name as host, and
//! is rejected.

use hyper::header::{AUTHORIZATION, COOKIE, HOST, HeaderMap, HeaderName, ORIGIN};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Uri};
use millstream_base::hex;
use sha2::{Digest, Sha256};
use std::net::{IpAddr, SocketAddr};

/// The decision about a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry {
    /// It is allowed.
    Granted,
    /// The address contains the token. The response sets this cookie and redirects to an address without the token.
    Cookie(String),
    /// It is rejected for this reason.
    Denied(StatusCode, &'static str),
}

/// The access rules of a server.
pub struct Access {
    token: String,
    /// The name and value of the cookie. Cookies are shared by all ports of a machine, so the name contains the port.
    cookie: (String, String),
    port: u16,
    /// The name or address on which the server listens.
    host: String,
    loopback: bool,
    tls: bool,
}

impl Access {
    /// Creates the rules of a server at this name or address.
    pub fn new(token: String, host: &str, bound: SocketAddr, tls: bool) -> Access {
        let session: [u8; 32] = Sha256::digest(format!("a cookie of the page: {token}").as_bytes()).into();
        let cookie = (format!("millstream_{}", bound.port()), hex::encode(&session));
        Access { token, cookie, port: bound.port(), host: host.to_owned(), loopback: bound.ip().is_loopback(), tls }
    }

    /// Decides about a request before anything else is done with it. `open`: the resource is public.
    pub fn entry(&self, request: &Parts, open: bool) -> Entry {
        let Some(host) = single_header(&request.headers, &HOST).filter(|host| self.is_own(host)) else {
            let reason = "this server does not have that host name; use the address that it printed";
            return Entry::Denied(StatusCode::MISDIRECTED_REQUEST, reason);
        };
        let origin = single_header(&request.headers, &ORIGIN);
        let foreign = request.headers.contains_key(ORIGIN) && origin != Some(&format!("{}://{host}", self.scheme()));
        if foreign || (origin.is_none() && request.method != Method::GET && request.method != Method::HEAD) {
            return Entry::Denied(StatusCode::FORBIDDEN, "requests from pages of other sites are rejected");
        }
        if open || self.is_shown(&request.headers) {
            return Entry::Granted;
        }
        if request.method == Method::GET
            && query_token(&request.uri).is_some_and(|token| constant_time_equal(token, &self.token))
        {
            let (name, value) = &self.cookie;
            let secure = if self.tls { "; Secure" } else { "" };
            return Entry::Cookie(format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}"));
        }
        let reason = "a token is required; open the address that the command printed; programs send it as \
                     `Authorization: Bearer TOKEN`";
        Entry::Denied(StatusCode::UNAUTHORIZED, reason)
    }

    /// Returns whether a request contains the token, or the cookie for it.
    pub fn is_shown(&self, headers: &HeaderMap) -> bool {
        self.has_cookie(headers) || self.has_header(headers)
    }

    fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// Returns whether this is a name of this server. Arbitrary names are not accepted, but addresses are: no other
    /// site can have a page at them. With TLS the browser has checked the name against the certificate.
    fn is_own(&self, host: &str) -> bool {
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
            _ => (host, Some(if self.tls { 443 } else { 80 })),
        };
        let address: Option<IpAddr> = name.trim_start_matches('[').trim_end_matches(']').parse().ok();
        let for_others = || self.tls || address.is_some() || name.eq_ignore_ascii_case(&self.host);
        let known = is_loopback(name) || (!self.loopback && for_others());
        known && port == Some(self.port)
    }

    fn has_cookie(&self, headers: &HeaderMap) -> bool {
        let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
        let mut cookies = lines.flat_map(|line| line.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
        cookies.any(|(name, value)| name == self.cookie.0 && constant_time_equal(value, &self.cookie.1))
    }

    fn has_header(&self, headers: &HeaderMap) -> bool {
        let token = single_header(headers, &AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        token.is_some_and(|token| constant_time_equal(token.trim(), &self.token))
    }
}

/// Returns the value of a header that occurs exactly once.
fn single_header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut all = headers.get_all(name).iter();
    let first = all.next().filter(|_| all.next().is_none());
    first.and_then(|value| value.to_str().ok())
}

fn query_token(uri: &Uri) -> Option<&str> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix("token="))
}

/// Compares in constant time.
fn constant_time_equal(given: &str, secret: &str) -> bool {
    let digest = |text: &str| -> [u8; 32] { Sha256::digest(text.as_bytes()).into() };
    let different = digest(given).iter().zip(digest(secret)).fold(0, |sum, (one, other)| sum | (one ^ other));
    different == 0
}

/// Returns whether only this machine can reach an address.
fn is_loopback(host: &str) -> bool {
    let name = host.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn entry(access: &Access, path: &str, headers: &[(&str, &str)]) -> Entry {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        access.entry(&request.body(()).unwrap().into_parts().0, false)
    }

    #[test]
    fn a_token_opens_and_a_cookie_after_it() {
        let access = Access::new("secret".into(), "127.0.0.1", "127.0.0.1:8080".parse().unwrap(), false);
        let host = ("host", "127.0.0.1:8080");
        assert!(matches!(entry(&access, "/", &[host]), Entry::Denied(StatusCode::UNAUTHORIZED, _)));
        assert!(matches!(entry(&access, "/?token=secre", &[host]), Entry::Denied(StatusCode::UNAUTHORIZED, _)));
        let Entry::Cookie(cookie) = entry(&access, "/?token=secret", &[host]) else { panic!("no cookie") };
        assert!(cookie.starts_with("millstream_8080=") && cookie.ends_with("; HttpOnly; SameSite=Strict"), "{cookie}");
        let pair = format!("other=1; {}", cookie.split(';').next().unwrap());
        assert_eq!(entry(&access, "/", &[host, ("cookie", &pair)]), Entry::Granted);
        assert_eq!(entry(&access, "/", &[host, ("authorization", "Bearer secret")]), Entry::Granted);
    }

    #[test]
    fn names_that_are_not_its_own_and_pages_of_others_are_refused() {
        let access = Access::new("secret".into(), "127.0.0.1", "127.0.0.1:8080".parse().unwrap(), false);
        let token = ("authorization", "Bearer secret");
        for host in
            ["evil.example:8080", "127.0.0.1:8081", "127.0.0.1", "127.0.0.1.evil.example:8080", "10.0.0.1:8080", ""]
        {
            let rejected = entry(&access, "/", &[("host", host), token]);
            assert!(matches!(rejected, Entry::Denied(StatusCode::MISDIRECTED_REQUEST, _)), "{host}");
        }
        for host in ["localhost:8080", "[::1]:8080", "127.0.0.1:8080"] {
            assert_eq!(entry(&access, "/", &[("host", host), token]), Entry::Granted, "{host}");
            let own = format!("http://{host}");
            assert_eq!(entry(&access, "/", &[("host", host), token, ("origin", &own)]), Entry::Granted, "{host}");
            for origin in ["http://evil.example", "null", "http://127.0.0.1:9"] {
                let rejected = entry(&access, "/", &[("host", host), token, ("origin", origin)]);
                assert!(matches!(rejected, Entry::Denied(StatusCode::FORBIDDEN, _)), "{origin}");
            }
        }
        let open = Access::new("secret".into(), "stream.example", "0.0.0.0:80".parse().unwrap(), false);
        for (host, known) in [("stream.example", true), ("10.0.0.1", true), ("evil.example", false)] {
            assert_eq!(entry(&open, "/", &[("host", host), token]) == Entry::Granted, known, "{host}");
        }
        let tls = Access::new("secret".into(), "0.0.0.0", "0.0.0.0:443".parse().unwrap(), true);
        for (origin, own) in [("https://stream.example", true), ("http://stream.example", false)] {
            let entered = entry(&tls, "/", &[("host", "stream.example"), token, ("origin", origin)]);
            assert_eq!(entered == Entry::Granted, own, "{origin}");
        }
        let Entry::Cookie(cookie) = entry(&tls, "/?token=secret", &[("host", "a")]) else { panic!("no cookie") };
        assert!(cookie.ends_with("; Secure"), "{cookie}");
    }
}
