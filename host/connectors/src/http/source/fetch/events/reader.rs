//! Parses a stream of events according to the HTML standard (9.2.6), with limits on what it keeps of each.

use crate::limits::HTTP_POSITION_BYTES_MAX;
use std::time::Duration;

/// Maximum bytes of an event's type; the rest is cut off.
const KIND_BYTES_MAX: usize = 256;
/// Maximum bytes of a line in addition to data: the longest field name.
const NAME_BYTES_MAX: usize = 8;

/// An item of the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Item {
    /// An event.
    Event(Event),
    /// How long to wait before reconnecting.
    Retry(Duration),
}

/// An event.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The data lines, or their beginning.
    pub data: Vec<u8>,
    /// Bytes of data that were dropped.
    pub dropped: u64,
    /// The event type.
    pub kind: String,
    /// The last ID of the stream; empty if it had none. `None`: the ID is too long.
    pub id: Option<String>,
}

/// Parses a stream in pieces.
pub struct EventReader {
    data_bytes_max: usize,
    line: Vec<u8>,
    line_dropped: u64,
    /// The last byte was a `\r`, which may be the first half of a line end.
    after_return: bool,
    /// Whether no line has been read.
    first: bool,
    data: Vec<u8>,
    dropped: u64,
    has_data: bool,
    kind: String,
    id: Option<String>,
}

impl EventReader {
    /// Creates a reader for a stream that continues after this ID, with at most `data_bytes_max` per event.
    pub fn new(data_bytes_max: usize, id: &str) -> EventReader {
        EventReader {
            data_bytes_max,
            line: Vec::new(),
            line_dropped: 0,
            after_return: false,
            first: true,
            data: Vec::new(),
            dropped: 0,
            has_data: false,
            kind: String::new(),
            id: Some(id.to_owned()),
        }
    }

    /// Parses the next item and removes its bytes from `bytes`. `None`: all bytes are consumed.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Option<Item> {
        loop {
            if self.after_return && !bytes.is_empty() {
                self.after_return = false;
                if let Some(rest) = bytes.strip_prefix(b"\n") {
                    *bytes = rest;
                }
            }
            let all = *bytes;
            let end = memchr::memchr2(b'\n', b'\r', all);
            let (line, rest) = all.split_at_checked(end.unwrap_or(all.len())).unwrap_or((all, b""));
            let room = (self.data_bytes_max.saturating_add(NAME_BYTES_MAX)).saturating_sub(self.line.len());
            let kept = line.get(..room).unwrap_or(line);
            self.line.extend_from_slice(kept);
            self.line_dropped += (line.len() - kept.len()) as u64;
            if end.is_none() {
                *bytes = b"";
                return None;
            }
            self.after_return = rest.first() == Some(&b'\r');
            *bytes = rest.get(1..).unwrap_or_default();
            let mut line = std::mem::take(&mut self.line);
            let item = self.line(&line);
            self.line_dropped = 0;
            // A very long line must not keep its memory allocated permanently.
            if line.capacity() <= 64 << 10 {
                line.clear();
                self.line = line;
            }
            if item.is_some() {
                return item;
            }
        }
    }

    fn line(&mut self, line: &[u8]) -> Option<Item> {
        const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
        let line = match std::mem::take(&mut self.first) {
            true => line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line),
            false => line,
        };
        if line.is_empty() {
            return self.dispatch();
        }
        let colon = memchr::memchr(b':', line);
        let (name, value) = line.split_at_checked(colon.unwrap_or(line.len())).unwrap_or((line, b""));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => self.data(value),
            b"event" => {
                let text = String::from_utf8_lossy(value.get(..KIND_BYTES_MAX).unwrap_or(value));
                self.kind = text.into_owned();
            }
            b"id" if value.contains(&0) => {}
            b"id" => {
                let fits = value.len() <= HTTP_POSITION_BYTES_MAX && self.line_dropped == 0;
                self.id = fits.then(|| String::from_utf8_lossy(value).into_owned());
            }
            b"retry" => {
                let text = std::str::from_utf8(value).unwrap_or_default();
                let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                return digits.then(|| Item::Retry(Duration::from_millis(text.parse().unwrap_or(u64::MAX))));
            }
            _ => {}
        }
        None
    }

    fn data(&mut self, value: &[u8]) {
        // Lines are joined with one byte each, even if they are empty.
        let separator_bytes = usize::from(self.has_data);
        self.has_data = true;
        let room = self.data_bytes_max.saturating_sub(self.data.len());
        let total = value.len() + separator_bytes;
        if separator_bytes == 1 && room > 0 {
            self.data.push(b'\n');
        }
        let kept = value.get(..room.saturating_sub(separator_bytes)).unwrap_or(value);
        self.data.extend_from_slice(kept);
        let taken = kept.len() + usize::from(separator_bytes == 1 && room > 0);
        self.dropped += (total - taken) as u64 + self.line_dropped;
    }

    /// Returns the event that ends here. Events without data are ignored, as they have no row.
    fn dispatch(&mut self) -> Option<Item> {
        let kind = std::mem::take(&mut self.kind);
        let (data, dropped) = (std::mem::take(&mut self.data), std::mem::take(&mut self.dropped));
        self.has_data = false;
        if data.is_empty() && dropped == 0 {
            return None;
        }
        let kind = if kind.is_empty() { "message".into() } else { kind };
        Some(Item::Event(Event { data, dropped, kind, id: self.id.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses a stream that arrives in pieces of this many bytes.
    fn read(bytes: &[u8], piece: usize, data_bytes_max: usize) -> Vec<Item> {
        let mut reader = EventReader::new(data_bytes_max, "");
        let mut items = Vec::new();
        for mut piece in bytes.chunks(piece) {
            while let Some(item) = reader.next(&mut piece) {
                items.push(item);
            }
        }
        items
    }

    fn event(data: &str, kind: &str, id: &str) -> Item {
        Item::Event(Event { data: data.into(), dropped: 0, kind: kind.into(), id: Some(id.into()) })
    }

    #[test]
    fn events_are_read_as_the_standard_says_however_they_come() {
        let stream = "\u{FEFF}: hello\n\ndata: first\nid: 1\n\ndata:second\r\ndata:  third\r\nevent: x\r\n\r\nid\ndata\ndata\n\n\
                      data\r\rretry: 70\nretry: 7x\nretry\nid: 5\0\nid: 6\n\ndata: a\ndata: b\n\nunknown: 1\ndata: cut";
        let expected = [
            event("first", "message", "1"),
            event("second\n third", "x", "1"),
            event("\n", "message", ""),
            Item::Retry(Duration::from_millis(70)),
            event("a\nb", "message", "6"),
        ];
        for piece in [1, 2, 3, 7, 1000] {
            assert_eq!(read(stream.as_bytes(), piece, 100), expected, "{piece}");
        }
    }

    #[test]
    fn what_is_too_long_is_counted_and_not_kept() {
        let long = "x".repeat(1000);
        for (stream, kept, dropped) in [
            (format!("data: {long}\n\n"), "xxxxxxxxxx", 990),
            (format!("data: abc\ndata: {long}\ndata: d\n\n"), "abc\nxxxxxx", 996),
            ("data\n".repeat(30) + "\n", "\n\n\n\n\n\n\n\n\n\n", 19),
        ] {
            for piece in [1, 5, 5000] {
                let [Item::Event(found)] = &read(stream.as_bytes(), piece, 10)[..] else { panic!("{stream}") };
                assert_eq!((found.data.as_slice(), found.dropped), (kept.as_bytes(), dropped), "{piece}: {stream}");
            }
        }
        let stream = format!("id: {}\ndata: a\n\nid: 7\ndata: b\n\n", "i".repeat(HTTP_POSITION_BYTES_MAX + 1));
        let items = read(stream.as_bytes(), 64, 5000);
        let ids: Vec<_> = items.iter().map(|item| matches!(item, Item::Event(Event { id: Some(_), .. }))).collect();
        assert_eq!(ids, [false, true]);
    }
}
