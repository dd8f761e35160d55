//! The Arrow Flight messages that are sent and read here, with the field numbers of its definition. Others, and unneeded fields, are
//! ignored.

use bytes::Bytes;
use prost::{Enumeration, Message};

/// The descriptor of a stream.
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

/// The kinds of descriptors.
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

/// The handshake of a server; credentials are in a header.
#[derive(Clone, Message)]
pub struct HandshakeRequest {
    /// The protocol version.
    #[prost(uint64, tag = "1")]
    pub version: u64,
}

/// The endpoints of a stream.
#[derive(Clone, Message)]
pub struct Info {
    /// The parts of the stream.
    #[prost(message, repeated, tag = "3")]
    pub endpoints: Vec<Endpoint>,
}

/// A part of a stream.
#[derive(Clone, Message)]
pub struct Endpoint {
    /// The ticket for its rows.
    #[prost(message, optional, tag = "1")]
    pub ticket: Option<Ticket>,
    /// The servers that have them; empty: the server that responded.
    #[prost(message, repeated, tag = "2")]
    pub locations: Vec<Location>,
}

/// The location of a server.
#[derive(Clone, Message)]
pub struct Location {
    /// A URL.
    #[prost(string, tag = "1")]
    pub uri: String,
}

/// A ticket, for which a server returns rows.
#[derive(Clone, Message)]
pub struct Ticket {
    /// Opaque bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub ticket: Bytes,
}

/// A schema, a dictionary or rows.
#[derive(Clone, Message)]
pub struct Data {
    /// In the first message to a server: the destination of rows.
    #[prost(message, optional, tag = "1")]
    pub descriptor: Option<Descriptor>,
    /// An Arrow IPC message.
    #[prost(bytes = "bytes", tag = "2")]
    pub header: Bytes,
    /// Metadata of the application.
    #[prost(bytes = "bytes", tag = "3")]
    pub app_metadata: Bytes,
    /// The buffers of the message.
    #[prost(bytes = "bytes", tag = "1000")]
    pub body: Bytes,
}
