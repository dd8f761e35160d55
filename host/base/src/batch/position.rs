//! How far sources were read, and where what they gave comes from.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How far one file of a source (or the source itself, with the empty name) was read.
///
/// | source | name | `offset` | `mark` |
/// |---|---|---|---|
/// | `file` | empty | byte of the next record | odd: its end was reached, as the file was then (`receiver/facts`) |
/// | `directory`, rows given back | file name | byte of the next record | the same |
/// | `file` that is followed | which file (`receiver/follow/identity`) | byte of the next record | the bytes before it; odd: all of it was read |
/// | `queue` | empty | byte of the next line | rows of that line that were taken |
/// | `rate` | empty | rows made | when row 0 was due, in microseconds |
/// | `socket`, `raw-socket` | empty | rows received | 0 |
/// | table of a stage | empty | how many contents there were | digest of the last one |
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

    /// Of a file: whether its end was reached.
    pub fn ended(&self) -> bool {
        self.mark & 1 == 1
    }
}

/// The name under which positions tell whether a source has come to its end. Only sources that read no folder of files do.
pub const SOURCE_END: &str = "end";

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
/// | `file`, `directory`, rows given back | as in [`Position`] | range of the file | – |
/// | `queue` | empty | range of the line | first row within the line |
/// | `rate` | empty | when row 0 was due, in microseconds; – | first row since the job's first start |
/// | sockets | empty | – | first row since the job's first start |
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
