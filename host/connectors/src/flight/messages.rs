//! The messages of Arrow Flight that are sent and read here, with the numbers that its definition gives their fields. Others, and fields that
//! are not needed, are passed over.

use bytes::Bytes;
use prost::{Enumeration, Message};

/// How a stream is known.
#[derive(Clone, Message)]
pub struct Descriptor {
    /// See [`DescriptorKind`].
    #[prost(enumeration = "DescriptorKind", tag = "1")]
    pub kind: i32,
    /// A command.
    #[prost(bytes = "bytes", tag = "2")]
    pub command: Bytes,
    /// A path.
    #[prost(string, repeated, tag = "3")]
    pub path: Vec<String>,
}

/// What a descriptor holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum DescriptorKind {
    /// Nothing.
    None = 0,
    /// A path.
    Path = 1,
    /// A command.
    Command = 2,
}

/// What greets a server; who the job is stands in a header.
#[derive(Clone, Message)]
pub struct HandshakeRequest {
    /// Of the greeting.
    #[prost(uint64, tag = "1")]
    pub version: u64,
}

/// Where the rows of a stream are.
#[derive(Clone, Message)]
pub struct Info {
    /// The parts of the stream.
    #[prost(message, repeated, tag = "3")]
    pub endpoints: Vec<Endpoint>,
}

/// A part of a stream.
#[derive(Clone, Message)]
pub struct Endpoint {
    /// What is handed over for its rows.
    #[prost(message, optional, tag = "1")]
    pub ticket: Option<Ticket>,
    /// Who has them; none: who answered.
    #[prost(message, repeated, tag = "2")]
    pub locations: Vec<Location>,
}

/// Where a server is.
#[derive(Clone, Message)]
pub struct Location {
    /// As a URL.
    #[prost(string, tag = "1")]
    pub uri: String,
}

/// What a server gives rows for.
#[derive(Clone, Message)]
pub struct Ticket {
    /// Its own bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub ticket: Bytes,
}

/// A schema, a dictionary or rows.
#[derive(Clone, Message)]
pub struct Data {
    /// Of the first message that a server is given: where rows go.
    #[prost(message, optional, tag = "1")]
    pub descriptor: Option<Descriptor>,
    /// A message of Arrow's IPC.
    #[prost(bytes = "bytes", tag = "2")]
    pub header: Bytes,
    /// What the sender says beside it.
    #[prost(bytes = "bytes", tag = "3")]
    pub app_metadata: Bytes,
    /// The buffers that the message tells of.
    #[prost(bytes = "bytes", tag = "1000")]
    pub body: Bytes,
}
