//! Settings of sources of kind `zeromq`.

use millstream_base::job::spec::Url;

/// Which messages are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZeromqReads {
    /// The socket to connect with, where there is no `listen`.
    pub url: Url,
    /// The address to listen at.
    pub listen: Option<String>,
    /// Whether the job is a PULL socket, which shares messages with others; else a SUB socket.
    pub pull: bool,
    /// What topics begin with, of a SUB socket; none: all.
    pub topics: Vec<String>,
}
