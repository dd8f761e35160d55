//! The metadata of a topic's record, or of an event sent by a server. It precedes the value in a chunk, so that a record stays one piece of bytes
//! until a worker decodes it. Key and headers are included only if a column needs them.

use crate::batch::column::ColumnSource;
use crate::batch::parse::shown;
use hashbrown::HashMap;
use serde_json::Value;
use std::str::Utf8Error;

/// Header that holds the type of an event.
pub const EVENT: &str = "event";
/// Header that holds the ID of an event.
pub const ID: &str = "id";
/// Header that holds the operation of a change.
pub const OP: &str = "op";
/// Header that holds the topic of a message, if its chunk does not have it. No server's own header has this name.
pub const TOPIC: &str = "\0topic";

/// Which parts of a record's envelope (its key, headers, topic) a source keeps with the value, as columns need them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EnvelopeColumns {
    /// The key.
    pub key: bool,
    /// The headers.
    pub headers: bool,
    /// The topic.
    pub topic: bool,
}

impl EnvelopeColumns {
    /// Returns the parts that these columns need.
    pub fn for_columns<'a>(columns: impl Iterator<Item = &'a ColumnSource>) -> EnvelopeColumns {
        columns.fold(EnvelopeColumns::default(), |wanted, column| match column {
            ColumnSource::Key => EnvelopeColumns { key: true, ..wanted },
            ColumnSource::Topic | ColumnSource::Table => EnvelopeColumns { topic: true, ..wanted },
            ColumnSource::Headers
            | ColumnSource::Header(_)
            | ColumnSource::Event
            | ColumnSource::Id
            | ColumnSource::Op => EnvelopeColumns { headers: true, ..wanted },
            _ => wanted,
        })
    }
}

/// Size of the fixed parts: the total length, flags for the optional parts, the offset and the time.
const FIXED_BYTES: usize = 4 + 1 + 8 + 8;
const NULL_VALUE: u8 = 1;
const HAS_TIME: u8 = 2;
const HAS_KEY: u8 = 4;
/// The length that represents null.
const NULL: u32 = u32::MAX;

/// The envelope before a value, for reading.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    flags: u8,
    /// The record's offset in its partition.
    pub offset: u64,
    time_ms: i64,
    /// Key, then headers.
    rest: &'a [u8],
}

/// The metadata of a value, for writing.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordMetadata<'a> {
    /// The record's offset in its partition.
    pub offset: u64,
    /// Its time, in milliseconds since 1970.
    pub time_ms: Option<i64>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its headers, in order; a value may be null.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
    /// Whether the value is null, which differs from an empty value.
    pub null: bool,
}

/// Appends the envelope of a value; `None` if it is too long.
pub fn put(to: &mut Vec<u8>, metadata: &RecordMetadata<'_>) -> Option<()> {
    let start = to.len();
    let flag = |is: bool, flag: u8| if is { flag } else { 0 };
    let flags = flag(metadata.null, NULL_VALUE)
        | flag(metadata.time_ms.is_some(), HAS_TIME)
        | flag(metadata.key.is_some(), HAS_KEY);
    to.extend([0; 4]);
    to.push(flags);
    to.extend(metadata.offset.to_le_bytes());
    to.extend(metadata.time_ms.unwrap_or_default().to_le_bytes());
    if let Some(key) = metadata.key {
        put_bytes(to, key)?;
    }
    for (name, value) in metadata.headers {
        put_bytes(to, name.as_bytes())?;
        match value {
            Some(value) => put_bytes(to, value)?,
            None => to.extend(NULL.to_le_bytes()),
        }
    }
    let bytes = u32::try_from(to.len() - start).ok()?;
    to.get_mut(start..start + 4)?.copy_from_slice(&bytes.to_le_bytes());
    Some(())
}

fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    to.extend(u32::try_from(bytes.len()).ok().filter(|bytes| *bytes < NULL)?.to_le_bytes());
    to.extend(bytes);
    Some(())
}

/// Returns the offset of the value in a record.
#[inline]
pub fn value_start(record: &[u8]) -> usize {
    let bytes = record.first_chunk::<4>().map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize);
    bytes.min(record.len())
}

/// Reads the envelope before the value; `None` if the record has none.
#[inline]
pub fn read(record: &[u8]) -> Option<Envelope<'_>> {
    let envelope = record.get(..value_start(record))?;
    let (fixed, rest) = envelope.split_at_checked(FIXED_BYTES)?;
    let offset = u64::from_le_bytes(*fixed.get(5..)?.first_chunk()?);
    let time_ms = i64::from_le_bytes(*fixed.get(13..)?.first_chunk()?);
    Some(Envelope { flags: *fixed.get(4)?, offset, time_ms, rest })
}

impl<'a> Envelope<'a> {
    /// Returns whether the record's value is null.
    pub fn is_null(&self) -> bool {
        self.flags & NULL_VALUE != 0
    }

    /// Returns the record's time, in milliseconds since 1970.
    pub fn time_ms(&self) -> Option<i64> {
        (self.flags & HAS_TIME != 0).then_some(self.time_ms)
    }

    /// Returns the record's key, if it has one and the source kept it.
    pub fn key(&self) -> Option<&'a [u8]> {
        if self.flags & HAS_KEY == 0 { None } else { take_bytes(&mut &*self.rest).flatten() }
    }

    /// Returns the record's headers, if the source kept them.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        let mut rest = self.rest;
        if self.flags & HAS_KEY != 0 {
            take_bytes(&mut rest);
        }
        std::iter::from_fn(move || {
            let name = take_bytes(&mut rest)??;
            Some((name, take_bytes(&mut rest)?))
        })
    }

    /// Returns the value of the last header with this name.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers().filter(|(header, _)| *header == name.as_bytes()).last().and_then(|(_, value)| value)
    }

    /// Returns all headers as a JSON object, in their order. If a name is repeated, the last value wins. The error names a header that is not UTF-8.
    pub fn headers_as_json(&self) -> Result<String, String> {
        let quoted = |bytes: &[u8]| std::str::from_utf8(bytes).map(|text| Value::from(text).to_string());
        let mut members: Vec<(&[u8], Option<&[u8]>)> = Vec::new();
        let mut indexes: HashMap<&[u8], usize> = HashMap::new();
        // Internal names are not headers.
        for (name, value) in self.headers().filter(|(name, _)| !name.starts_with(b"\0")) {
            let index = *indexes.entry(name).or_insert(members.len());
            match members.get_mut(index) {
                Some((_, known)) => *known = value,
                None => members.push((name, value)),
            }
        }
        let written = members.iter().map(|(name, value)| -> Result<String, String> {
            let wrong = |error: Utf8Error| not_utf8(name, error);
            let value = value.map_or(Ok("null".to_owned()), quoted).map_err(wrong)?;
            Ok(format!("{}:{value}", quoted(name).map_err(wrong)?))
        });
        Ok(format!("{{{}}}", written.collect::<Result<Vec<String>, String>>()?.join(",")))
    }
}

/// Returns why a header cannot be part of a JSON object.
fn not_utf8(name: &[u8], error: Utf8Error) -> String {
    let (name, at) = (shown(&String::from_utf8_lossy(name)).into_owned(), error.valid_up_to());
    format!(
        "`headers`: header {name} is not UTF-8 at byte {at}; read it in a binary column with from = \"header.NAME\" instead"
    )
}

/// Takes length-prefixed bytes, which may be null, from the front; `None` if they are incomplete.
fn take_bytes<'a>(from: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let (length, rest) = from.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length);
    if length == NULL {
        *from = rest;
        return Some(None);
    }
    let (bytes, rest) = rest.split_at_checked(length as usize)?;
    *from = rest;
    Some(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_with_a_value_is_read_as_it_was_written() {
        let headers: &[(&str, Option<&[u8]>)] = &[("trace", Some(b"1")), ("gone", None), ("trace", Some(b"2"))];
        let metadata = RecordMetadata { offset: 7, time_ms: Some(-5), key: Some(b"k"), headers, null: false };
        let mut record = Vec::new();
        put(&mut record, &metadata).unwrap();
        record.extend(b"value");
        let read = super::read(&record).unwrap();
        assert_eq!((read.offset, read.time_ms(), read.key(), read.is_null()), (7, Some(-5), Some(&b"k"[..]), false));
        assert_eq!((read.header("trace"), read.header("gone"), read.header("none")), (Some(&b"2"[..]), None, None));
        assert_eq!(read.headers_as_json().unwrap(), r#"{"trace":"2","gone":null}"#);
        assert_eq!(&record[value_start(&record)..], b"value");

        let mut record = Vec::new();
        put(&mut record, &RecordMetadata { offset: u64::MAX, null: true, ..RecordMetadata::default() }).unwrap();
        let read = super::read(&record).unwrap();
        assert_eq!((read.offset, read.time_ms(), read.key(), read.is_null()), (u64::MAX, None, None, true));
        assert_eq!(read.headers_as_json().unwrap(), "{}");
        let headers: &[(&str, Option<&[u8]>)] = &[("a", Some(b"x")), ("b", Some(b"y\xff"))];
        let mut record = Vec::new();
        put(&mut record, &RecordMetadata { headers, ..RecordMetadata::default() }).unwrap();
        let error = super::read(&record).unwrap().headers_as_json().unwrap_err();
        assert!(error.starts_with("`headers`: header b is not UTF-8 at byte 1"), "{error}");
    }

    #[test]
    fn no_bytes_make_it_panic() {
        for bytes in
            [&b""[..], b"\x01", b"\xff\xff\xff\xff", b"\x15\0\0\0\x04", &[0x19, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0]]
        {
            let _ = super::read(bytes).map(|read| (read.key(), read.headers_as_json()));
        }
        let mut record = Vec::new();
        put(&mut record, &RecordMetadata { key: Some(b"key"), ..RecordMetadata::default() }).unwrap();
        record[FIXED_BYTES] = 200;
        assert_eq!(super::read(&record).unwrap().key(), None, "the key claims to be longer than it can be");
    }
}
