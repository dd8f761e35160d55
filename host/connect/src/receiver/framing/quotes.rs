//! Finds the end of CSV records: a line end that is not within quotes. A line ends with `\n`, `\r\n` or `\r`.

/// Quote state within a CSV record. As in RFC 4180, a quote opens only at the beginning of a cell.
#[derive(Clone, Copy, Default)]
pub struct QuoteState {
    /// Whether a quote is open.
    pub inside: bool,
    /// Offset after the last closing quote: a quote there is an escaped one.
    closed: Option<usize>,
}

/// The result of an abandoned search. All line ends from that record up to `to` are within quotes. A search that reaches one of them within quotes is
/// in the same state, and resumes where that search ended.
#[derive(Clone, Copy)]
pub struct SearchedQuotes {
    /// Where that search ended.
    pub to: usize,
    /// The quote state at `to`.
    pub quotes: QuoteState,
}

impl SearchedQuotes {
    /// Adjusts the offset after `bytes` bytes before it were removed.
    pub fn moved(self, bytes: usize) -> SearchedQuotes {
        SearchedQuotes { to: self.to.saturating_sub(bytes), quotes: self.quotes.moved(bytes) }
    }
}

impl QuoteState {
    /// Adjusts the offset after `bytes` bytes before it were removed.
    pub fn moved(self, bytes: usize) -> QuoteState {
        QuoteState { closed: self.closed.map(|offset| offset.saturating_sub(bytes)), ..self }
    }

    /// Finds the line end of the record that begins at `start`, searching from `from`. `last`: no input follows, so that a `\r` at the end is a
    /// complete line end.
    pub fn find_end(&mut self, data: &[u8], start: usize, from: usize, separator: u8, last: bool) -> Option<usize> {
        let mut offset = from;
        loop {
            let rest = data.get(offset..)?;
            if self.inside {
                offset += memchr::memchr(b'"', rest)? + 1;
                self.inside = false;
                self.closed = Some(offset);
                continue;
            }
            offset += memchr::memchr3(b'"', b'\n', b'\r', rest)?;
            if data.get(offset) != Some(&b'"') {
                return after_line_end(data, offset, last);
            }
            let opens =
                offset == start || self.closed == Some(offset) || data.get(offset.wrapping_sub(1)) == Some(&separator);
            self.inside = opens;
            offset += 1;
        }
    }
}

/// Returns the end of the first line after `from`, ignoring quotes. `last`: see [`QuoteState::find_end`].
pub fn csv_line_end(data: &[u8], from: usize, last: bool) -> Option<usize> {
    let offset = from + memchr::memchr2(b'\n', b'\r', data.get(from..)?)?;
    after_line_end(data, offset, last)
}

/// Returns the offset after the line end at `offset`; `None` if its second byte may still arrive.
fn after_line_end(data: &[u8], offset: usize, last: bool) -> Option<usize> {
    match (data.get(offset), data.get(offset + 1)) {
        (Some(b'\r'), Some(b'\n')) => Some(offset + 2),
        (Some(b'\r'), None) if !last => None,
        _ => Some(offset + 1),
    }
}

/// Returns whether data ends with what may be the first half of `\r\n`.
pub fn is_half_line_end(data: &[u8]) -> bool {
    data.last() == Some(&b'\r')
}
