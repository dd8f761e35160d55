//! Sources `socket` and `raw-socket`: a client of a TCP server that is there sometimes.

use super::framing::{Counter, Place};
use super::inbox::Inbox;
use super::{REFUSED, framer, plain};
use crate::batch::position::Positions;
use crate::job::spec::{SourceKind, SourceSpec};
use std::io::ErrorKind;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::coop::consume_budget;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

/// Room for one read: what a kernel's receive buffer holds on a busy connection.
const READ_BYTES: usize = 64 << 10;
/// How long to wait before another attempt to connect; doubled from attempt to attempt.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A server that does not answer counts as unreachable.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// Reads what the server at `address` sends, for ever: a connection that ends is made anew. Each change is told on
/// the log, once. Rows are counted on from where they were when the job stopped.
pub async fn receive(source: &SourceSpec, address: &str, from: &Positions, inbox: &Inbox) {
    let name = &source.name;
    let mut rows = from.get("").map_or(0, |position| position.offset);
    let mut pause = PAUSE_MIN;
    let mut trouble = None;
    loop {
        match connect(address).await {
            Ok(stream) => {
                inbox.idle(false);
                info!("source `{name}`: connected to {address}");
                trouble = None;
                let rows_before = rows;
                let ended = read(source, stream, &mut rows, inbox).await;
                if rows > rows_before {
                    pause = PAUSE_MIN;
                }
                match ended {
                    Ended::Inbox => return,
                    Ended::Peer => info!("source `{name}`: connection to {address} closed by the peer; reconnecting"),
                    Ended::Broken(reason) => {
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

async fn connect(address: &str) -> Result<TcpStream, String> {
    match timeout(CONNECT_TIME_MAX, TcpStream::connect(address)).await {
        Ok(connected) => connected.map_err(|error| plain(&error)),
        Err(_) => Err(format!("no answer in {} s", CONNECT_TIME_MAX.as_secs())),
    }
}

/// What to do where nobody listens.
fn hint(kind: &SourceKind, address: &str, reason: &str) -> String {
    match (kind, address.rsplit_once(':')) {
        _ if reason != REFUSED => String::new(),
        (SourceKind::Socket { .. }, Some((_, port))) => format!("; start a server with `nc -lk {port}`"),
        _ => "; start the server that sends the frames".into(),
    }
}

/// Why reading from a connection ended.
enum Ended {
    Inbox,
    Peer,
    Broken(String),
}

/// Reads a connection to its end and counts the rows on. Whatever was read goes to the inbox before the next wait, so
/// that no line waits for another one.
async fn read(source: &SourceSpec, stream: TcpStream, rows: &mut u64, inbox: &Inbox) -> Ended {
    let mut framer = framer(source).at(Place { file: String::new(), at: Counter::Rows(*rows) });
    let mut ended = None;
    loop {
        // A connection that never pauses must not keep its thread from other tasks.
        consume_budget().await;
        match stream.try_read_buf(framer.buffer(READ_BYTES)) {
            Ok(0) => ended = Some(Ended::Peer),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                inbox.idle(true);
                if let Err(error) = stream.readable().await {
                    ended = Some(Ended::Broken(plain(&error)));
                }
                inbox.idle(false);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => ended = Some(Ended::Broken(plain(&error))),
        }
        match &ended {
            Some(Ended::Broken(why)) => framer.break_off(&format!("the connection broke ({why})")),
            Some(_) => framer.end(),
            None => {}
        }
        while let Some(chunk) = framer.next(true) {
            *rows = rows.saturating_add(chunk.rows() as u64);
            if !inbox.put(chunk).await {
                return Ended::Inbox;
            }
        }
        if let Some(ended) = ended {
            return ended;
        }
    }
}
