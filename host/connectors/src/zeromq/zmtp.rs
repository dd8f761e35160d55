//! ZMTP 3, the protocol between ZeroMQ sockets: encodes and decodes greetings, commands and frames. Nothing here blocks.

use bytes::{Buf, Bytes, BytesMut};
use millstream_connect::dial::ProtocolError;

/// Bytes of a greeting.
pub const GREETING_BYTES: usize = 64;
/// Bytes of it up to the version.
pub const VERSION_BYTES: usize = 11;
/// Maximum bytes of a command.
const COMMAND_BYTES_MAX: u64 = 64 << 10;
/// Maximum frames of a message.
const FRAMES_MAX: u32 = 10_000;
const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// Returns the greeting of a socket with this authentication mechanism.
pub fn greeting(mechanism: &str, as_server: bool) -> [u8; GREETING_BYTES] {
    let mut greeting = [0; GREETING_BYTES];
    greeting[0] = 0xff;
    greeting[9] = 0x7f;
    greeting[10] = 3;
    for (to, from) in greeting.iter_mut().skip(12).zip(mechanism.bytes().take(20)) {
        *to = from;
    }
    greeting[32] = u8::from(as_server);
    greeting
}

/// Returns the mechanism of the other side's greeting.
pub fn mechanism(greeting: &[u8; GREETING_BYTES]) -> Result<String, ProtocolError> {
    if greeting[0] != 0xff || greeting[9] & 1 == 0 {
        return Err(ProtocolError("its first bytes are not ZeroMQ"));
    }
    if greeting[10] < 3 {
        return Err(ProtocolError("it uses a protocol version before 3 (ZeroMQ 4); upgrade it"));
    }
    let name = greeting.get(12..32).unwrap_or_default();
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    let name = name.get(..end).unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

/// Encodes a command.
pub fn command(to: &mut Vec<u8>, name: &str, body: &[u8]) {
    frame(to, COMMAND, &[&[u8::try_from(name.len()).unwrap_or(u8::MAX)], name.as_bytes(), body].concat());
}

/// Encodes a message of one frame.
pub fn message(to: &mut Vec<u8>, body: &[u8]) {
    frame(to, 0, body);
}

fn frame(to: &mut Vec<u8>, flags: u8, body: &[u8]) {
    match u8::try_from(body.len()) {
        Ok(short) => to.extend([flags, short]),
        Err(_) => {
            to.push(flags | LONG);
            to.extend((body.len() as u64).to_be_bytes());
        }
    }
    to.extend_from_slice(body);
}

/// Encodes a property of a socket, as in `READY` and `INITIATE`.
pub fn property(to: &mut Vec<u8>, name: &str, value: &[u8]) {
    to.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    to.extend_from_slice(name.as_bytes());
    to.extend(u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
    to.extend_from_slice(value);
}

/// Returns the value of a property, whose name is not case-sensitive.
pub fn property_of(mut body: &[u8], wanted: &str) -> Option<String> {
    loop {
        let (length, rest) = body.split_first()?;
        let (name, rest) = rest.split_at_checked((*length).into())?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        if name.eq_ignore_ascii_case(wanted.as_bytes()) {
            return Some(String::from_utf8_lossy(value).into_owned());
        }
        body = rest;
    }
}

/// A decoded frame sequence.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    Command {
        name: String,
        body: Bytes,
    },
    /// A message: its first frame, if it has several, and its last.
    Message {
        topic: Option<Bytes>,
        value: Bytes,
    },
    /// A message that is too long: the beginning of its last frame, and the bytes of all of its frames.
    Long {
        start: Bytes,
        bytes: u64,
    },
}

/// Decodes messages.
pub struct Decoder {
    bytes_max: u64,
    /// Kept bytes of a message that is too long.
    kept_max: u64,
    /// Bytes of a frame that are still to be skipped.
    skip: u64,
    frames: u32,
    bytes: u64,
    topic: Option<Bytes>,
    is_long: bool,
    /// The beginning of a long message's last frame; it is returned when the frame is skipped.
    long: Option<(Bytes, bool)>,
}

impl Decoder {
    /// Creates a decoder of messages of at most this many bytes.
    pub fn new(bytes_max: u64, kept_max: u64) -> Decoder {
        Decoder { bytes_max, kept_max, skip: 0, frames: 0, bytes: 0, topic: None, is_long: false, long: None }
    }

    /// Returns the next one; `None`: it is incomplete.
    pub fn take(&mut self, buffer: &mut BytesMut) -> Result<Option<Incoming>, ProtocolError> {
        loop {
            if self.skip > 0 {
                let now = usize::try_from(self.skip).unwrap_or(usize::MAX).min(buffer.len());
                buffer.advance(now);
                self.skip -= now as u64;
                if self.skip > 0 {
                    return Ok(None);
                }
            }
            if let Some((start, more)) = self.long.take()
                && !more
            {
                let bytes = self.bytes;
                self.begin();
                return Ok(Some(Incoming::Long { start, bytes }));
            }
            let Some((flags, head, size)) = Decoder::head(buffer)? else { return Ok(None) };
            if flags & COMMAND != 0 {
                return Decoder::command(buffer, head, size);
            }
            let more = flags & MORE != 0;
            if self.is_long || self.bytes.saturating_add(size) > self.bytes_max {
                let kept = size.min(self.kept_max) as usize;
                if buffer.len() < head + kept {
                    return Ok(None);
                }
                self.count(size)?;
                self.is_long = true;
                buffer.advance(head);
                self.long = Some((Bytes::copy_from_slice(buffer.get(..kept).unwrap_or_default()), more));
                self.skip = size;
                continue;
            }
            let size_here = size as usize;
            if buffer.len() < head + size_here {
                buffer.reserve(head + size_here - buffer.len());
                return Ok(None);
            }
            self.count(size)?;
            buffer.advance(head);
            let body = buffer.split_to(size_here).freeze();
            match more {
                true if self.frames == 1 => self.topic = Some(body),
                true => {}
                false => {
                    let topic = self.topic.take();
                    self.begin();
                    return Ok(Some(Incoming::Message { topic, value: body }));
                }
            }
        }
    }

    /// Begins a message.
    fn begin(&mut self) {
        *self = Decoder::new(self.bytes_max, self.kept_max);
    }

    fn count(&mut self, size: u64) -> Result<(), ProtocolError> {
        self.frames += 1;
        self.bytes = self.bytes.saturating_add(size);
        if self.frames > FRAMES_MAX { Err(ProtocolError("a message has too many frames")) } else { Ok(()) }
    }

    /// Returns flags, length of the header, and length of the body.
    fn head(buffer: &[u8]) -> Result<Option<(u8, usize, u64)>, ProtocolError> {
        let Some((flags, rest)) = buffer.split_first() else { return Ok(None) };
        if flags & !(MORE | LONG | COMMAND) != 0 {
            return Err(ProtocolError("a frame has unknown flags"));
        }
        if flags & LONG == 0 {
            return Ok(rest.first().map(|size| (*flags, 2, u64::from(*size))));
        }
        let Some((size, _)) = rest.split_first_chunk::<8>() else { return Ok(None) };
        match u64::from_be_bytes(*size) {
            size if size > i64::MAX as u64 => Err(ProtocolError("a frame is too long")),
            size => Ok(Some((*flags, 9, size))),
        }
    }

    fn command(buffer: &mut BytesMut, head: usize, size: u64) -> Result<Option<Incoming>, ProtocolError> {
        if size > COMMAND_BYTES_MAX {
            return Err(ProtocolError("a command is too long"));
        }
        if buffer.len() < head + size as usize {
            return Ok(None);
        }
        buffer.advance(head);
        let mut body = buffer.split_to(size as usize).freeze();
        // libzmq writes `\x5ERROR` for a length of 5 and `ERROR`, which C takes for the single character `\x5E`.
        if body.starts_with(b"^RROR") {
            return Ok(Some(Incoming::Command { name: "ERROR".into(), body: body.split_off(5) }));
        }
        let length = body.first().map_or(0, |length| usize::from(*length));
        if body.len() < 1 + length {
            return Err(ProtocolError("a command has no name"));
        }
        body.advance(1);
        let name = String::from_utf8_lossy(&body.split_to(length)).into_owned();
        Ok(Some(Incoming::Command { name, body }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Vec<Incoming> {
        let (mut buffer, mut decoder) = (BytesMut::new(), Decoder::new(300, 3));
        let mut found = Vec::new();
        // Received byte by byte.
        for byte in bytes {
            buffer.extend([byte]);
            while let Some(incoming) = decoder.take(&mut buffer).unwrap() {
                found.push(incoming);
            }
        }
        assert!(buffer.is_empty());
        found
    }

    fn plain(topic: Option<&'static [u8]>, value: &[u8]) -> Incoming {
        Incoming::Message { topic: topic.map(Bytes::from_static), value: Bytes::copy_from_slice(value) }
    }

    #[test]
    fn messages_and_commands_are_read_as_they_were_written() {
        let mut bytes = Vec::new();
        message(&mut bytes, b"one");
        message(&mut bytes, &[7; 256]);
        command(&mut bytes, "PING", b"\0\0x");
        frame(&mut bytes, COMMAND, b"^RROR\x03400");
        // Several frames, of which the middle one is skipped.
        bytes.extend(b"\x01\x01t\x01\x01m\x00\x01v\x00\x00");
        let error = Incoming::Command { name: "ERROR".into(), body: Bytes::from_static(b"\x03400") };
        let ping = Incoming::Command { name: "PING".into(), body: Bytes::from_static(b"\0\0x") };
        let expected =
            [plain(None, b"one"), plain(None, &[7; 256]), ping, error, plain(Some(b"t"), b"v"), plain(None, b"")];
        assert_eq!(all(&bytes), expected);
    }

    #[test]
    fn of_what_is_too_long_the_beginning_stays() {
        let mut bytes = b"\x01\x02ab".to_vec();
        frame(&mut bytes, MORE, &[1; 400]);
        frame(&mut bytes, 0, b"last one");
        message(&mut bytes, b"next");
        frame(&mut bytes, 0, &[2; 301]);
        message(&mut bytes, b"end");
        let long = |start: &[u8], bytes| Incoming::Long { start: Bytes::copy_from_slice(start), bytes };
        assert_eq!(all(&bytes), [long(b"las", 410), plain(None, b"next"), long(&[2; 3], 301), plain(None, b"end")]);
    }

    #[test]
    fn what_is_none_of_it_is_told() {
        for wrong in
            [&b"\x08\x00"[..], b"\x02\xff\xff\xff\xff\xff\xff\xff\xff", b"\x04\x01\x05", b"\x06\0\0\0\0\xff\0\0\0"]
        {
            assert!(Decoder::new(10, 3).take(&mut BytesMut::from(wrong)).is_err(), "{wrong:?}");
        }
        let mut hello = greeting("NULL", false);
        assert_eq!(mechanism(&hello), Ok("NULL".into()));
        hello[10] = 1;
        assert!(mechanism(&hello).is_err() && mechanism(&[b'H'; GREETING_BYTES]).is_err());
    }

    #[test]
    fn properties_are_found_by_name() {
        let mut body = Vec::new();
        property(&mut body, "Socket-Type", b"PUB");
        property(&mut body, "Identity", b"");
        assert_eq!(property_of(&body, "identity").as_deref(), Some(""));
        assert_eq!(property_of(&body, "socket-type").as_deref(), Some("PUB"));
        assert_eq!((property_of(&body, "x"), property_of(b"\x05ab", "x")), (None, None));
    }
}
