//! The frame of a log: a header, then records that are checked before anything in them is read.
//!
//! | header | bytes |
//! |---|---|
//! | `mllsplan` | 8 |
//! | format version | 4 |
//! | generation, process, after: the log's name | 8, 4, 8 |
//! | XXH3-64 of the above | 8 |
//!
//! | record | bytes |
//! |---|---|
//! | length of the body | 4 |
//! | XXH3-64 of these four bytes, its lower half | 4 |
//! | XXH3-64 of the body | 8 |
//! | body: a piece and the byte [`LAST`] | |
//!
//! All numbers are little-endian. Each checksum is seeded with the one before it, so that no record can be missing,
//! moved or taken from another log. The length has its own checksum because a wrong one would make all that follows
//! look like an end that was cut short. The last byte is never zero, which tells a record that was not written to its
//! end (file systems show zeros there after a power failure) from a whole one that was changed later.

use super::{Head, LogName, piece};
use crate::checkpoint::types::Piece;
use crate::error::{Error, Result};
use crate::owner::FORMAT_VERSION;
use bytes::Bytes;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

const MAGIC: [u8; 8] = *b"mllsplan";
const HEADER_BYTES: usize = 40;
const FRAME_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 8;
/// Ends every body.
const LAST: u8 = 0xa5;

/// Begins a log. Returns what seeds the checksums of its first record.
pub(super) fn put_header(log: &mut Vec<u8>, name: &LogName) -> u64 {
    let header = header(name, FORMAT_VERSION);
    let seed = xxh3_64(&header);
    log.extend_from_slice(&header);
    log.extend_from_slice(&seed.to_le_bytes());
    seed
}

pub(super) fn header(name: &LogName, version: u32) -> [u8; HEADER_BYTES - CHECKSUM_BYTES] {
    let mut header = [0; HEADER_BYTES - CHECKSUM_BYTES];
    let parts: [&[u8]; 5] = [
        &MAGIC,
        &version.to_le_bytes(),
        &name.generation.0.to_le_bytes(),
        &name.process.to_le_bytes(),
        &name.after.0.to_le_bytes(),
    ];
    header.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, from)| *to = *from);
    header
}

/// Appends a piece; `seed` is that of this record, and of the next one afterwards. An error where a piece is larger
/// than a record can be; nothing is appended then.
pub(super) fn put(log: &mut Vec<u8>, seed: &mut u64, piece: &Piece) -> Result<()> {
    log.reserve(FRAME_BYTES.saturating_add(piece::bytes_max(piece)).saturating_add(1));
    let frame = log.len();
    log.extend_from_slice(&[0; FRAME_BYTES]);
    let body = log.len();
    piece::put(log, piece);
    log.push(LAST);
    let (length, checksum) = {
        let body = log.get(body..).unwrap_or_default();
        (u32::try_from(body.len()), xxh3_64_with_seed(body, *seed))
    };
    let Ok(length) = length else {
        log.truncate(frame);
        return Err(Error::job(format!(
            "source `{}`: batch {} holds more than the 4 GiB that a plan can keep; lower its `bytes_per_batch_max`",
            piece.source, piece.batch
        )));
    };
    let length = length.to_le_bytes();
    let parts: [&[u8]; 3] = [&length, &length_check(length, *seed).to_le_bytes(), &checksum.to_le_bytes()];
    log.iter_mut().skip(frame).zip(parts.into_iter().flatten()).for_each(|(to, from)| *to = *from);
    *seed = checksum;
    Ok(())
}

fn length_check(length: [u8; 4], seed: u64) -> u32 {
    xxh3_64_with_seed(&length, seed) as u32
}

/// The records of a log, one after the other.
pub(super) struct Records<'a> {
    log: &'a Bytes,
    at: usize,
    seed: u64,
}

/// A body whose checksum is right.
pub(super) struct Record {
    body: Bytes,
}

/// What comes next in a log.
pub(super) enum Next {
    Record(Record),
    /// The end, after a whole record.
    End,
    /// The end, within what was being appended when the process died.
    Torn,
    /// Why the rest cannot be read.
    Damaged(String),
}

/// Why a log cannot be read at all.
pub(super) enum Unreadable {
    /// It ends within its header: nothing was made durable in it.
    Torn,
    /// Another version wrote it.
    Newer(u32),
    Damaged(String),
}

impl<'a> Records<'a> {
    /// Begins to read the log of this name.
    pub(super) fn open(name: &LogName, log: &'a Bytes) -> Result<Records<'a>, Unreadable> {
        let damaged = |what: &str| Err(Unreadable::Damaged(what.to_owned()));
        let Some((header, rest)) = log.split_first_chunk::<HEADER_BYTES>() else { return Err(Unreadable::Torn) };
        let (parts, checksum) = header.split_at(HEADER_BYTES - CHECKSUM_BYTES);
        let seed = xxh3_64(parts);
        if checksum != seed.to_le_bytes() {
            // A header is appended together with a record, which does not end in zeros.
            return if all_zero(rest) {
                Err(Unreadable::Torn)
            } else if !parts.starts_with(&MAGIC) {
                damaged("it is no log of plans")
            } else {
                damaged("the checksum of its header does not match")
            };
        }
        let version =
            parts.get(MAGIC.len()..).and_then(|rest| rest.first_chunk()).map_or(0, |at| u32::from_le_bytes(*at));
        if !parts.starts_with(&MAGIC) {
            return damaged("it is no log of plans");
        }
        if version > FORMAT_VERSION {
            return Err(Unreadable::Newer(version));
        }
        if *parts != self::header(name, version) {
            return damaged("it was written under another name");
        }
        Ok(Records { log, at: HEADER_BYTES, seed })
    }

    /// Bytes that were read so far: where the next record begins.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The next record. Not to be called again after anything else.
    pub(super) fn next(&mut self) -> Next {
        let left = self.log.get(self.at..).unwrap_or_default();
        if left.is_empty() {
            return Next::End;
        }
        let Some((frame, rest)) = left.split_first_chunk::<FRAME_BYTES>() else { return Next::Torn };
        let [l0, l1, l2, l3, c0, c1, c2, c3, checksum @ ..] = *frame;
        let length = [l0, l1, l2, l3];
        if u32::from_le_bytes([c0, c1, c2, c3]) != length_check(length, self.seed) {
            return if all_zero(rest) { Next::Torn } else { Next::Damaged("the length of a record is wrong".into()) };
        }
        let length = u32::from_le_bytes(length) as usize;
        let Some(body) = rest.get(..length) else { return Next::Torn };
        let checksum = u64::from_le_bytes(checksum);
        if checksum != xxh3_64_with_seed(body, self.seed) {
            let unwritten = rest.get(length.saturating_sub(1)..).is_some_and(all_zero);
            let damaged = || Next::Damaged("the checksum of a record does not match".into());
            return if unwritten { Next::Torn } else { damaged() };
        }
        let begin = self.at.saturating_add(FRAME_BYTES);
        self.at = begin.saturating_add(length);
        self.seed = checksum;
        match body.split_last() {
            // `get` above says that all of this lies within the log.
            Some((&LAST, fields)) => Next::Record(Record { body: self.log.slice_ref(fields) }),
            _ => Next::Damaged("a record does not end as records do".into()),
        }
    }
}

impl Record {
    /// Its head; the error says what is wrong.
    pub(super) fn head(&self) -> Result<Head, String> {
        piece::head(&self.body)
    }

    /// The whole piece. Its chunks share the memory of the log.
    pub(super) fn piece(&self) -> Result<Piece, String> {
        piece::get(&self.body)
    }
}

fn all_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
