//! What sockets of ZeroMQ send, read.

/// Which messages are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZeromqReads {
    /// The address to listen at; `None`: the job connects with the socket that the URL names.
    pub listen: Option<String>,
    /// Whether the job is a PULL socket, which shares messages with others; else a SUB socket.
    pub pull: bool,
    /// What topics begin with, of a SUB socket; none: all.
    pub topics: Vec<String>,
}
