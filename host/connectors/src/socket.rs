//! Sources `socket` and `raw-socket`: a client of a TCP server that is there sometimes, or of several (`several`).

pub mod declaration;
mod several;
pub mod settings;
mod wire;

use crate::receiver::framing::{Counter, StreamCursor};
use crate::receiver::polled::BusyFlag;
use crate::receiver::registry::Schemas;
use crate::receiver::{REFUSED, framer, wrong};
use millstream_base::batch::partition::{clock_number, rows_name};
use millstream_base::batch::position::Positions;
use millstream_base::error::Result;
use millstream_base::inbox::{Inbox, PartitionRead};
use millstream_base::job::spec::{Origin, RecordBounds, SourceSpec};
use millstream_base::secrets;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::coop::consume_budget;
use tokio::time::sleep;
use tracing::{info, warn};
use wire::{Wire, connect, told};

/// Room for one read: what a kernel's receive buffer holds on a busy connection.
const READ_BYTES: usize = 64 << 10;
/// How long to wait before another attempt to connect; doubled from attempt to attempt.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A server, and how far its connections have come.
pub struct Server {
    source: SourceSpec,
    address: String,
    /// Its name, where it is one of several, each of which is a partition.
    partition: Option<Partition>,
    /// Rows that came since the job's first start.
    rows: u64,
    busy: BusyFlag,
}

/// What is known of a server that is a partition.
struct Partition {
    name: String,
    /// The name of the position that counts its rows.
    rows_name: String,
    /// The number of its clock.
    clock: u64,
    /// Rows that had come before this start.
    rows_before: u64,
}

impl Server {
    /// The only one of its source. Rows are counted on from where they were when the job stopped.
    pub fn only(source: &SourceSpec, address: &str, from: &Positions) -> Server {
        let rows = from.get("").map_or(0, |position| position.offset);
        let (source, busy) = (source.clone(), BusyFlag::new(&Arc::default()));
        Server { source, address: address.to_owned(), partition: None, rows, busy }
    }

    /// One of several, by its name.
    fn named(source: &SourceSpec, address: &str, name: &str, from: &Positions, busy: BusyFlag) -> Server {
        let rows_name = rows_name(name);
        let rows = from.get(&rows_name).map_or(0, |position| position.offset);
        let partition = Partition { name: name.to_owned(), rows_name, clock: clock_number(name), rows_before: rows };
        Server { source: source.clone(), address: address.to_owned(), partition: Some(partition), rows, busy }
    }

    /// Reads what it sends, for ever: a connection that ends is made anew. Each change is told on the log, once.
    pub async fn receive(mut self, folder: &Path, inbox: &Inbox) {
        let (name, address) = (self.source.name.clone(), self.address.clone());
        let mut pause = PAUSE_MIN;
        let mut trouble = None;
        let mut schemas = Schemas::of(&self.source, folder);
        self.show(inbox);
        loop {
            match connect(&self.source, &address, folder).await {
                Ok(stream) => {
                    self.busy.is(true, inbox);
                    info!("source `{name}`: connected to {address}");
                    trouble = None;
                    let rows_before = self.rows;
                    let ended = self.read(stream, &mut schemas, inbox).await;
                    if self.rows > rows_before {
                        pause = PAUSE_MIN;
                    }
                    match ended {
                        SocketEnd::Inbox => return,
                        SocketEnd::Peer => {
                            info!("source `{name}`: connection to {address} closed by the peer; reconnecting")
                        }
                        SocketEnd::Broken(reason) => {
                            warn!("source `{name}`: connection to {address} broke ({reason}); reconnecting");
                        }
                    }
                }
                Err(reason) if trouble.as_ref() == Some(&reason) => {}
                Err(reason) => {
                    let hint = hint(self.source.kind.bounds(), &address, &reason);
                    warn!("source `{name}`: cannot connect to {address} ({reason}); retrying{hint}");
                    trouble = Some(reason);
                }
            }
            // Who is to stop when all is quiet need not wait for a server that has gone.
            self.busy.is(false, inbox);
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Reads a connection to its end and counts the rows on. Whatever was read goes to the inbox before the next wait, so
    /// that no line waits for another one.
    async fn read(&mut self, mut stream: Wire, schemas: &mut Option<Schemas>, inbox: &Inbox) -> SocketEnd {
        let at = StreamCursor { at: Counter::Rows(self.rows), ..StreamCursor::default() };
        let mut framer = framer(&self.source).at(at);
        let mut ended = None;
        loop {
            // A connection that never pauses must not keep its thread from other tasks.
            consume_budget().await;
            match stream.read(framer.buffer(READ_BYTES), &mut self.busy, inbox).await {
                Ok(Some(0)) => ended = Some(SocketEnd::Peer),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => ended = Some(SocketEnd::Broken(told(&error))),
            }
            match &ended {
                Some(SocketEnd::Broken(why)) => framer.break_off(&format!("the connection broke ({why})")),
                Some(_) => framer.end(),
                None => {}
            }
            while let Some(mut chunk) = framer.next(true) {
                if let Some(schemas) = schemas
                    && let Err(error) = schemas.give(&mut chunk).await
                {
                    inbox.fail(error);
                    return SocketEnd::Inbox;
                }
                if let Some(partition) = &self.partition {
                    chunk.extent.file.clone_from(&partition.rows_name);
                    chunk.extent.start = partition.clock;
                }
                self.rows = self.rows.saturating_add(chunk.rows() as u64);
                self.show(inbox);
                if !inbox.put(chunk).await {
                    return SocketEnd::Inbox;
                }
            }
            if let Some(ended) = ended {
                return ended;
            }
        }
    }

    /// Tells whoever looks how many rows came of a partition.
    fn show(&self, inbox: &Inbox) {
        if let Some(Partition { name, rows_before, .. }) = &self.partition {
            let (next, rows) = (Some(self.rows), Some(self.rows.saturating_sub(*rows_before)));
            inbox.tell_one_read(PartitionRead { name: name.clone(), next, rows, ..PartitionRead::default() });
        }
    }
}

/// What to do where nobody listens.
fn hint(bounds: RecordBounds, address: &str, reason: &str) -> String {
    match (bounds, address.rsplit_once(':')) {
        _ if reason != REFUSED => String::new(),
        // A part of a value that is hidden would not be found again in a message.
        (RecordBounds::Prefix, _) => "; start the server that sends the frames".into(),
        (_, _) if secrets::hide(address) != address => "; start the server".into(),
        (_, Some((_, port))) => format!("; start a server with `nc -lk {port}`"),
        (_, None) => "; start the server".into(),
    }
}

fn check_address(source: &SourceSpec, address: &str, origin: &Origin) -> Result<()> {
    let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(port)) if port > 0 => Ok(()),
        _ => {
            let what = format!("`{address}` is not host:port; write, for example, address = \"127.0.0.1:9999\"");
            Err(wrong(source, origin, "address", what))
        }
    }
}

/// Why reading from a connection ended.
enum SocketEnd {
    Inbox,
    Peer,
    Broken(String),
}
