//! The `redis` source. A position is the id of the last entry that was read, and how many entries had been added to the stream up to it. So
//! entries that were trimmed before they were read are noticed: Redis trims regardless of readers.

use super::settings::RedisReads;
use crate::redis::{BLOCK_MAX, Command, Connection, RedisError, Response, Server, Value, error_message, is_transient};
use bytes::Bytes;
use millstream_base::error::Error;
use millstream_base::shown;
use millstream_connect::receiver::polled::position_field;
use millstream_connect::receiver::restart_hint;
use millstream_job::spec::{Origin, ServerStart, SourceSpec};
use millstream_rows::batch::column::{ColumnSource, TimeForm};
use millstream_rows::batch::envelope::ID;
use millstream_rows::batch::reading::{Message, ReadContent, ReadError, ReadPartition, ReadRows};
use millstream_rows::batch::types::ColumnType;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Target bytes of a response.
const RESPONSE_BYTES: u64 = 1 << 20;
/// Maximum bytes of a response with one entry in addition to its record: names, and fields without a column.
const OVERHEAD_BYTES: u64 = 16 << 20;
/// Assumed bytes of an entry until some were seen: reads a few large ones, and soon more if they are small.
const ENTRY_BYTES: u64 = 64 << 10;
/// How often a stream without new entries is checked, as it may have been deleted.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Reads one stream.
pub struct Redis {
    source: String,
    server: Server,
    reads: RedisReads,
    /// The form in which columns take the fields of entries.
    columns: BTreeMap<String, FieldForm>,
    open: Option<OpenStream>,
    /// The end of the stream when this run first checked it, for `start = "latest"`: no later entry is skipped if the connection is lost
    /// before there is a position.
    began: Option<RedisPosition>,
    /// Approximate bytes of an entry.
    entry_bytes: u64,
    /// Maximum bytes of a record.
    record_bytes_max: u64,
}

/// How a field is written to the record of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FieldForm {
    /// As a number or another JSON value, if it is valid.
    Json,
    /// As text.
    Text,
}

/// A stream that is being read.
struct OpenStream {
    connection: Connection,
    stream: String,
    at: RedisPosition,
    looked: Instant,
}

/// The read position of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct RedisPosition {
    /// The last entry that was read.
    id: EntryId,
    /// How many entries were added to the stream up to it; `None`: the server does not count them.
    added: Option<u64>,
}

/// The id of an entry: milliseconds since 1970, and a number within the millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct EntryId(u64, u64);

impl EntryId {
    fn parse(text: &str) -> Option<EntryId> {
        let (ms, number) = text.split_once('-')?;
        Some(EntryId(ms.parse().ok()?, number.parse().ok()?))
    }

    fn shown(self) -> String {
        format!("{}-{}", self.0, self.1)
    }
}

impl RedisPosition {
    fn parse(position: &[u8]) -> Option<RedisPosition> {
        let text = std::str::from_utf8(position).ok()?;
        let (id, added) = text.split_once(' ')?;
        let added = if added == "?" { None } else { Some(added.parse().ok()?) };
        Some(RedisPosition { id: EntryId::parse(id)?, added })
    }

    fn encode(self) -> Vec<u8> {
        let added = self.added.map_or("?".to_owned(), |added| added.to_string());
        format!("{} {added}", self.id.shown()).into_bytes()
    }
}

/// The server's description of a stream.
struct StreamFacts {
    length: u64,
    /// Number of entries ever added; not available before Redis 7.
    added: Option<u64>,
    first: Option<EntryId>,
    last: EntryId,
}

impl Redis {
    /// Creates a reader of this source's streams; or returns the invalid key, and why.
    pub fn new(source: &SourceSpec, reads: &RedisReads, origin: &Origin) -> Result<Redis, (&'static str, String)> {
        let mut columns = BTreeMap::new();
        for column in source.schema.iter().filter(|column| column.from == ColumnSource::Value) {
            let Some(field) = column.path.first() else { continue };
            let form = match column.kind {
                _ if column.path.len() > 1 => FieldForm::Json,
                ColumnType::Text | ColumnType::Binary => FieldForm::Text,
                ColumnType::Timestamp if !matches!(column.form, TimeForm::Number(_)) => FieldForm::Text,
                _ => FieldForm::Json,
            };
            if columns.insert(field.clone(), form).is_some_and(|other| other != form) {
                let name = field.escape_debug();
                let message = format!(
                    "columns read field `{name}` both as text and as a JSON value; read it into one column, and \
                     compute the others with `select`"
                );
                return Err(("schema", message));
            }
        }
        Ok(Redis {
            source: source.name.clone(),
            server: Server::new(&reads.url, source.tls.as_ref(), &origin.dir)?,
            reads: reads.clone(),
            columns,
            open: None,
            began: None,
            entry_bytes: ENTRY_BYTES,
            record_bytes_max: source.record_bytes_max,
        })
    }

    fn read_error(&self, stream: &str, error: &RedisError) -> ReadError {
        let message = match error.is_of_connection() {
            true => format!("{}: {}", self.server.server_name(), error_message(error)),
            false => error_message(error),
        };
        match is_transient(error) {
            true => ReadError::Transient(message),
            false => self.permanent(stream, &message),
        }
    }

    fn permanent(&self, stream: &str, what: &str) -> ReadError {
        let (source, stream) = (&self.source, shown::harmless(stream, 200));
        ReadError::Permanent(Error::job(format!("source `{source}`: stream `{stream}`: {what}")))
    }

    /// Queries a stream; `None`: it does not exist (yet).
    fn facts(connection: &mut Connection, stream: &str) -> Result<Option<StreamFacts>, RedisError> {
        let kind = connection.text(&Command::new("TYPE").arg(stream))?;
        if kind == "none" {
            return Ok(None);
        }
        // The response contains the first and the last entry, whose ids are enough.
        let read_error = connection.request(&Command::new("XINFO").arg("STREAM").arg(stream))?.value;
        let fields = pairs(read_error).unwrap_or_default();
        let field = |name: &str| {
            fields.iter().find(|(field, _)| field.text().as_deref() == Some(name)).map(|(_, value)| value.clone())
        };
        let number = |name: &str| field(name)?.number();
        let first = match field("first-entry") {
            Some(Value::Array(entry)) => entry.first().and_then(Value::text).and_then(|id| EntryId::parse(&id)),
            _ => None,
        };
        let last = field("last-generated-id").as_ref().and_then(Value::text).and_then(|id| EntryId::parse(&id));
        Ok(Some(StreamFacts {
            length: number("length").unwrap_or_default(),
            added: number("entries-added"),
            first,
            last: last.unwrap_or_default(),
        }))
    }

    /// Checks that all entries after this one still exist.
    fn check(&self, stream: &str, at: RedisPosition, facts: &StreamFacts) -> Result<(), ReadError> {
        let other = || {
            let what = "the job has read another stream of this name up to entry";
            let read_error =
                format!("{what} {}; {} to read it from its beginning", at.id.shown(), restart_hint(&self.source));
            Err(self.permanent(stream, &read_error))
        };
        if facts.last < at.id {
            return other();
        }
        let (Some(added), Some(read)) = (facts.added, at.added) else { return Ok(()) };
        let all_new = facts.first.is_none_or(|first| first > at.id);
        let Some(new) = added.checked_sub(read).filter(|new| !all_new || facts.length <= *new) else { return other() };
        let missing = new.saturating_sub(facts.length);
        if all_new && missing > 0 {
            let read_error = format!(
                "{missing} entries after {} were deleted before the job read them; let the stream keep more (MAXLEN, MINID), and {} \
                 to continue with the existing entries",
                at.id.shown(),
                restart_hint(&self.source)
            );
            return Err(self.permanent(stream, &read_error));
        }
        Ok(())
    }

    /// Checks that an idle stream is still the one that was read: a deletion is reported.
    fn check_idle_stream(&self, open: &mut OpenStream) -> Result<(), ReadError> {
        if open.looked.elapsed() < CHECK_INTERVAL {
            return Ok(());
        }
        open.looked = Instant::now();
        let facts =
            Redis::facts(&mut open.connection, &open.stream).map_err(|error| self.read_error(&open.stream, &error))?;
        match facts {
            Some(facts) => self.check(&open.stream, open.at, &facts),
            None if open.at.id == EntryId::default() => Ok(()),
            None => Err(self.missing_stream(&open.stream)),
        }
    }

    fn missing_stream(&self, stream: &str) -> ReadError {
        ReadError::Transient(format!("stream `{}` no longer exists", shown::harmless(stream, 200)))
    }

    /// Converts an entry to a message; or returns its bytes and why it is invalid.
    fn message(&self, stream: &str, id: &str, fields: Vec<(Bytes, Bytes)>) -> Result<Message, (Vec<u8>, String)> {
        let value = match &self.reads.field {
            Some(name) => fields.into_iter().find(|(field, _)| field == name.as_bytes()).map(|(_, value)| value),
            None => Some(self.object(&fields)?),
        };
        let time_ms = EntryId::parse(id).and_then(|id| i64::try_from(id.0).ok());
        let headers = vec![(ID.to_owned(), Some(Bytes::copy_from_slice(id.as_bytes())))];
        Ok(Message { value, headers, time_ms, topic: Some(stream.to_owned()), ..Message::default() })
    }

    /// Encodes fields as a JSON object.
    fn object(&self, fields: &[(Bytes, Bytes)]) -> Result<Bytes, (Vec<u8>, String)> {
        let mut object = String::from("{");
        for (name, value) in fields {
            let Ok(name) = std::str::from_utf8(name) else { continue };
            let Some(form) = self.columns.get(name) else { continue };
            let Ok(value) = std::str::from_utf8(value) else {
                return Err((value.to_vec(), format!("field `{}` is not UTF-8", shown::harmless(name, 100))));
            };
            if object.len() > 1 {
                object.push(',');
            }
            object.push_str(&Json::from(name).to_string());
            object.push(':');
            match *form == FieldForm::Json && serde_json::from_str::<serde::de::IgnoredAny>(value).is_ok() {
                true => object.push_str(value),
                false => object.push_str(&Json::from(value).to_string()),
            }
        }
        object.push('}');
        Ok(object.into())
    }

    fn read(&mut self, rows_max: u32, wait: Duration) -> Result<ReadRows, ReadError> {
        let Some(mut open) = self.open.take() else { return Err(ReadError::Transient("it is not connected".into())) };
        let count = (RESPONSE_BYTES / self.entry_bytes.max(1)).clamp(1, rows_max.into());
        let wait_ms = wait.min(BLOCK_MAX).as_millis().max(1);
        let command = Command::new("XREAD").arg("COUNT").arg(count).arg("BLOCK").arg(wait_ms);
        let result = open.connection.request(&command.arg("STREAMS").arg(&open.stream).arg(open.at.id.shown()));
        let Response { value, cut } = result.map_err(|error| self.read_error(&open.stream, &error))?;
        if cut.is_some() && count > 1 {
            // They are longer than earlier ones: one by one they may fit.
            self.entry_bytes = RESPONSE_BYTES;
            self.open = Some(open);
            return Ok(no_rows());
        }
        let found = match cut {
            None => entries(value),
            Some(_) => first_id(value).map(|id| vec![(id, Vec::new())]),
        };
        let mut entries = found.ok_or_else(|| self.permanent(&open.stream, "the server's reply does not fit XREAD"))?;
        // Entries beyond the requested number are read again.
        entries.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        let before = open.at;
        if entries.is_empty() {
            self.check_idle_stream(&mut open)?;
            self.open = Some(open);
            return Ok(no_rows());
        }
        let (mut messages, mut rejected, mut bytes) = (Vec::new(), Vec::new(), 0_u64);
        let count = entries.len() as u64;
        for (id, fields) in entries {
            let parsed = EntryId::parse(&id).filter(|id| *id > open.at.id);
            open.at.id = parsed.ok_or_else(|| self.permanent(&open.stream, "the server's entries are not in order"))?;
            bytes += fields.iter().map(|(name, value)| (name.len() + value.len()) as u64).sum::<u64>();
            if let Some(cut) = cut {
                let reason = format!("{cut} bytes, record_bytes_max is {}", self.record_bytes_max);
                rejected.push((id.into_bytes(), reason));
                continue;
            }
            match self.message(&open.stream, &id, fields) {
                Ok(message) => messages.push(message),
                Err(row) => rejected.push(row),
            }
        }
        // So that the next response is at most a few times as long as this one.
        self.entry_bytes = cut.unwrap_or(bytes).div_ceil(count).max(self.entry_bytes / 4).max(1);
        // The server's count shows whether entries were trimmed between the last read and this one.
        let facts =
            Redis::facts(&mut open.connection, &open.stream).map_err(|error| self.read_error(&open.stream, &error))?;
        open.at.added = before.added.map(|added| added + count);
        if let Some(facts) = facts {
            self.check(&open.stream, open.at, &facts)?;
        }
        let position = Some(open.at.encode());
        self.open = Some(open);
        Ok(ReadRows { content: ReadContent::Messages(messages), rejected, position, pause: Some(Duration::ZERO) })
    }
}

impl ReadPartition for Redis {
    fn partitions(&mut self) -> Result<Vec<String>, ReadError> {
        Ok(self.reads.streams.clone())
    }

    fn open(&mut self, stream: &str, position: Option<&[u8]>) -> Result<(), ReadError> {
        let read_error = |this: &Redis, error: RedisError| this.read_error(stream, &error);
        let kept_max = usize::try_from(self.record_bytes_max.saturating_add(OVERHEAD_BYTES)).unwrap_or(usize::MAX);
        let mut connection = self.server.connect(kept_max).map_err(|error| read_error(self, error))?;
        let facts = Redis::facts(&mut connection, stream).map_err(|error| read_error(self, error))?;
        let at = match (position, facts) {
            (Some(position), Some(facts)) => {
                let at = RedisPosition::parse(position)
                    .ok_or_else(|| self.permanent(stream, "its position is not a Redis position"))?;
                self.check(stream, at, &facts)?;
                at
            }
            (Some(_), None) => {
                return Err(self.missing_stream(stream));
            }
            (None, None) => RedisPosition { id: EntryId::default(), added: Some(0) },
            (None, Some(facts)) => match (self.reads.start, self.began) {
                (ServerStart::Latest, Some(began)) => {
                    self.check(stream, began, &facts)?;
                    began
                }
                (ServerStart::Latest, None) => RedisPosition { id: facts.last, added: facts.added },
                (ServerStart::Earliest, _) => RedisPosition {
                    id: EntryId::default(),
                    added: facts.added.map(|added| added.saturating_sub(facts.length)),
                },
            },
        };
        if position.is_none() {
            self.began = Some(at);
        }
        self.open = Some(OpenStream { connection, stream: stream.to_owned(), at, looked: Instant::now() });
        Ok(())
    }

    fn shown<'a>(&self, position: &'a str) -> &'a str {
        position_field(position, 0)
    }

    fn is_open(&self) -> bool {
        self.open.is_some()
    }

    fn poll(&mut self, rows_max: u32, wait: Duration) -> Result<ReadRows, ReadError> {
        self.read(rows_max, wait)
    }
}

fn no_rows() -> ReadRows {
    ReadRows {
        content: ReadContent::Messages(Vec::new()),
        rejected: Vec::new(),
        position: None,
        pause: Some(Duration::ZERO),
    }
}

/// Splits a list into names and values.
fn pairs(value: Value) -> Option<Vec<(Value, Value)>> {
    match value {
        Value::Array(values) => {
            let mut values = values.into_iter();
            Some(std::iter::from_fn(|| Some((values.next()?, values.next()?))).collect())
        }
        _ => None,
    }
}

type Entry = (String, Vec<(Bytes, Bytes)>);

/// Returns the undecoded entries of a response about one stream; `None` if it is invalid.
fn entries_of(response: Value) -> Option<Vec<Value>> {
    // One stream was requested.
    let Value::Array(streams) = response else { return None };
    let Value::Array(stream) = streams.into_iter().next()? else { return None };
    match stream.into_iter().nth(1)? {
        Value::Array(entries) => Some(entries),
        _ => None,
    }
}

/// Returns the id of the first entry of a truncated response.
fn first_id(response: Value) -> Option<String> {
    match entries_of(response)?.into_iter().next()? {
        Value::Array(parts) => parts.first()?.text(),
        _ => None,
    }
}

/// Returns the entries of a response about one stream; `None` if it is invalid.
fn entries(response: Value) -> Option<Vec<Entry>> {
    if response == Value::Nil {
        return Some(Vec::new());
    }
    let entries = entries_of(response)?;
    let entry = |entry: Value| {
        let Value::Array(parts) = entry else { return None };
        let mut parts = parts.into_iter();
        let (id, fields) = (parts.next()?.text()?, parts.next()?);
        let fields = match fields {
            Value::Array(fields) => fields,
            // It was deleted meanwhile.
            _ => Vec::new(),
        };
        let bytes = |value: Option<Value>| match value? {
            Value::BulkString(bytes) => Some(Bytes::from(bytes)),
            _ => None,
        };
        let mut fields = fields.into_iter();
        let mut pairs = Vec::new();
        while let Some(name) = fields.next() {
            pairs.push((bytes(Some(name))?, bytes(fields.next())?));
        }
        Some((id, pairs))
    };
    entries.into_iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_they_were_written() {
        for at in [RedisPosition::default(), RedisPosition { id: EntryId(1, u64::MAX), added: Some(7) }] {
            assert_eq!(RedisPosition::parse(&at.encode()), Some(at));
        }
        for other in [&b""[..], b"1-2", b"1 2", b"1-x 3", b"\xff"] {
            assert_eq!(RedisPosition::parse(other), None, "{other:?}");
        }
        assert!(EntryId::parse("2-0") > EntryId::parse("1-999"));
    }
}
