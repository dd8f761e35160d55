//! Where the servers of a source are.

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
