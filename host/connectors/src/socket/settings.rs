//! Settings of sources of kinds `socket` and `raw-socket`.

/// What is read of TCP servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketReads {
    /// Where they are.
    pub address: Addresses,
    /// Whether they send frames: four bytes, big-endian, then as many bytes of one record. Else lines.
    pub frames: bool,
}

impl SocketReads {
    /// Lines of the server at `host:port`, or, of a list, of servers each of which is a partition.
    pub fn lines(address: impl Into<Addresses>) -> SocketReads {
        SocketReads { address: address.into(), frames: false }
    }

    /// Frames of such servers.
    pub fn frames(address: impl Into<Addresses>) -> SocketReads {
        SocketReads { address: address.into(), frames: true }
    }
}

/// One server, which is all that there is of its source, or a list, each of which is a partition of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// `host:port`
    One(String),
    /// Each `host:port`.
    Several(Vec<String>),
}

impl Addresses {
    /// Whether they were given as a list, of however many.
    pub fn is_list(&self) -> bool {
        matches!(self, Addresses::Several(_))
    }

    /// Each of them.
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
