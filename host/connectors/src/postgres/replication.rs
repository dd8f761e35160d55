//! A connection of PostgreSQL's for replication: how it begins, and the stream of a slot on it. The driver for everything else knows no
//! such connections.
//!
//! A task of its own tells the server now and then how far the job has come, so that it neither takes the job for dead nor keeps its
//! log longer than it has to, however long nobody reads.

use super::tls::Handshake;
use super::{AnyStream, DatabaseError};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use millstream_base::fault;
use millstream_base::job::database::Mode;
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

/// How often a server is told how far the job has come; it gives up who says nothing for a minute, unless it is set otherwise.
const STATUS_EVERY: Duration = Duration::from_secs(3);
/// The longest message: a row of a table has up to 1 GiB, and comes twice where the old values come with it.
const MESSAGE_BYTES_MAX: usize = 256 << 20;
/// Bytes of the rows of a command, which has one row with some words.
const ROWS_BYTES_MAX: usize = 16 << 20;
/// How much is read at a time.
const READ_BYTES: usize = 64 << 10;
/// Microseconds between 1970 and 2000, where PostgreSQL's times begin.
pub const EPOCH_US: i64 = 946_684_800_000_000;

/// A place in a server's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lsn(pub u64);

impl Lsn {
    /// As PostgreSQL writes it: `16/B374D848`.
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

/// What a slot's stream brings.
pub enum Streamed {
    /// A message of the plugin that decodes the log.
    Message(Bytes),
    /// All that was committed before this place has been sent. Whether the server wants an answer at once.
    Until(Lsn, bool),
}

/// Such a connection.
pub struct Replication {
    reading: ReadHalf<AnyStream>,
    /// What came and was not looked at yet.
    buffer: BytesMut,
    /// `None`: whoever tells has it.
    writing: Option<WriteHalf<AnyStream>>,
    told: Arc<StandbyStatus>,
    telling: Option<JoinHandle<()>>,
}

/// How far a slot was read and is safe, as the server is told regularly.
#[derive(Default)]
struct StandbyStatus {
    received: AtomicU64,
    safe: AtomicU64,
    at_once: Notify,
}

impl Drop for Replication {
    fn drop(&mut self) {
        if let Some(telling) = &self.telling {
            telling.abort();
        }
    }
}

impl Replication {
    /// TLS where there is to be some, the greeting and the password.
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
            let answer = stream.read_u8().await.map_err(broken)?;
            match answer {
                b'S' => stream = handshake.begin(stream).await.map_err(broken)?,
                _ if handshake.ssl.mode == Mode::Prefer => {}
                _ => {
                    return Err(DatabaseError::lasting(
                        "TLS: the server does not support it; turn it on there (`ssl = on`), or set sslmode=disable on a trusted network"
                            .into(),
                    ));
                }
            }
        }
        let (reading, writing) = tokio::io::split(stream);
        let buffer = BytesMut::new();
        let mut begun = Replication { reading, buffer, writing: Some(writing), told: Arc::default(), telling: None };
        begun.greet(config).await?;
        Ok(begun)
    }

    async fn greet(&mut self, config: &Config) -> Result<(), DatabaseError> {
        let user = config.get_user().ok_or_else(|| DatabaseError::lasting("the URL names no user".into()))?;
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
                .ok_or_else(|| DatabaseError::lasting("the server requires a password, and the URL has none".into()))
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
            let wrong = |error: io::Error| DatabaseError::lasting(format!("the password cannot be proved: {error}"));
            match body.try_get_i32().map_err(|_| garbled())? {
                0 => {}
                3 => self.send(|out| frontend::password_message(needed_of(&needed)?, out)).await?,
                5 => {
                    let salt: [u8; 4] = *body.first_chunk().ok_or_else(garbled)?;
                    let hash = md5_hash(user.as_bytes(), needed()?, salt);
                    self.send(|out| frontend::password_message(hash.as_bytes(), out)).await?;
                }
                10 => {
                    if !body.split(|byte| *byte == 0).any(|name| name == sasl::SCRAM_SHA_256.as_bytes()) {
                        return Err(DatabaseError::lasting(
                            "the server requires password authentication other than SCRAM-SHA-256".into(),
                        ));
                    }
                    let begun = scram.insert(sasl::ScramSha256::new(needed()?, sasl::ChannelBinding::unsupported()));
                    let first = begun.message().to_vec();
                    self.send(|out| frontend::sasl_initial_response(sasl::SCRAM_SHA_256, &first, out)).await?;
                }
                11 => {
                    let scram = scram.as_mut().ok_or_else(garbled)?;
                    scram.update(&body).map_err(wrong)?;
                    let answer = scram.message().to_vec();
                    self.send(|out| frontend::sasl_response(&answer, out)).await?;
                }
                12 => scram.as_mut().ok_or_else(garbled)?.finish(&body).map_err(wrong)?,
                _ => {
                    return Err(DatabaseError::lasting(
                        "the server requires an unsupported authentication method".into(),
                    ));
                }
            }
        }
    }

    /// Where the log ends that the server has.
    pub async fn end(&mut self) -> Result<Lsn, DatabaseError> {
        let rows = self.query("IDENTIFY_SYSTEM").await?;
        let end = rows.first().and_then(|words| words.get(2)?.as_deref());
        end.and_then(Lsn::parse).ok_or_else(garbled)
    }

    /// Rows of a command.
    pub async fn query(&mut self, text: &str) -> Result<Vec<Vec<Option<String>>>, DatabaseError> {
        self.send(|out| frontend::query(text, out)).await?;
        let (mut rows, mut bytes, mut fault) = (Vec::new(), 0, None);
        loop {
            match self.frame().await {
                Ok((b'Z', _)) => return fault.map_or(Ok(rows), Err),
                Ok((b'D', mut body)) => {
                    bytes += body.len().max(READ_BYTES >> 10);
                    if bytes > ROWS_BYTES_MAX {
                        return Err(garbled());
                    }
                    rows.push(values(&mut body).ok_or_else(garbled)?);
                }
                Ok(_) => {}
                // What came first is why; a server may close the connection behind it.
                Err(told) => match fault.take() {
                    None if !told.passes() => fault = Some(told),
                    first => return Err(first.unwrap_or(told)),
                },
            }
        }
    }

    /// Begins the stream of a slot from this place on.
    pub async fn stream(&mut self, slot: &str, from: Lsn, publication: &str) -> Result<(), DatabaseError> {
        // A name in a list of names within a literal.
        let names = super::quoted(publication).replace('\'', "''");
        let text = format!(
            "START_REPLICATION SLOT {} LOGICAL {from} (proto_version '1', publication_names '{names}')",
            super::quoted(slot)
        );
        self.send(|out| frontend::query(&text, out)).await?;
        while self.frame().await?.0 != b'W' {}
        let Some(mut writing) = self.writing.take() else { return Err(garbled()) };
        self.told.received.store(from.0, Ordering::Release);
        let told = self.told.clone();
        self.telling = Some(tokio::spawn(async move {
            fault::thread("postgres-status");
            loop {
                let _ = tokio::time::timeout(STATUS_EVERY, told.at_once.notified()).await;
                let safe = told.safe.load(Ordering::Acquire);
                let mut status = BytesMut::new();
                if put_status(told.received.load(Ordering::Acquire).max(safe), safe, &mut status).is_err()
                    || writing.write_all(&status).await.is_err()
                    || writing.flush().await.is_err()
                {
                    // Whoever reads finds that the connection is lost.
                    return;
                }
            }
        }));
        Ok(())
    }

    /// All before this place is safe: the server may throw it away.
    pub fn confirm(&self, safe: Lsn) {
        self.told.safe.fetch_max(safe.0, Ordering::AcqRel);
    }

    /// Tells the server now how far it is.
    pub fn tell(&self) {
        self.told.at_once.notify_one();
    }

    /// What comes next. Nothing is lost where it is not waited for to the end.
    pub async fn next(&mut self) -> Result<Streamed, DatabaseError> {
        loop {
            let (tag, mut body) = self.frame().await?;
            match tag {
                b'd' if body.first() == Some(&b'w') && body.len() >= 25 => {
                    return Ok(Streamed::Message(body.split_off(25)));
                }
                b'd' if body.first() == Some(&b'k') && body.len() >= 18 => {
                    body.advance(1);
                    let (until, at_once) = (body.get_u64(), body.slice(8..).first() == Some(&1));
                    self.told.received.fetch_max(until, Ordering::AcqRel);
                    return Ok(Streamed::Until(Lsn(until), at_once));
                }
                b'N' | b'S' => {}
                // The server stops.
                b'c' | b'C' | b'Z' => return Err(DatabaseError::passing("the server ended the stream".into())),
                _ => return Err(garbled()),
            }
        }
    }

    async fn send(&mut self, put: impl FnOnce(&mut BytesMut) -> io::Result<()>) -> Result<(), DatabaseError> {
        let broken = |error: io::Error| DatabaseError::of_io(&error);
        let mut out = BytesMut::new();
        put(&mut out).map_err(|error| DatabaseError::lasting(error.to_string()))?;
        let Some(writing) = &mut self.writing else { return Err(garbled()) };
        writing.write_all(&out).await.map_err(broken)?;
        writing.flush().await.map_err(broken)
    }

    /// Kind and content of the next message; what the server complains of is an error.
    async fn frame(&mut self) -> Result<(u8, Bytes), DatabaseError> {
        loop {
            if let Some(head) = self.buffer.first_chunk::<5>() {
                let [tag, length @ ..] = *head;
                let length = u32::from_be_bytes(length) as usize;
                if length < 4 {
                    return Err(garbled());
                }
                if length > MESSAGE_BYTES_MAX {
                    let most = MESSAGE_BYTES_MAX >> 20;
                    return Err(DatabaseError::lasting(format!(
                        "a message of {length} bytes came, and {most} MiB is the most that is read"
                    )));
                }
                if self.buffer.len() > length {
                    let mut message = self.buffer.split_to(length + 1).freeze();
                    message.advance(5);
                    return if tag == b'E' { Err(complaint(&message)) } else { Ok((tag, message)) };
                }
                self.buffer.reserve((length + 1 - self.buffer.len()).max(READ_BYTES));
            } else {
                self.buffer.reserve(READ_BYTES);
            }
            match self.reading.read_buf(&mut self.buffer).await {
                Ok(0) => return Err(DatabaseError::passing("the server closed the connection".into())),
                Ok(_) => {}
                Err(error) => return Err(DatabaseError::of_io(&error)),
            }
        }
    }
}

/// For where an error has to be one of input and output.
fn needed_of<'a>(needed: &impl Fn() -> Result<&'a [u8], DatabaseError>) -> io::Result<&'a [u8]> {
    needed().map_err(|fault| io::Error::other(fault.message))
}

fn garbled() -> DatabaseError {
    DatabaseError::lasting("what it says is not of PostgreSQL's protocol".into())
}

/// What a server complains of.
fn complaint(body: &[u8]) -> DatabaseError {
    let field = |wanted: u8| {
        let mut fields = body.split(|byte| *byte == 0);
        let found = fields.find(|field| field.first() == Some(&wanted))?;
        Some(String::from_utf8_lossy(found.get(1..)?).into_owned())
    };
    let detail = field(b'D');
    DatabaseError::told(&field(b'C').unwrap_or_default(), &field(b'M').unwrap_or_default(), detail.as_deref(), None)
}

/// The values of a row, as text.
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

fn put_status(received: u64, safe: u64, out: &mut BytesMut) -> io::Result<()> {
    let mut status = BytesMut::new();
    status.put_u8(b'r');
    [received, safe, safe].into_iter().for_each(|place| status.put_u64(place));
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
            let _ = complaint(&vec![b'C'; length]);
        }
        let told = complaint(b"SERROR\0C55006\0Mslot is active\0Dby another\0\0");
        assert_eq!(told.message, "PostgreSQL says: slot is active (by another) [55006]");
    }
}
