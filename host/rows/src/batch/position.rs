//! How far sources were read, and where their records come from.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64;

/// The position in one file of a source (or in the source itself, with the empty name).
///
/// | source | name | `offset` | `mark` |
/// |---|---|---|---|
/// | `file` | empty | byte of the next record | odd: its then end was reached (`receiver/file_facts`) |
/// | `directory`, retried rows | file name | byte of the next record | the same; for an object, odd or not, its identity |
/// | both, of Avro | the same | byte of a block | odd: as above; even: twice how many of the records from there on were taken; for an object with [`short_object_id`] above |
/// | `file` that is followed | its identity (`batch/identity`) | byte of the next record | digest of the bytes before it; odd: all of it was read |
/// | `queue` | empty | byte of the next line | rows of that line that were taken |
/// | `rate` | empty | rows generated | when row 0 was due, in microseconds |
/// | `socket`, `raw-socket`, `http` | empty | rows received | 0 |
/// | the first two, for several servers | [`super::partition::rows_name`] of an address | rows received from it | the start of the last extent |
/// | servers polled by one process | empty | the same | the start of the last extent |
/// | plugins, and servers with spread partitions | [`super::partition::rows_name`] of a partition | rows received of it | the same |
/// | all of these | [`super::partition::POSITION_PREFIX`], a partition, its position | how often that has moved | -1 |
/// | `kafka` | partition (`batch/topic`) | offset of the next record | [`super::partition::AT_END`], [`super::partition::MORE`], or 0: not said |
/// | | [`CLUSTER`] | – | the cluster of the offsets |
/// | | [`TOPIC_PREFIX`] and a topic | – | the ID of the topic |
/// | `http`, a producer | `producer:` and its name | sequence number of its last request | time of that, in milliseconds |
/// | `http` with a `url` | `at:` and an ID or a cursor of the server | how often that has moved | -1 |
/// | table of a stage | empty | number of versions of its content | digest of the last one |
/// | all with several partitions | [`super::partition::CLOCK_PREFIX`] and a partition | – | the partition exists, with its own clock; [`super::partition::REPORTS_END`], or 0: as above |
/// | | [`super::partition::CLOCK_PREFIX`] alone | – | the same for the source, as long as no partition is known |
/// | `directory` with spread files | [`super::partition::FILE_CLOCK_PREFIX`] and a file name, or alone | – | the file is being read, with its own clock; some files were not begun |
/// | all with an end | [`SOURCE_END`] | – | 1: a batch held the end of the source |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Bytes or rows, see the table.
    pub offset: u64,
    /// See the table.
    pub mark: i64,
}

impl Position {
    /// Removes the name from the positions: nothing is known about the file any longer.
    pub const GONE: Position = Position { offset: 0, mark: i64::MIN };

    /// For a file that is read by blocks: returns how many records were taken from the block at `offset` on.
    pub fn records(&self) -> u64 {
        if self.ended() { 0 } else { u64::try_from(self.mark / 2).unwrap_or(0) & RECORDS }
    }

    /// For an object that is read by blocks: returns its short identity.
    pub fn of_known(&self) -> u64 {
        u64::try_from(self.mark / 2).unwrap_or(0) & !RECORDS
    }

    /// For a file: returns whether its end was reached.
    pub fn ended(&self) -> bool {
        self.mark & 1 == 1
    }
}

/// Mask of the number of records; a block and a chunk have fewer than this.
const RECORDS: u64 = (1 << 31) - 1;
const KNOWN_BITS: u32 = 31;

/// Shortens an object's identity so that it fits above the number of a record. 0 for a file, which may be written to, and for no object.
pub fn short_object_id(known_by: u64) -> u64 {
    match known_by {
        0 => 0,
        known => (xxh3_64(&known.to_le_bytes()) >> (64 - KNOWN_BITS) | 1) << KNOWN_BITS,
    }
}

/// Name of the position that says whether a source has ended. Only sources that do not read a directory of files have it.
pub const SOURCE_END: &str = "end";

/// Name of the position that says which cluster a `kafka` source reads.
pub const CLUSTER: &str = "cluster";

/// Prefix of a topic's name: the position under that name says which topic of that name a `kafka` source reads, as a topic can be deleted and
/// recreated.
pub const TOPIC_PREFIX: &str = "topic:";

/// The positions of one source by file name.
pub type Positions = BTreeMap<String, Position>;

/// Updates the positions that a batch moved.
pub fn move_all(positions: &mut Positions, moved: impl IntoIterator<Item = (String, Position)>) {
    for (name, position) in moved {
        if position == Position::GONE {
            positions.remove(&name);
        } else {
            positions.insert(name, position);
        }
    }
}

/// The origin of a chunk's records, so that they can be read again.
///
/// | source | `file` | `start`, `bytes` | `row` |
/// |---|---|---|---|
/// | `file`, `directory`, retried rows | as in [`Position`] | range of the file | an object's identity |
/// | both, of Avro | the same | range of complete blocks, with [`Extent::OF_BLOCKS`] | first record from there on; for an object with [`short_object_id`] above |
/// | `queue` | empty | range of the line | first row within the line |
/// | `rate` | empty | when row 0 was due, in microseconds; – | first row since the job's first start |
/// | sockets, `http` | empty | – | first row since the job's first start |
/// | sockets of several servers | as in [`Position`] | number of the server's clock; – | first row of the server since the job's first startup |
/// | servers polled by one process | empty | number of the partition's clock; – | the same |
/// | plugins, and servers with spread partitions | as in [`Position`] | the same | first row of the partition since the job's first start |
/// | `kafka` | as in [`Position`] | range of offsets, gaps included | – |
/// | table of a stage | empty | digest of the content; – | number of earlier versions |
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Extent {
    /// Name of the file.
    pub file: String,
    /// See the table.
    pub start: u64,
    /// See the table.
    pub bytes: u64,
    /// See the table.
    pub row: u64,
}

impl Extent {
    /// Bit of `bytes`: the range consists of complete blocks.
    pub const OF_BLOCKS: u64 = 1 << 63;

    /// Returns whether the range consists of complete blocks, of which some records are meant.
    pub fn is_of_blocks(&self) -> bool {
        self.bytes & Extent::OF_BLOCKS != 0
    }

    /// For blocks: returns the first record, counted from the first block.
    pub fn first_record(&self) -> u64 {
        self.row & RECORDS
    }

    /// For blocks: returns the short identity of their object.
    pub fn of_known(&self) -> u64 {
        self.row & !RECORDS
    }

    /// Returns the length of the range in bytes.
    pub fn length(&self) -> u64 {
        self.bytes & !Extent::OF_BLOCKS
    }
}
