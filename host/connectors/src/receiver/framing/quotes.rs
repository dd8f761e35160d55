//! Where csv records end: at line ends that no quotes protect. A line ends with `\n`, `\r\n` or `\r` alone.

/// Where a csv record stands with its quotes. As in RFC 4180, a quote opens only at the beginning of a cell.
#[derive(Clone, Copy, Default)]
pub struct QuoteState {
    /// A quote is open.
    pub inside: bool,
    /// One behind the last closing quote: a quote there is an escaped one.
    closed: Option<usize>,
}

/// All line ends from the record on that was given up to `to` stand within quotes: who comes to one of them within quotes is
/// where that search was, and goes on where it ended.
#[derive(Clone, Copy)]
pub struct SearchedQuotes {
    /// How far that search came.
    pub to: usize,
    /// As it was at `to`.
    pub quotes: QuoteState,
}

impl SearchedQuotes {
    /// The same when so many bytes before it are gone.
    pub fn moved(self, bytes: usize) -> SearchedQuotes {
        SearchedQuotes { to: self.to.saturating_sub(bytes), quotes: self.quotes.moved(bytes) }
    }
}

impl QuoteState {
    /// The same when so many bytes before it are gone.
    pub fn moved(self, bytes: usize) -> QuoteState {
        QuoteState { closed: self.closed.map(|offset| offset.saturating_sub(bytes)), ..self }
    }

    /// Looks for the line end that ends the record which begins at `start`, from `from` on. `last`: nothing comes after the data, so
    /// that a `\r` at its end is a whole line end.
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
                return behind_line_end(data, offset, last);
            }
            let opens =
                offset == start || self.closed == Some(offset) || data.get(offset.wrapping_sub(1)) == Some(&separator);
            self.inside = opens;
            offset += 1;
        }
    }
}

/// The end of the first line from `from` on, whatever quotes it has. `last`: see [`QuoteState::find_end`].
pub fn csv_line_end(data: &[u8], from: usize, last: bool) -> Option<usize> {
    let offset = from + memchr::memchr2(b'\n', b'\r', data.get(from..)?)?;
    behind_line_end(data, offset, last)
}

/// One behind the line end at `offset`; `None`: it may go on with a byte that is not here yet.
fn behind_line_end(data: &[u8], offset: usize, last: bool) -> Option<usize> {
    match (data.get(offset), data.get(offset + 1)) {
        (Some(b'\r'), Some(b'\n')) => Some(offset + 2),
        (Some(b'\r'), None) if !last => None,
        _ => Some(offset + 1),
    }
}

/// Whether data ends with what may be the first half of `\r\n`.
pub fn is_half_line_end(data: &[u8]) -> bool {
    data.last() == Some(&b'\r')
}
