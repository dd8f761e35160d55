//! A replication connection to PostgreSQL: its startup, and the stream of a slot. The general driver does not support them.
//!
//! A separate task periodically reports the job's progress. So the server neither considers the job dead nor keeps its log longer than
//! necessary, however long no one reads.

use super::tls::Handshake;
use super::{AnyStream, DatabaseError};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use millstream_base::fault;
use millstream_job::database::Mode;
use postgres_protocol::authentication::{md5_hash, sasl};
use postgres_protocol::message::frontend;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_postgres::Config;

/// Interval of progress reports. By default a server closes the connection after a minute without one.
const STATUS_INTERVAL: Duration = Duration::from_secs(3);
/// Maximum bytes of a message. A row of a table has up to 1 GiB, and is sent twice with its old values.
const MESSAGE_BYTES_MAX: usize = 256 << 20;
/// Maximum bytes of the rows of a command, which returns one short row.
const ROWS_BYTES_MAX: usize = 16 << 20;
/// How many bytes are read at a time.
const READ_BYTES: usize = 64 << 10;
/// Microseconds between 1970 and 2000, PostgreSQL's epoch.
pub const EPOCH_US: i64 = 946_684_800_000_000;

/// A position in a server's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Parses PostgreSQL's notation: `16/B374D848`.
    pub fn parse(text: &str) -> Option<Lsn> {
        let (high, low) = text.split_once('/')?;
        let [high, low] = [high, low].map(|half| u32::from_str_radix(half, 16).ok());
        Some(Lsn(u64::from(high?) << 32 | u64::from(low?)))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

/// An event of a slot's stream.
pub enum StreamEvent {
    /// A message of the plugin that decodes the log.
    Message(Bytes),
    /// Everything committed before this position has been sent. The flag says whether the server requires an immediate reply.
    Until(Lsn, bool),
}

/// A replication connection.
pub struct Replication {
    reading: ReadHalf<AnyStream>,
    /// Received bytes that are not decoded yet.
    buffer: BytesMut,
    /// `None`: the reporting task has it.
    writing: Option<WriteHalf<AnyStream>>,
    progress: Arc<StandbyStatus>,
    status_task: Option<JoinHandle<()>>,
}

/// The reported progress of a slot: how far it was read and is durable.
#[derive(Default)]
struct StandbyStatus {
    received: AtomicU64,
    confirmed: AtomicU64,
    reply_now: Notify,
}

impl Drop for Replication {
    fn drop(&mut self) {
        if let Some(status_task) = &self.status_task {
            status_task.abort();
        }
    }
}

impl Replication {
    /// Performs the handshake, with TLS if configured, and authenticates.
    pub(super) async fn begin(
        mut stream: AnyStream,
        tls: Option<Handshake>,
        config: &Config,
    ) -> Result<Replication, DatabaseError> {
        let broken = |error: io::Error| DatabaseError::of_io(&error);
        if let Some(handshake) = tls {
            let mut request = BytesMut::new();
            frontend::ssl_request(&mut request);
            stream.write_all(&request).await.map_err(broken)?;
            stream.flush().await.map_err(broken)?;
            let response = stream.read_u8().await.map_err(broken)?;
            match response {
                b'S' => stream = handshake.begin(stream).await.map_err(broken)?,
                _ if handshake.ssl.mode == Mode::Prefer => {}
                _ => {
                    return Err(DatabaseError::permanent(
                        "TLS: the server does not support it; turn it on there (`ssl = on`), or set sslmode=disable on a trusted network"
                            .into(),
                    ));
                }
            }
        }
        let (reading, writing) = tokio::io::split(stream);
        let buffer = BytesMut::new();
        let mut replication =
            Replication { reading, buffer, writing: Some(writing), progress: Arc::default(), status_task: None };
        replication.greet(config).await?;
        Ok(replication)
    }

    async fn greet(&mut self, config: &Config) -> Result<(), DatabaseError> {
        let user = config.get_user().ok_or_else(|| DatabaseError::permanent("the URL names no user".into()))?;
        let mut parameters = vec![
            ("client_encoding", "UTF8"),
            ("user", user),
            ("database", config.get_dbname().unwrap_or(user)),
            ("replication", "database"),
        ];
        parameters.extend(config.get_options().map(|options| ("options", options)));
        parameters.extend(config.get_application_name().map(|name| ("application_name", name)));
        self.send(|out| frontend::startup_message(parameters.iter().copied(), out)).await?;
        let password = config.get_password();
        let needed = || {
            password
                .ok_or_else(|| DatabaseError::permanent("the server requires a password, and the URL has none".into()))
        };
        let mut scram: Option<sasl::ScramSha256> = None;
        loop {
            let (tag, mut body) = self.frame().await?;
            if tag == b'Z' {
                return Ok(());
            }
            if tag != b'R' {
                continue;
            }
            let wrong =
                |error: io::Error| DatabaseError::permanent(format!("the password cannot be verified: {error}"));
            match body.try_get_i32().map_err(|_| protocol_error())? {
                0 => {}
                3 => self.send(|out| frontend::password_message(needed_of(&needed)?, out)).await?,
                5 => {
                    let salt: [u8; 4] = *body.first_chunk().ok_or_else(protocol_error)?;
                    let hash = md5_hash(user.as_bytes(), needed()?, salt);
                    self.send(|out| frontend::password_message(hash.as_bytes(), out)).await?;
                }
                10 => {
                    if !body.split(|byte| *byte == 0).any(|name| name == sasl::SCRAM_SHA_256.as_bytes()) {
                        return Err(DatabaseError::permanent(
                            "the server requires password authentication other than SCRAM-SHA-256".into(),
                        ));
                    }
                    let mechanism =
                        scram.insert(sasl::ScramSha256::new(needed()?, sasl::ChannelBinding::unsupported()));
                    let first = mechanism.message().to_vec();
                    self.send(|out| frontend::sasl_initial_response(sasl::SCRAM_SHA_256, &first, out)).await?;
                }
                11 => {
                    let scram = scram.as_mut().ok_or_else(protocol_error)?;
                    scram.update(&body).map_err(wrong)?;
                    let response = scram.message().to_vec();
                    self.send(|out| frontend::sasl_response(&response, out)).await?;
                }
                12 => scram.as_mut().ok_or_else(protocol_error)?.finish(&body).map_err(wrong)?,
                _ => {
                    return Err(DatabaseError::permanent(
                        "the server requires an unsupported authentication method".into(),
                    ));
                }
            }
        }
    }

    /// Returns the end of the server's log.
    pub async fn end(&mut self) -> Result<Lsn, DatabaseError> {
        let rows = self.query("IDENTIFY_SYSTEM").await?;
        let end = rows.first().and_then(|row| row.get(2)?.as_deref());
        end.and_then(Lsn::parse).ok_or_else(protocol_error)
    }

    /// Runs a command and returns its rows.
    pub async fn query(&mut self, text: &str) -> Result<Vec<Vec<Option<String>>>, DatabaseError> {
        self.send(|out| frontend::query(text, out)).await?;
        let (mut rows, mut bytes, mut fault) = (Vec::new(), 0, None);
        loop {
            match self.frame().await {
                Ok((b'Z', _)) => return fault.map_or(Ok(rows), Err),
                Ok((b'D', mut body)) => {
                    bytes += body.len().max(READ_BYTES >> 10);
                    if bytes > ROWS_BYTES_MAX {
                        return Err(protocol_error());
                    }
                    rows.push(values(&mut body).ok_or_else(protocol_error)?);
                }
                Ok(_) => {}
                // The first error is the cause; a server may close the connection after it.
                Err(error) => match fault.take() {
                    None if !error.is_transient() => fault = Some(error),
                    first => return Err(first.unwrap_or(error)),
                },
            }
        }
    }

    /// Starts the stream of a slot from this position.
    pub async fn stream(&mut self, slot: &str, from: Lsn, publication: &str) -> Result<(), DatabaseError> {
        // A name in a list of names within a literal.
        let names = super::quoted(publication).replace('\'', "''");
        let text = format!(
            "START_REPLICATION SLOT {} LOGICAL {from} (proto_version '1', publication_names '{names}')",
            super::quoted(slot)
        );
        self.send(|out| frontend::query(&text, out)).await?;
        while self.frame().await?.0 != b'W' {}
        let Some(mut writing) = self.writing.take() else { return Err(protocol_error()) };
        self.progress.received.store(from.0, Ordering::Release);
        let progress = self.progress.clone();
        self.status_task = Some(tokio::spawn(async move {
            fault::thread("postgres-status");
            loop {
                let _ = tokio::time::timeout(STATUS_INTERVAL, progress.reply_now.notified()).await;
                let confirmed = progress.confirmed.load(Ordering::Acquire);
                let mut status = BytesMut::new();
                if put_status(progress.received.load(Ordering::Acquire).max(confirmed), confirmed, &mut status).is_err()
                    || writing.write_all(&status).await.is_err()
                    || writing.flush().await.is_err()
                {
                    // The reader notices that the connection is lost.
                    return;
                }
            }
        }));
        Ok(())
    }

    /// Confirms that everything before this position is durable: the server may discard it.
    pub fn confirm(&self, confirmed: Lsn) {
        self.progress.confirmed.fetch_max(confirmed.0, Ordering::AcqRel);
    }

    /// Reports the progress now.
    pub fn report_now(&self) {
        self.progress.reply_now.notify_one();
    }

    /// Returns the next event. Cancelling the call loses nothing.
    pub async fn next(&mut self) -> Result<StreamEvent, DatabaseError> {
        loop {
            let (tag, mut body) = self.frame().await?;
            match tag {
                b'd' if body.first() == Some(&b'w') && body.len() >= 25 => {
                    return Ok(StreamEvent::Message(body.split_off(25)));
                }
                b'd' if body.first() == Some(&b'k') && body.len() >= 18 => {
                    body.advance(1);
                    let (until, reply_now) = (body.get_u64(), body.slice(8..).first() == Some(&1));
                    self.progress.received.fetch_max(until, Ordering::AcqRel);
                    return Ok(StreamEvent::Until(Lsn(until), reply_now));
                }
                b'N' | b'S' => {}
                // The server stops.
                b'c' | b'C' | b'Z' => return Err(DatabaseError::transient("the server ended the stream".into())),
                _ => return Err(protocol_error()),
            }
        }
    }

    async fn send(&mut self, put: impl FnOnce(&mut BytesMut) -> io::Result<()>) -> Result<(), DatabaseError> {
        let broken = |error: io::Error| DatabaseError::of_io(&error);
        let mut out = BytesMut::new();
        put(&mut out).map_err(|error| DatabaseError::permanent(error.to_string()))?;
        let Some(writing) = &mut self.writing else { return Err(protocol_error()) };
        writing.write_all(&out).await.map_err(broken)?;
        writing.flush().await.map_err(broken)
    }

    /// Returns type and content of the next message; an error message of the server is an error.
    async fn frame(&mut self) -> Result<(u8, Bytes), DatabaseError> {
        loop {
            if let Some(head) = self.buffer.first_chunk::<5>() {
                let [tag, length @ ..] = *head;
                let length = u32::from_be_bytes(length) as usize;
                if length < 4 {
                    return Err(protocol_error());
                }
                if length > MESSAGE_BYTES_MAX {
                    let max = MESSAGE_BYTES_MAX >> 20;
                    return Err(DatabaseError::permanent(format!(
                        "a message of {length} bytes was received; the maximum is {max} MiB"
                    )));
                }
                if self.buffer.len() > length {
                    let mut message = self.buffer.split_to(length + 1).freeze();
                    message.advance(5);
                    return if tag == b'E' { Err(server_error(&message)) } else { Ok((tag, message)) };
                }
                self.buffer.reserve((length + 1 - self.buffer.len()).max(READ_BYTES));
            } else {
                self.buffer.reserve(READ_BYTES);
            }
            match self.reading.read_buf(&mut self.buffer).await {
                Ok(0) => return Err(DatabaseError::transient("the server closed the connection".into())),
                Ok(_) => {}
                Err(error) => return Err(DatabaseError::of_io(&error)),
            }
        }
    }
}

/// Converts the error to an I/O error.
fn needed_of<'a>(needed: &impl Fn() -> Result<&'a [u8], DatabaseError>) -> io::Result<&'a [u8]> {
    needed().map_err(|fault| io::Error::other(fault.message))
}

fn protocol_error() -> DatabaseError {
    DatabaseError::permanent("its message does not follow PostgreSQL's protocol".into())
}

/// Interprets an error message of the server.
fn server_error(body: &[u8]) -> DatabaseError {
    let field = |wanted: u8| {
        let mut fields = body.split(|byte| *byte == 0);
        let found = fields.find(|field| field.first() == Some(&wanted))?;
        Some(String::from_utf8_lossy(found.get(1..)?).into_owned())
    };
    let detail = field(b'D');
    DatabaseError::from_server(
        &field(b'C').unwrap_or_default(),
        &field(b'M').unwrap_or_default(),
        detail.as_deref(),
        None,
    )
}

/// Decodes the values of a row as text.
fn values(body: &mut Bytes) -> Option<Vec<Option<String>>> {
    let count = body.try_get_u16().ok()?;
    let mut row = Vec::new();
    for _ in 0..count {
        row.push(match usize::try_from(body.try_get_i32().ok()?) {
            Err(_) => None,
            Ok(length) if length <= body.len() => Some(String::from_utf8(body.split_to(length).to_vec()).ok()?),
            Ok(_) => return None,
        });
    }
    Some(row)
}

fn put_status(received: u64, confirmed: u64, out: &mut BytesMut) -> io::Result<()> {
    let mut status = BytesMut::new();
    status.put_u8(b'r');
    [received, confirmed, confirmed].into_iter().for_each(|position| status.put_u64(position));
    status.put_i64(millstream_base::time::now().0.saturating_sub(EPOCH_US));
    status.put_u8(0);
    frontend::CopyData::new(status)?.write(out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_postgresql_does() {
        assert_eq!(Lsn::parse("16/B374D848"), Some(Lsn(0x16_b374_d848)));
        for lsn in [Lsn(0), Lsn(0x16_b374_d848), Lsn(u64::MAX)] {
            assert_eq!(Lsn::parse(&lsn.to_string()), Some(lsn));
        }
        for wrong in ["", "1", "/", "1/", "x/1", "100000000/0"] {
            assert_eq!(Lsn::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn rows_and_complaints_of_any_bytes_are_read() {
        for length in 0..40 {
            let _ = values(&mut Bytes::from(vec![0; length]));
            let _ = values(&mut Bytes::from(vec![0xff; length]));
            let _ = server_error(&vec![b'C'; length]);
        }
        let error = server_error(b"SERROR\0C55006\0Mslot is active\0Dby another\0\0");
        assert_eq!(error.message, "PostgreSQL says: slot is active (by another) [55006]");
    }
}
