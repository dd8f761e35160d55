//! The `socket` and `raw-socket` sources: a client of one TCP server, or of several (`several`), which may be unavailable at times.

pub mod declaration;
mod several;
pub mod settings;
mod wire;

use millstream_base::error::Result;
use millstream_base::secrets;
use millstream_connect::receiver::framing::{Counter, StreamCursor};
use millstream_connect::receiver::polled::BusyFlag;
use millstream_connect::receiver::registry::Schemas;
use millstream_connect::receiver::{CONNECTION_REFUSED, framer, wrong};
use millstream_job::spec::{Origin, SourceSpec};
use millstream_rows::batch::partition::{clock_number, rows_name};
use millstream_rows::batch::position::Positions;
use millstream_rows::decode::spec::RecordBounds;
use millstream_rows::inbox::{Inbox, PartitionRead};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::coop::consume_budget;
use tokio::time::sleep;
use tracing::{info, warn};
use wire::{Wire, connect, describe_error};

/// Bytes per read: the kernel's receive buffer of a busy connection.
const READ_BYTES: usize = 64 << 10;
/// How long to wait before reconnecting; doubled with each attempt.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A server, and how many rows it has sent.
pub struct Server {
    source: SourceSpec,
    address: String,
    /// The server's partition, if the source has several servers.
    partition: Option<Partition>,
    /// Number of rows since the job's first start.
    rows: u64,
    busy: BusyFlag,
}

/// The partition of a server.
struct Partition {
    name: String,
    /// Name of the position that counts its rows.
    rows_name: String,
    /// Number of its watermark.
    clock: u64,
    /// Number of rows before this run.
    rows_before: u64,
}

impl Server {
    /// Creates the only server of a source. Its row count continues from the saved position.
    pub fn only(source: &SourceSpec, address: &str, from: &Positions) -> Server {
        let rows = from.get("").map_or(0, |position| position.offset);
        let (source, busy) = (source.clone(), BusyFlag::new(&Arc::default()));
        Server { source, address: address.to_owned(), partition: None, rows, busy }
    }

    /// Creates one of several servers.
    fn named(source: &SourceSpec, address: &str, name: &str, from: &Positions, busy: BusyFlag) -> Server {
        let rows_name = rows_name(name);
        let rows = from.get(&rows_name).map_or(0, |position| position.offset);
        let partition = Partition { name: name.to_owned(), rows_name, clock: clock_number(name), rows_before: rows };
        Server { source: source.clone(), address: address.to_owned(), partition: Some(partition), rows, busy }
    }

    /// Reads from the server indefinitely, and reconnects after errors. Each change is logged once.
    pub async fn receive(mut self, dir: &Path, inbox: &Inbox) {
        let (name, address) = (self.source.name.clone(), self.address.clone());
        let mut pause = PAUSE_MIN;
        let mut last_error = None;
        let mut schemas = Schemas::new(&self.source, dir);
        self.report_rows(inbox);
        loop {
            match connect(&self.source, &address, dir).await {
                Ok(stream) => {
                    self.busy.set(true, inbox);
                    info!("source `{name}`: connected to {address}");
                    last_error = None;
                    let rows_before = self.rows;
                    let ended = self.read(stream, &mut schemas, inbox).await;
                    if self.rows > rows_before {
                        pause = PAUSE_MIN;
                    }
                    match ended {
                        SocketEnd::Closed => return,
                        SocketEnd::Peer => {
                            info!("source `{name}`: connection to {address} closed by the peer; reconnecting")
                        }
                        SocketEnd::Broken(reason) => {
                            warn!("source `{name}`: connection to {address} broke ({reason}); reconnecting");
                        }
                    }
                }
                Err(reason) if last_error.as_ref() == Some(&reason) => {}
                Err(reason) => {
                    let hint = hint(self.source.kind.bounds(), &address, &reason);
                    warn!("source `{name}`: cannot connect to {address} ({reason}); retrying{hint}");
                    last_error = Some(reason);
                }
            }
            // A job that stops when all sources are idle need not wait for an unreachable server.
            self.busy.set(false, inbox);
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Reads a connection to its end and numbers the rows. Everything read is put into the inbox before the next wait, so that no line waits for
    /// another one.
    async fn read(&mut self, mut stream: Wire, schemas: &mut Option<Schemas>, inbox: &Inbox) -> SocketEnd {
        let cursor = StreamCursor { at: Counter::Rows(self.rows), ..StreamCursor::default() };
        let mut framer = framer(&self.source).with_cursor(cursor);
        let mut ended = None;
        loop {
            // A connection that never pauses must not block other tasks of its thread.
            consume_budget().await;
            match stream.read(framer.buffer(READ_BYTES), &mut self.busy, inbox).await {
                Ok(Some(0)) => ended = Some(SocketEnd::Peer),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => ended = Some(SocketEnd::Broken(describe_error(&error))),
            }
            match &ended {
                Some(SocketEnd::Broken(why)) => framer.break_off(&format!("the connection broke ({why})")),
                Some(_) => framer.end(),
                None => {}
            }
            while let Some(mut chunk) = framer.next(true) {
                if let Some(schemas) = schemas
                    && let Err(error) = schemas.attach(&mut chunk).await
                {
                    inbox.fail(error);
                    return SocketEnd::Closed;
                }
                if let Some(partition) = &self.partition {
                    chunk.extent.file.clone_from(&partition.rows_name);
                    chunk.extent.start = partition.clock;
                }
                self.rows = self.rows.saturating_add(chunk.rows() as u64);
                self.report_rows(inbox);
                if !inbox.put(chunk).await {
                    return SocketEnd::Closed;
                }
            }
            if let Some(ended) = ended {
                return ended;
            }
        }
    }

    /// Reports the number of rows of a partition to clients.
    fn report_rows(&self, inbox: &Inbox) {
        if let Some(Partition { name, rows_before, .. }) = &self.partition {
            let (next, rows) = (Some(self.rows), Some(self.rows.saturating_sub(*rows_before)));
            inbox.report_partition_read(PartitionRead { name: name.clone(), next, rows, ..PartitionRead::default() });
        }
    }
}

/// Suggests what to do if the connection was refused.
fn hint(bounds: RecordBounds, address: &str, reason: &str) -> String {
    match (bounds, address.rsplit_once(':')) {
        _ if reason != CONNECTION_REFUSED => String::new(),
        // Only complete secret values are hidden in messages, so the port of one must not be shown.
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
    Closed,
    Peer,
    Broken(String),
}
