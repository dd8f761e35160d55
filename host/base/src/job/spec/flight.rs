//! Streams of servers of Arrow Flight, read and written.

use crate::limits;
use std::time::Duration;

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlightReads {
    /// What the server is asked for.
    pub wanted: FlightDescriptor,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<String>,
    /// Where else rows may lie, as URLs in which `*` stands for anything: whoever is there gets what the job logs in with.
    pub locations: Vec<String>,
    /// The longest message that is read, unpacked: one of a server is a record batch.
    pub message_bytes_max: u64,
    /// How long the server may be silent while rows are awaited.
    pub stall: Duration,
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlightWrites {
    /// Where rows go.
    pub to: FlightDescriptor,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<String>,
    /// How long the server may take over a batch.
    pub timeout: Duration,
}

/// How a server knows a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlightDescriptor {
    /// By a path, of names.
    Path(Vec<String>),
    /// By a command that it understands, such as a query.
    Command(String),
}

impl FlightReads {
    /// With defaults.
    pub fn new(wanted: FlightDescriptor) -> FlightReads {
        FlightReads {
            wanted,
            token: None,
            locations: Vec::new(),
            message_bytes_max: limits::FLIGHT_MESSAGE_BYTES_MAX,
            stall: Duration::from_millis(limits::FLIGHT_STALL_MS),
        }
    }
}

impl FlightWrites {
    /// With defaults.
    pub fn new(to: FlightDescriptor) -> FlightWrites {
        FlightWrites { to, token: None, timeout: Duration::from_millis(limits::FLIGHT_STALL_MS) }
    }
}
