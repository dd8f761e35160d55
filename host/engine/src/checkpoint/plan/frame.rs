//! The format of a log: a header, then frames that are verified before anything in them is parsed.
//!
//! | header | bytes |
//! |---|---|
//! | `mllsplan` | 8 |
//! | format version | 4 |
//! | generation, process, after: the log's name | 8, 4, 8 |
//! | XXH3-64 of the above | 8 |
//!
//! | frame | bytes |
//! |---|---|
//! | length of the body | 4 |
//! | XXH3-64 of these four bytes, its lower half | 4 |
//! | XXH3-64 of the body | 8 |
//! | body: an entry and the byte [`LAST`] | |
//!
//! All numbers are little-endian. Each checksum is seeded with the previous one, so that no frame can be missing, moved or taken from another log.
//! The length has its own checksum because a wrong one would make the rest look like a torn end. The last byte is never zero. This distinguishes a
//! frame that was not written to its end from a complete one that was changed later (file systems show zeros there after a power failure).

use super::{Head, LogName, entry};
use crate::checkpoint::types::PlanEntry;
use bytes::Bytes;
use millstream_base::error::{Error, Result};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

const MAGIC: [u8; 8] = *b"mllsplan";
const HEADER_BYTES: usize = 40;
const FRAME_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 8;
/// The version of logs. Since the second one, columns are kept as columns. The third records which batches were made up.
pub(super) const LOG_VERSION: u32 = entry::MADE_UP_VERSION;
/// Ends every body.
const LAST: u8 = 0xa5;

/// Writes the header of a log. Returns the seed for the checksums of its first frame.
pub(super) fn put_header(log: &mut Vec<u8>, name: &LogName) -> u64 {
    let header = header(name, LOG_VERSION);
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

/// Appends an entry; `seed` is that of this frame, and of the next one afterwards. Fails if an entry is larger than a frame can be; nothing is
/// appended then.
pub(super) fn put(log: &mut Vec<u8>, seed: &mut u64, entry: &PlanEntry) -> Result<()> {
    log.reserve(FRAME_BYTES.saturating_add(entry::bytes_max(entry)).saturating_add(1));
    let frame = log.len();
    log.extend_from_slice(&[0; FRAME_BYTES]);
    let body = log.len();
    if let Err(error) = entry::put(log, entry) {
        log.truncate(frame);
        return Err(error);
    }
    log.push(LAST);
    let (length, checksum) = {
        let body = log.get(body..).unwrap_or_default();
        (u32::try_from(body.len()), xxh3_64_with_seed(body, *seed))
    };
    let Ok(length) = length else {
        log.truncate(frame);
        return Err(Error::job(format!(
            "source `{}`: batch {} holds more than the 4 GiB that a plan can keep; lower its `bytes_per_batch_max`",
            entry.source, entry.batch
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

/// The frames of a log, one after the other.
pub(super) struct Frames<'a> {
    log: &'a Bytes,
    version: u32,
    at: usize,
    seed: u64,
}

/// A body with a valid checksum.
pub(super) struct Frame {
    body: Bytes,
    version: u32,
}

/// The next item of a log.
pub(super) enum NextFrame {
    Frame(Frame),
    /// The end, after a complete frame.
    End,
    /// The end, within an append that was cut off when the process died.
    Torn,
    /// Why the rest cannot be read.
    Damaged(String),
}

/// Why a log cannot be read at all.
pub(super) enum UnreadableLog {
    /// It ends within its header: nothing was made durable in it.
    Torn,
    /// Another version wrote it.
    Newer(u32),
    Damaged(String),
}

impl<'a> Frames<'a> {
    /// Starts reading the log of this name.
    pub(super) fn open(name: &LogName, log: &'a Bytes) -> Result<Frames<'a>, UnreadableLog> {
        let damaged = |what: &str| Err(UnreadableLog::Damaged(what.to_owned()));
        let Some((header, rest)) = log.split_first_chunk::<HEADER_BYTES>() else { return Err(UnreadableLog::Torn) };
        let (parts, checksum) = header.split_at(HEADER_BYTES - CHECKSUM_BYTES);
        let seed = xxh3_64(parts);
        if checksum != seed.to_le_bytes() {
            // A header is appended together with a frame, which does not end in zeros.
            return if all_zero(rest) {
                Err(UnreadableLog::Torn)
            } else if !parts.starts_with(&MAGIC) {
                damaged("it is not a log of plans")
            } else {
                damaged("the checksum of its header does not match")
            };
        }
        let version =
            parts.get(MAGIC.len()..).and_then(|rest| rest.first_chunk()).map_or(0, |at| u32::from_le_bytes(*at));
        if !parts.starts_with(&MAGIC) {
            return damaged("it is not a log of plans");
        }
        if version > LOG_VERSION {
            return Err(UnreadableLog::Newer(version));
        }
        if *parts != self::header(name, version) {
            return damaged("it was written under another name");
        }
        Ok(Frames { log, version, at: HEADER_BYTES, seed })
    }

    /// Returns the number of bytes read so far: the start of the next frame.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Returns the next frame. Must not be called again after any other result.
    pub(super) fn next(&mut self) -> NextFrame {
        let left = self.log.get(self.at..).unwrap_or_default();
        if left.is_empty() {
            return NextFrame::End;
        }
        let Some((frame, rest)) = left.split_first_chunk::<FRAME_BYTES>() else { return NextFrame::Torn };
        let [l0, l1, l2, l3, c0, c1, c2, c3, checksum @ ..] = *frame;
        let length = [l0, l1, l2, l3];
        if u32::from_le_bytes([c0, c1, c2, c3]) != length_check(length, self.seed) {
            return if all_zero(rest) {
                NextFrame::Torn
            } else {
                NextFrame::Damaged("the length of a frame is wrong".into())
            };
        }
        let length = u32::from_le_bytes(length) as usize;
        let Some(body) = rest.get(..length) else { return NextFrame::Torn };
        let checksum = u64::from_le_bytes(checksum);
        if checksum != xxh3_64_with_seed(body, self.seed) {
            let unwritten = rest.get(length.saturating_sub(1)..).is_some_and(all_zero);
            let damaged = || NextFrame::Damaged("the checksum of a frame does not match".into());
            return if unwritten { NextFrame::Torn } else { damaged() };
        }
        let begin = self.at.saturating_add(FRAME_BYTES);
        self.at = begin.saturating_add(length);
        self.seed = checksum;
        match body.split_last() {
            // `get` above ensures that all of this is within the log.
            Some((&LAST, fields)) => {
                NextFrame::Frame(Frame { body: self.log.slice_ref(fields), version: self.version })
            }
            _ => NextFrame::Damaged("a frame does not end as frames do".into()),
        }
    }
}

impl Frame {
    /// Returns its head; the error says what is wrong.
    pub(super) fn head(&self) -> Result<Head, String> {
        entry::head(&self.body, self.version)
    }

    /// Returns the complete entry. Its chunks share the memory of the log.
    pub(super) fn entry(&self) -> Result<PlanEntry, String> {
        entry::get(&self.body, self.version)
    }
}

fn all_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
