//! The position of a partition in the format of its plugin, stored in the name of a position.

use crate::receiver::named::NamedPosition;
use millstream_base::hex;
use millstream_rows::batch::partition::{POSITION_MARK, POSITION_PREFIX};
use millstream_rows::batch::position::{Position, Positions};
use std::collections::BTreeSet;

/// The position at which a partition resumes.
pub struct PartitionPosition {
    partition: String,
    now: Option<Vec<u8>>,
    named: NamedPosition,
}

impl PartitionPosition {
    /// Restores the position of `partition` from saved positions.
    pub fn restore(partition: &str, from: &Positions) -> PartitionPosition {
        let named = NamedPosition::restore(from, |name| parse(name).is_some_and(|(of, _)| of == partition));
        let now = named.names().last().and_then(|name| parse(name)).map(|(_, position)| position);
        PartitionPosition { partition: partition.to_owned(), now, named }
    }

    /// Returns the positions of all partitions that have been read.
    pub fn all(from: &Positions) -> Vec<(String, Vec<u8>)> {
        let names: BTreeSet<&str> = from.keys().filter_map(|name| Some(parse(name)?.0)).collect();
        let at = |name: &str| Some((name.to_owned(), PartitionPosition::restore(name, from).now?));
        names.into_iter().filter_map(at).collect()
    }

    /// Returns the current position; `None` is the beginning.
    pub fn now(&self) -> Option<&[u8]> {
        self.now.as_deref()
    }

    /// Moves to this position. Returns the position changes to save with the rows that led to it.
    pub fn set(&mut self, position: &[u8]) -> Vec<(String, Position)> {
        self.now = Some(position.to_vec());
        self.named.rename(Some(format!("{POSITION_PREFIX}{}{POSITION_MARK}{}", self.partition, hex::encode(position))))
    }
}

/// Splits a name into partition and position. No hexadecimal digit is a `=`, whatever the partition's name contains.
fn parse(name: &str) -> Option<(&str, Vec<u8>)> {
    let (partition, position) = name.strip_prefix(POSITION_PREFIX)?.rsplit_once(POSITION_MARK)?;
    Some((partition, hex::decode(position)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_rows::batch::position::move_all;

    #[test]
    fn each_partition_goes_on_where_its_newest_position_is() {
        let mut positions = Positions::from([(String::new(), Position { offset: 3, mark: 0 })]);
        for partition in ["", "a", "a=b", "a=", "ü"] {
            let mut current = PartitionPosition::restore(partition, &positions);
            assert_eq!(current.now(), None, "{partition}");
            for position in [&b""[..], b"\xff=1", b"2", b"2"] {
                move_all(&mut positions, current.set(position));
                assert_eq!(PartitionPosition::restore(partition, &positions).now(), Some(position), "{partition}");
            }
        }
        assert_eq!(positions.len(), 6, "one for each, and that of the rows");
        let all: Vec<_> = ["", "a", "a=", "a=b", "ü"].map(|name| (name.to_owned(), b"2".to_vec())).into();
        assert_eq!(PartitionPosition::all(&positions), all);
        // As a startup combines them that found a batch without effect.
        positions.insert("of:a=".into(), Position { offset: 99, mark: -1 });
        let mut position = PartitionPosition::restore("a", &positions);
        assert_eq!(position.now(), Some(&b""[..]));
        move_all(&mut positions, position.set(b"3"));
        assert_eq!((PartitionPosition::restore("a", &positions).now(), positions.len()), (Some(&b"3"[..]), 6));
    }
}
