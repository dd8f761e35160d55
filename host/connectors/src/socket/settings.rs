//! Settings of the `socket` and `raw-socket` sources.

/// Settings of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketReads {
    /// Addresses of the servers.
    pub address: Addresses,
    /// Whether the servers send frames: a four-byte big-endian length, then one record of that length. Otherwise lines.
    pub frames: bool,
}

impl SocketReads {
    /// Creates settings for lines from one server, or from a list of servers that are partitions.
    pub fn lines(address: impl Into<Addresses>) -> SocketReads {
        SocketReads { address: address.into(), frames: false }
    }

    /// Creates settings for frames.
    pub fn frames(address: impl Into<Addresses>) -> SocketReads {
        SocketReads { address: address.into(), frames: true }
    }
}

/// The only server of a source, or a list of servers that are its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// `host:port`
    One(String),
    /// Each `host:port`.
    Several(Vec<String>),
}

impl Addresses {
    /// Returns whether it is a list, even of one server.
    pub fn is_list(&self) -> bool {
        matches!(self, Addresses::Several(_))
    }

    /// Returns all addresses.
    pub fn all(&self) -> &[String] {
        match self {
            Addresses::One(address) => std::slice::from_ref(address),
            Addresses::Several(addresses) => addresses,
        }
    }
}

impl From<String> for Addresses {
    fn from(address: String) -> Addresses {
        Addresses::One(address)
    }
}

impl From<&str> for Addresses {
    fn from(address: &str) -> Addresses {
        Addresses::One(address.to_owned())
    }
}

impl From<Vec<String>> for Addresses {
    fn from(addresses: Vec<String>) -> Addresses {
        Addresses::Several(addresses)
    }
}
