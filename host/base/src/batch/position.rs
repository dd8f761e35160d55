//! How far sources were read, and where what they gave comes from.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64;

/// How far one file of a source (or the source itself, with the empty name) was read.
///
/// | source | name | `offset` | `mark` |
/// |---|---|---|---|
/// | `file` | empty | byte of the next record | odd: its end was reached, as the file was then (`receiver/file_facts`) |
/// | `directory`, rows given back | file name | byte of the next record | the same; of an object, odd or not, what it is known by |
/// | both, of Avro | the same | byte of a block | odd: as above; even: twice how many of the records from there on were taken; of an object with [`known_shortly`] above |
/// | `file` that is followed | which file (`receiver/follow/identity`) | byte of the next record | the bytes before it; odd: all of it was read |
/// | `queue` | empty | byte of the next line | rows of that line that were taken |
/// | `rate` | empty | rows made | when row 0 was due, in microseconds |
/// | `socket`, `raw-socket`, `http` | empty | rows received | 0 |
/// | the first two, of several servers | [`super::partition::rows_name`] of an address | rows received from it | the start of the last extent |
/// | servers that are polled by one process | empty | the same | the start of the last extent |
/// | plugins, and servers whose partitions are spread | [`super::partition::rows_name`] of a partition | rows received of it | the same |
/// | all of these | [`super::partition::PLACE_PREFIX`], a partition, its place | how often that has moved | -1 |
/// | `kafka` | partition (`batch/topic`) | offset of the next record | [`super::partition::AT_END`], [`super::partition::MORE`], or 0: not said |
/// | | [`CLUSTER`] | – | which cluster the offsets are of |
/// | | [`TOPIC_PREFIX`] and a topic | – | which topic of that name |
/// | `http`, a producer | `producer:` and its name | sequence of its last request | when that came, in milliseconds |
/// | `http` with a `url` | `at:` and an id or a cursor of the server | how often that has moved | -1 |
/// | table of a stage | empty | how many contents there were | digest of the last one |
/// | all with several partitions | [`super::partition::CLOCK_PREFIX`] and a partition | – | the partition is there, with a clock of its own; [`super::partition::TELLS_END`], or 0: as above |
/// | | [`super::partition::CLOCK_PREFIX`] alone | – | as of a partition: of the source, as long as none is known |
/// | `directory` whose files are spread | [`super::partition::FILE_CLOCK_PREFIX`] and a file name, or alone | – | the file is being read, with a clock of its own; there are files that nobody has begun |
/// | all that end | [`SOURCE_END`] | – | 1: a batch held the end of the source |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Bytes or rows, see above.
    pub offset: u64,
    /// See above.
    pub mark: i64,
}

impl Position {
    /// What takes the name out of the positions: nothing is known of the file any more.
    pub const GONE: Position = Position { offset: 0, mark: i64::MIN };

    /// Of a file that is read by blocks: how many records were taken from the block at `offset` on.
    pub fn records(&self) -> u64 {
        if self.ended() { 0 } else { u64::try_from(self.mark / 2).unwrap_or(0) & RECORDS }
    }

    /// Of an object that is read by blocks: what it is known by, in short.
    pub fn of_known(&self) -> u64 {
        u64::try_from(self.mark / 2).unwrap_or(0) & !RECORDS
    }

    /// Of a file: whether its end was reached.
    pub fn ended(&self) -> bool {
        self.mark & 1 == 1
    }
}

/// Records of a block, and of a chunk, are fewer than this.
const RECORDS: u64 = (1 << 31) - 1;
const KNOWN_BITS: u32 = 31;

/// What an object is known by, short enough to stand above the number of a record: 0 for a file, to which somebody may write, and
/// for no object.
pub fn known_shortly(known_by: u64) -> u64 {
    match known_by {
        0 => 0,
        known => (xxh3_64(&known.to_le_bytes()) >> (64 - KNOWN_BITS) | 1) << KNOWN_BITS,
    }
}

/// The name under which positions tell whether a source has come to its end. Only sources that read no folder of files do.
pub const SOURCE_END: &str = "end";

/// The name under which positions tell which cluster a `kafka` source reads.
pub const CLUSTER: &str = "cluster";

/// In front of the name of a topic: the position under that name tells which topic of that name a `kafka` source reads, as
/// somebody may delete one and make another.
pub const TOPIC_PREFIX: &str = "topic:";

/// The positions of one source by file name.
pub type Positions = BTreeMap<String, Position>;

/// A batch moved some positions, to where they are now.
pub fn move_all(positions: &mut Positions, moved: impl IntoIterator<Item = (String, Position)>) {
    for (name, position) in moved {
        if position == Position::GONE {
            positions.remove(&name);
        } else {
            positions.insert(name, position);
        }
    }
}

/// Where a chunk's records come from, so that they can be read again.
///
/// | source | `file` | `start`, `bytes` | `row` |
/// |---|---|---|---|
/// | `file`, `directory`, rows given back | as in [`Position`] | range of the file | what an object is known by |
/// | both, of Avro | the same | range of whole blocks, with [`Extent::OF_BLOCKS`] | first record from there on; of an object with [`known_shortly`] above |
/// | `queue` | empty | range of the line | first row within the line |
/// | `rate` | empty | when row 0 was due, in microseconds; – | first row since the job's first start |
/// | sockets, `http` | empty | – | first row since the job's first start |
/// | sockets of several servers | as in [`Position`] | number of the server's clock; – | first row of the server since the job's first start |
/// | servers that are polled by one process | empty | number of the partition's clock; – | the same |
/// | plugins, and servers whose partitions are spread | as in [`Position`] | the same | first row of the partition since the job's first start |
/// | `kafka` | as in [`Position`] | range of offsets, gaps included | – |
/// | table of a stage | empty | digest of the content; – | how many contents came before |
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Extent {
    /// Name of the file.
    pub file: String,
    /// See above.
    pub start: u64,
    /// See above.
    pub bytes: u64,
    /// See above.
    pub row: u64,
}

impl Extent {
    /// The bit of `bytes` that says that the range is one of whole blocks.
    pub const OF_BLOCKS: u64 = 1 << 63;

    /// Whether the range is one of whole blocks, of which some records are meant.
    pub fn is_of_blocks(&self) -> bool {
        self.bytes & Extent::OF_BLOCKS != 0
    }

    /// Of blocks: the first record from the first of them on.
    pub fn first_record(&self) -> u64 {
        self.row & RECORDS
    }

    /// Of blocks: what their object is known by, in short.
    pub fn of_known(&self) -> u64 {
        self.row & !RECORDS
    }

    /// How many bytes the range has.
    pub fn length(&self) -> u64 {
        self.bytes & !Extent::OF_BLOCKS
    }
}
