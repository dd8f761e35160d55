//! Sources `socket` and `raw-socket`: a client of a TCP server that is there sometimes.

use super::framing::{Counter, StreamCursor};
use super::inbox::Inbox;
use super::registry::Schemas;
use super::wire::{Wire, connect, told};
use super::{REFUSED, framer};
use crate::batch::position::Positions;
use crate::job::spec::{SourceKind, SourceSpec};
use crate::secrets;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;
use tokio::task::coop::consume_budget;
use tokio::time::sleep;
use tracing::{info, warn};

/// Room for one read: what a kernel's receive buffer holds on a busy connection.
const READ_BYTES: usize = 64 << 10;
/// How long to wait before another attempt to connect; doubled from attempt to attempt.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Reads what the server at `address` sends, for ever: a connection that ends is made anew. Each change is told on
/// the log, once. Rows are counted on from where they were when the job stopped.
pub async fn receive(source: &SourceSpec, address: &str, folder: &Path, from: &Positions, inbox: &Inbox) {
    let name = &source.name;
    let mut rows = from.get("").map_or(0, |position| position.offset);
    let mut pause = PAUSE_MIN;
    let mut trouble = None;
    let mut schemas = Schemas::of(source, folder);
    loop {
        match connect(source, address, folder).await {
            Ok(stream) => {
                inbox.idle(false);
                info!("source `{name}`: connected to {address}");
                trouble = None;
                let rows_before = rows;
                let ended = read(source, stream, &mut rows, &mut schemas, inbox).await;
                if rows > rows_before {
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
                let hint = hint(&source.kind, address, &reason);
                warn!("source `{name}`: cannot connect to {address} ({reason}); trying again{hint}");
                trouble = Some(reason);
            }
        }
        // Who is to stop when all is quiet need not wait for a server that has gone.
        inbox.idle(true);
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// What to do where nobody listens.
fn hint(kind: &SourceKind, address: &str, reason: &str) -> String {
    match (kind, address.rsplit_once(':')) {
        _ if reason != REFUSED => String::new(),
        // A part of a value that is hidden would not be found again in a message.
        (SourceKind::Socket { .. }, _) if secrets::hide(address) != address => "; start the server".into(),
        (SourceKind::Socket { .. }, Some((_, port))) => format!("; start a server with `nc -lk {port}`"),
        _ => "; start the server that sends the frames".into(),
    }
}

/// Why reading from a connection ended.
enum SocketEnd {
    Inbox,
    Peer,
    Broken(String),
}

/// Reads a connection to its end and counts the rows on. Whatever was read goes to the inbox before the next wait, so
/// that no line waits for another one.
async fn read(
    source: &SourceSpec,
    mut stream: Wire,
    rows: &mut u64,
    schemas: &mut Option<Schemas>,
    inbox: &Inbox,
) -> SocketEnd {
    let mut framer = framer(source).at(StreamCursor { at: Counter::Rows(*rows), ..StreamCursor::default() });
    let mut ended = None;
    loop {
        // A connection that never pauses must not keep its thread from other tasks.
        consume_budget().await;
        match stream.read(framer.buffer(READ_BYTES), inbox).await {
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
            *rows = rows.saturating_add(chunk.rows() as u64);
            if !inbox.put(chunk).await {
                return SocketEnd::Inbox;
            }
        }
        if let Some(ended) = ended {
            return ended;
        }
    }
}
