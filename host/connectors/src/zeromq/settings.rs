//! Settings of `zeromq` sources.

use millstream_job::spec::Url;

/// Settings of a source: which messages are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZeromqReads {
    /// The socket to connect to, without `listen`.
    pub url: Url,
    /// The address to listen on.
    pub listen: Option<String>,
    /// Whether the job is a PULL socket, which shares messages with others; otherwise a SUB socket.
    pub pull: bool,
    /// Topic prefixes of a SUB socket; empty: all.
    pub topics: Vec<String>,
}
