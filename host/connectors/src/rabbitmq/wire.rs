//! Frames of AMQP 0-9-1: parses and encodes them and their content. Does no I/O.

use bytes::{Buf, Bytes, BytesMut};
use millstream_connect::dial::ProtocolError;

pub const METHOD: u8 = 1;
pub const HEADER: u8 = 2;
pub const BODY: u8 = 3;
pub const HEARTBEAT: u8 = 8;
const END: u8 = 0xce;
/// Maximum bytes of a received frame, more than servers use in practice.
const FRAME_BYTES_MAX: usize = 16 << 20;

/// A frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub channel: u16,
    pub payload: Bytes,
}

/// Takes the next frame out of `buffer`, or returns `None` if it is incomplete.
pub fn take(buffer: &mut BytesMut) -> Result<Option<Frame>, ProtocolError> {
    let Some((head, _)) = buffer.split_first_chunk::<7>() else { return Ok(None) };
    let [kind, c0, c1, s0, s1, s2, s3] = *head;
    if kind == b'A' {
        return Err(ProtocolError("it uses another version of AMQP than 0-9-1"));
    }
    if !matches!(kind, METHOD | HEADER | BODY | HEARTBEAT) {
        return Err(ProtocolError("a frame is of no known kind"));
    }
    let size = u32::from_be_bytes([s0, s1, s2, s3]) as usize;
    if size > FRAME_BYTES_MAX {
        return Err(ProtocolError("a frame is too long"));
    }
    if buffer.len() < size + 8 {
        buffer.reserve(size + 8 - buffer.len());
        return Ok(None);
    }
    if buffer.get(size + 7) != Some(&END) {
        return Err(ProtocolError("a frame does not end at its declared length"));
    }
    buffer.advance(7);
    let payload = buffer.split_to(size).freeze();
    buffer.advance(1);
    Ok(Some(Frame { kind, channel: u16::from_be_bytes([c0, c1]), payload }))
}

/// Encodes a frame.
pub fn put(to: &mut Vec<u8>, kind: u8, channel: u16, payload: &[u8]) {
    to.push(kind);
    to.extend(channel.to_be_bytes());
    to.extend(u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes());
    to.extend_from_slice(payload);
    to.push(END);
}

/// Encodes the content of a frame.
#[derive(Default)]
pub struct FrameWriter(pub Vec<u8>);

impl FrameWriter {
    /// Starts a method.
    pub fn method(class: u16, method: u16) -> FrameWriter {
        FrameWriter::default().u16(class).u16(method)
    }
    pub fn u8(mut self, value: u8) -> FrameWriter {
        self.0.push(value);
        self
    }
    pub fn u16(mut self, value: u16) -> FrameWriter {
        self.0.extend(value.to_be_bytes());
        self
    }
    pub fn u32(mut self, value: u32) -> FrameWriter {
        self.0.extend(value.to_be_bytes());
        self
    }
    pub fn u64(mut self, value: u64) -> FrameWriter {
        self.0.extend(value.to_be_bytes());
        self
    }
    /// A short string. Callers check that it has at most 255 bytes.
    pub fn short(mut self, text: &str) -> FrameWriter {
        let bytes = text.as_bytes().get(..text.len().min(255)).unwrap_or_default();
        self.0.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
        self.0.extend_from_slice(bytes);
        self
    }
    pub fn long(mut self, bytes: &[u8]) -> FrameWriter {
        self.0.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.0.extend_from_slice(bytes);
        self
    }
    /// A table.
    pub fn table(self, entries: &[(&str, Field)]) -> FrameWriter {
        let mut inner = FrameWriter::default();
        for (name, field) in entries {
            inner = inner.short(name);
            inner = match field {
                Field::Flag(flag) => inner.u8(b't').u8(u8::from(*flag)),
                Field::Number(number) => inner.u8(b'l').u64(number.cast_unsigned()),
                Field::Seconds(seconds) => inner.u8(b'T').u64(*seconds),
                Field::Text(text) => inner.u8(b'S').long(text.as_bytes()),
                Field::Table(entries) => inner.u8(b'F').table(entries),
            };
        }
        self.long(&inner.0)
    }
}

/// A value of an encoded table.
pub enum Field<'a> {
    Flag(bool),
    Number(i64),
    /// A time in seconds since 1970.
    Seconds(u64),
    Text(&'a str),
    Table(&'a [(&'a str, Field<'a>)]),
}

/// Parses the content of a frame. A short frame is an error.
pub struct FrameReader(pub Bytes);

const SHORT: ProtocolError = ProtocolError("a frame is shorter than its content");

impl FrameReader {
    fn bytes(&mut self, count: usize) -> Result<Bytes, ProtocolError> {
        if self.0.len() < count { Err(SHORT) } else { Ok(self.0.split_to(count)) }
    }
    pub fn u8(&mut self) -> Result<u8, ProtocolError> {
        self.0.try_get_u8().map_err(|_| SHORT)
    }
    pub fn u16(&mut self) -> Result<u16, ProtocolError> {
        self.0.try_get_u16().map_err(|_| SHORT)
    }
    pub fn u32(&mut self) -> Result<u32, ProtocolError> {
        self.0.try_get_u32().map_err(|_| SHORT)
    }
    pub fn u64(&mut self) -> Result<u64, ProtocolError> {
        self.0.try_get_u64().map_err(|_| SHORT)
    }
    /// A short string. Servers do not check that it is UTF-8.
    pub fn short(&mut self) -> Result<String, ProtocolError> {
        let length = self.u8()?;
        Ok(String::from_utf8_lossy(&self.bytes(length.into())?).into_owned())
    }
    pub fn long(&mut self) -> Result<Bytes, ProtocolError> {
        let length = self.u32()?;
        self.bytes(length as usize)
    }
    /// A table, as names and values.
    pub fn table(&mut self) -> Result<Vec<(String, Option<Bytes>)>, ProtocolError> {
        let mut inner = FrameReader(self.long()?);
        let mut entries = Vec::new();
        while !inner.0.is_empty() {
            let name = inner.short()?;
            entries.push((name, inner.value()?));
        }
        Ok(entries)
    }

    /// A value as text. `None` is a void value, or a table or array, whose content is skipped.
    fn value(&mut self) -> Result<Option<Bytes>, ProtocolError> {
        let kind = self.u8()?;
        let text = |text: String| Ok(Some(Bytes::from(text)));
        match kind {
            b't' => text((self.u8()? != 0).to_string()),
            b'b' => text(self.u8()?.cast_signed().to_string()),
            b'B' => text(self.u8()?.to_string()),
            b's' | b'U' => text(self.u16()?.cast_signed().to_string()),
            b'u' => text(self.u16()?.to_string()),
            b'I' => text(self.u32()?.cast_signed().to_string()),
            b'i' => text(self.u32()?.to_string()),
            b'l' | b'L' => text(self.u64()?.cast_signed().to_string()),
            b'T' => text(self.u64()?.to_string()),
            b'f' => text(f32::from_bits(self.u32()?).to_string()),
            b'd' => text(f64::from_bits(self.u64()?).to_string()),
            b'D' => {
                let (scale, digits) = (self.u8()?, self.u32()?.cast_signed());
                text(format!("{digits}e-{scale}"))
            }
            b'S' | b'x' => Ok(Some(self.long()?)),
            b'V' => Ok(None),
            b'A' | b'F' => {
                self.long()?;
                Ok(None)
            }
            _ => Err(ProtocolError("a value in a table is of no known kind")),
        }
    }
}

/// The properties of a message.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// Bytes of the body.
    pub bytes: u64,
    pub headers: Vec<(String, Option<Bytes>)>,
    pub message_id: Option<String>,
    /// Seconds since 1970.
    pub timestamp_s: Option<u64>,
}

impl Properties {
    /// Parses the payload of a header frame.
    pub fn read(payload: Bytes) -> Result<Properties, ProtocolError> {
        let mut r = FrameReader(payload);
        let (_class, _weight) = (r.u16()?, r.u16()?);
        let mut found = Properties { bytes: r.u64()?, ..Properties::default() };
        let flags = r.u16()?;
        let has = |bit: u16| flags & (1 << bit) != 0;
        // Content type and encoding.
        for bit in [15, 14] {
            if has(bit) {
                r.short()?;
            }
        }
        if has(13) {
            found.headers = r.table()?;
        }
        // Delivery mode and priority.
        for bit in [12, 11] {
            if has(bit) {
                r.u8()?;
            }
        }
        // Correlation ID, reply-to and expiration.
        for bit in [10, 9, 8] {
            if has(bit) {
                r.short()?;
            }
        }
        if has(7) {
            found.message_id = Some(r.short()?);
        }
        if has(6) {
            found.timestamp_s = Some(r.u64()?);
        }
        Ok(found)
    }
}

/// Encodes a message to an exchange: a method, a header, and frames of the body.
pub fn publish(to: &mut Vec<u8>, channel: u16, frame_max: usize, message: &Outgoing<'_>) {
    const MANDATORY: u8 = 1;
    let Outgoing { exchange, routing_key, content_type, id, body } = message;
    put(to, METHOD, channel, &FrameWriter::method(60, 40).u16(0).short(exchange).short(routing_key).u8(MANDATORY).0);
    // Content type, delivery mode (2: persistent), message ID.
    let flags = 1 << 15 | 1 << 12 | 1 << 7;
    let header = FrameWriter::method(60, 0).u64(body.len() as u64).u16(flags).short(content_type).u8(2).short(id);
    put(to, HEADER, channel, &header.0);
    for piece in body.chunks(frame_max.saturating_sub(8).max(1)) {
        put(to, BODY, channel, piece);
    }
}

/// A message to publish.
pub struct Outgoing<'a> {
    pub exchange: &'a str,
    pub routing_key: &'a str,
    pub content_type: &'a str,
    pub id: &'a str,
    pub body: &'a [u8],
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Vec<Frame> {
        let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
        for byte in bytes {
            buffer.extend([byte]);
            found.extend(take(&mut buffer).unwrap());
        }
        found
    }

    #[test]
    fn frames_round_trip() {
        let mut bytes = Vec::new();
        put(&mut bytes, METHOD, 1, &FrameWriter::method(60, 80).u64(7).u8(1).0);
        put(&mut bytes, HEARTBEAT, 0, &[]);
        let found = all(&bytes);
        assert_eq!(found.len(), 2);
        let mut r = FrameReader(found[0].payload.clone());
        assert_eq!((r.u16(), r.u16(), r.u64(), r.u8(), r.u8()), (Ok(60), Ok(80), Ok(7), Ok(1), Err(SHORT)));
        for wrong in [&b"AMQP\0\0\x09\x01"[..], b"\x09\0\0\0\0\0\0\xce", b"\x01\0\0\xff\0\0\0", b"\x01\0\0\0\0\0\0\0"] {
            assert!(take(&mut BytesMut::from(wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn messages_are_encoded_in_frames() {
        let mut bytes = Vec::new();
        let message =
            Outgoing { exchange: "e", routing_key: "k", content_type: "text/plain", id: "7", body: b"0123456789" };
        publish(&mut bytes, 1, 12, &message);
        let found = all(&bytes);
        assert_eq!(found.iter().map(|frame| frame.kind).collect::<Vec<_>>(), [METHOD, HEADER, BODY, BODY, BODY]);
        let properties = Properties::read(found[1].payload.clone()).unwrap();
        assert_eq!((properties.bytes, properties.message_id.as_deref()), (10, Some("7")));
    }

    #[test]
    fn values_of_tables_are_text() {
        let inner = [("x", Field::Number(1))];
        let entries =
            [("a", Field::Flag(true)), ("n", Field::Number(-5)), ("s", Field::Text("t")), ("f", Field::Table(&inner))];
        let written = FrameWriter::default().table(&entries);
        let entry_list = FrameReader(written.0.into()).table().unwrap();
        let text = |at: usize| entry_list[at].1.as_ref().map(|value| String::from_utf8_lossy(value).into_owned());
        assert_eq!(
            [text(0), text(1), text(2), text(3)],
            [Some("true".into()), Some("-5".into()), Some("t".into()), None]
        );
        // Nested arrays: an error would repeat forever, as the server delivers the message again.
        let mut deep = FrameWriter::default().u8(b'V').0;
        for _ in 0..10_000 {
            deep = FrameWriter::default().u8(b'A').long(&deep).0;
        }
        let table = FrameWriter::default()
            .long(&FrameWriter::default().short("d").0.into_iter().chain(deep).collect::<Vec<_>>());
        assert_eq!(FrameReader(table.0.into()).table(), Ok(vec![("d".to_owned(), None)]));
    }
}
