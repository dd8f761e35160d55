//! Addresses of registries.

use millstream_base::error::{Error, Result};
use millstream_base::package_name::PackageName;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Maximum bytes of an address.
const BYTES_MAX: usize = 255;

/// `host[:port]/path`. Both are checked, so that they are safe in URLs and paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Host and port.
    pub host: String,
    /// The path above the repositories; may be empty.
    pub path: String,
}

impl Address {
    /// Parses the text after `oci://`.
    pub fn parse(text: &str) -> Result<Address> {
        let wrong = |why: &str| {
            Err(Error::job(format!(
                "`oci://{}` is not a registry: {why}; write oci://HOST/PATH, for example oci://ghcr.io/team/plugins",
                text.escape_debug()
            )))
        };
        let (host, path) = text.split_once('/').unwrap_or((text, ""));
        let path = path.strip_suffix('/').unwrap_or(path);
        match () {
            () if text.len() > BYTES_MAX => wrong("it is too long"),
            () if !is_host(host) => wrong("it must begin with a host, or a host and a port"),
            () if !path.is_empty() && !path.split('/').all(is_component) => {
                wrong("its path must contain only a-z and 0-9 with `.`, `_` and `-` between them")
            }
            () => Ok(Address { host: host.to_owned(), path: path.to_owned() }),
        }
    }

    /// Returns the repository of a package.
    pub fn repository(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) }
    }

    /// Returns the package of a repository, if it is directly below the path.
    pub fn package(&self, repository: &str) -> Option<PackageName> {
        let name = match self.path.as_str() {
            "" => repository,
            path => repository.strip_prefix(path)?.strip_prefix('/')?,
        };
        name.parse().ok()
    }

    /// Whether the host is this machine, which needs no TLS.
    pub fn is_loopback(&self) -> bool {
        let host = match self.host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => self.host.split(':').next().unwrap_or_default(),
        };
        host == "localhost"
            || host.parse().is_ok_and(|ip: Ipv4Addr| ip.is_loopback())
            || host.parse().is_ok_and(|ip: Ipv6Addr| ip.is_loopback())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.host) } else { write!(f, "{}/{}", self.host, self.path) }
    }
}

/// `example.com`, `10.0.0.1:5000`, `[::1]:5000`.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((ip, "")) => return ip.parse::<Ipv6Addr>().is_ok(),
        Some((ip, port)) => (ip.parse::<Ipv6Addr>().is_ok(), port.strip_prefix(':')),
        None => match text.split_once(':') {
            Some((host, port)) => (is_name(host), Some(port)),
            None => return is_name(text),
        },
    };
    // A port has only one spelling.
    host && port.is_some_and(|port| port.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == port))
}

fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let good = label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        good && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    text.split('.').all(is_label)
}

/// Whether this is a component of a repository's name, by the specification: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
fn is_component(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut separators = text.split(is_plain).filter(|between| !between.is_empty());
    text.starts_with(is_plain)
        && text.ends_with(is_plain)
        && separators.all(|between| matches!(between, "." | "_" | "__") || between.bytes().all(|b| b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_alike() {
        for good in ["ghcr.io/team/plugins", "localhost:5000", "127.0.0.1:80/a", "[::1]:5000/a-b/c.d/e__f", "[::1]/a"] {
            assert_eq!(Address::parse(good).unwrap().to_string(), good);
        }
        assert_eq!(Address::parse("host/a/").unwrap().to_string(), "host/a");
    }

    #[test]
    fn what_could_mean_something_else_in_a_url_or_path_is_refused() {
        let bad = [
            "",
            "/",
            "/a",
            "host:0",
            "host:070",
            "host:+7",
            "host:99999",
            "host:",
            "user@host",
            "host?x",
            "host#x",
            "HOST",
            "host/..",
            "host/a/../b",
            "host//a",
            "host/a//b",
            "host/A",
            "host/a b",
            "host/a%2fb",
            "host/.a",
            "host/a-",
            "host/a..b",
            "host/a___b",
            "host\\a",
            "ho st",
            "-host",
            "host..x",
            "[::1",
            "[::1]x",
            "[fe80::1%eth0]",
            "hóst",
            "http://host",
            "host:80:80",
            "host/a\n",
        ];
        for bad in bad {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
        assert!(Address::parse(&"a".repeat(300)).is_err());
    }

    #[test]
    fn repositories_are_directly_below_the_path() {
        let below = Address::parse("host/a").unwrap();
        assert_eq!(below.repository("split-words"), "a/split-words");
        let names = ["a/split-words", "a/b/c", "ab/c", "split-words", "a/", "a/Split"].map(|name| below.package(name));
        assert_eq!(names.iter().flatten().count(), 1);
        let all = Address::parse("host").unwrap();
        assert_eq!(all.package("split-words").unwrap().as_str(), "split-words");
        assert!(all.package("a/split-words").is_none());
    }

    #[test]
    fn this_machine_is_known_by_its_addresses() {
        let loopback = |text| Address::parse(text).unwrap().is_loopback();
        for this in ["localhost", "localhost:1/a", "127.0.0.1", "127.8.9.1:5000", "[::1]", "[::1]:5000/a"] {
            assert!(loopback(this), "{this}");
        }
        for other in ["localhost.example.com", "128.0.0.1", "[::2]:5000", "127.0.0.1.example.com", "0.0.0.0"] {
            assert!(!loopback(other), "{other}");
        }
    }
}
