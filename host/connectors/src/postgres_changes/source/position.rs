//! How far changes were read: pure.
//!
//! First come the rows that the tables have, in the order of their keys, as one snapshot of the database shows them. No snapshot outlives
//! its connection. Whoever goes on after a crash reads the rows that are left in a new one, which shows a later moment, and then every
//! change from the first snapshot on: of the rows that were read in a snapshot only those changes count that it did not show yet.
//! So each row and each change is read once, whenever the job was killed.

use super::identity::TableIdentity;
use crate::postgres::replication::Lsn;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// How far a source has followed its tables: the rows of the snapshot, and the place in the log of changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChangesPosition {
    /// The tables that are followed.
    pub tables: Vec<String>,
    /// What tells them from others of their names; none: an earlier version began with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<TableIdentity>,
    /// The first snapshot of rows, as the server tells which transactions it shows; `None`: no rows were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The rows that were read in snapshots, in order; gone when no change can be one that they show.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<SnapshotPart>,
    /// All transactions that were committed before this place, and so many changes of that which was committed there. `None`: the snapshot
    /// is not read to its end.
    pub stream: Option<(u64, u64)>,
}

/// Rows that were read in one snapshot: those behind the part before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotPart {
    /// The snapshot shows what was committed before this place.
    pub lsn: u64,
    /// The last of them; `None`: so far none, or, of the last part of a snapshot that was read to its end, all others.
    pub to: Option<RowPosition>,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowPosition {
    /// The number of its table.
    pub table: usize,
    /// Its key; `None`: behind all rows of the table.
    pub key: Option<Vec<String>>,
}

/// How the values of a column of a key are ordered, here as on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOrder {
    /// As whole numbers.
    Whole,
    /// By the bytes of what the server writes.
    Bytes,
}

impl ChangesPosition {
    /// At the beginning of a snapshot, or at a place of the log.
    pub fn beginning(tables: Vec<String>, lsn: Lsn, snapshot: bool) -> ChangesPosition {
        let none = ChangesPosition { tables, ..ChangesPosition::default() };
        match snapshot {
            true => ChangesPosition { parts: vec![SnapshotPart { lsn: lsn.0, to: None }], ..none },
            false => ChangesPosition { stream: Some((lsn.0, 0)), ..none },
        }
    }

    /// From the words of a position.
    pub fn parse(position: &[u8]) -> Option<ChangesPosition> {
        serde_json::from_slice(position).ok()
    }

    /// As a position.
    pub fn written(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// From where on the log is still needed.
    pub fn needed(&self) -> Option<Lsn> {
        let begun = self.parts.first().map(|part| part.lsn);
        self.stream.map(|(lsn, _)| lsn).or(begun).map(Lsn)
    }

    /// The last row of the snapshot that was read.
    pub fn read_to(&self) -> Option<&RowPosition> {
        self.parts.iter().rev().find_map(|part| part.to.as_ref())
    }

    /// The rows that are left are read in this snapshot.
    pub fn next_snapshot(&mut self, lsn: Lsn) {
        // Nothing was read in one of which no row is known.
        self.parts.retain(|part| part.to.is_some());
        self.parts.push(SnapshotPart { lsn: lsn.0, to: None });
    }

    /// This row of the snapshot was read.
    pub fn read(&mut self, row: RowPosition) {
        if let Some(part) = self.parts.last_mut() {
            part.to = Some(row);
        }
    }

    /// All rows of the snapshot were read: changes come from the first snapshot on.
    pub fn snapshot_ends(&mut self, first: Lsn) {
        if let Some(part) = self.parts.last_mut() {
            part.to = None;
        }
        self.stream = Some((first.0, 0));
        self.forget();
    }

    /// All before this place was read.
    pub fn passed(&mut self, lsn: Lsn) {
        if self.stream.is_some_and(|(at, _)| at < lsn.0) {
            self.stream = Some((lsn.0, 0));
            self.forget();
        }
    }

    /// So many changes of the transaction that was committed here were read.
    pub fn changed(&mut self, commit: Lsn, changes: u64) {
        self.stream = Some((commit.0, changes));
    }

    fn forget(&mut self) {
        let shown = self.parts.iter().map(|part| part.lsn).max();
        if self.stream.zip(shown).is_none_or(|((at, _), shown)| at >= shown) {
            self.parts.clear();
        }
    }

    /// Whether a change that was committed at this place is none that the snapshot shows in which its row was read.
    pub fn counts(&self, table: usize, key: &[&str], orders: &[KeyOrder], commit: Lsn) -> bool {
        let before = |row: &RowPosition| match (table.cmp(&row.table), &row.key) {
            (Ordering::Less, _) | (Ordering::Equal, None) => true,
            (Ordering::Equal, Some(last)) => order(key, last, orders).is_le(),
            (Ordering::Greater, _) => false,
        };
        let part = self.parts.iter().find(|part| part.to.as_ref().is_none_or(before));
        part.is_none_or(|part| commit.0 >= part.lsn)
    }

    /// Whether rows of a table were read in this many snapshots that a change at this place stands between.
    pub fn is_between(&self, commit: Lsn) -> bool {
        self.parts.iter().any(|part| commit.0 < part.lsn) && self.parts.iter().any(|part| commit.0 >= part.lsn)
    }
}

/// Of two keys.
fn order(key: &[&str], other: &[String], orders: &[KeyOrder]) -> Ordering {
    let column = |((a, b), order): ((&&str, &String), &KeyOrder)| match order {
        KeyOrder::Whole => a.parse::<i64>().unwrap_or_default().cmp(&b.parse::<i64>().unwrap_or_default()),
        KeyOrder::Bytes => a.as_bytes().cmp(b.as_bytes()),
    };
    key.iter().zip(other).zip(orders).map(column).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &[KeyOrder] = &[KeyOrder::Whole];

    fn row(table: usize, key: &str) -> RowPosition {
        RowPosition { table, key: Some(vec![key.to_owned()]) }
    }

    #[test]
    fn positions_are_read_as_they_were_written() {
        let mut at = ChangesPosition::beginning(vec!["a".into(), "b".into()], Lsn(10), true);
        assert_eq!((ChangesPosition::parse(&at.written()), at.needed()), (Some(at.clone()), Some(Lsn(10))));
        at.read(row(0, "7"));
        at.next_snapshot(Lsn(20));
        at.read(RowPosition { table: 0, key: None });
        assert_eq!(ChangesPosition::parse(&at.written()), Some(at.clone()));
        at.snapshot_ends(Lsn(10));
        at.changed(Lsn(12), 3);
        assert_eq!((ChangesPosition::parse(&at.written()), at.needed()), (Some(at), Some(Lsn(12))));
        assert_eq!(ChangesPosition::parse(b"12 3"), None);
        // Of an earlier version.
        let old = ChangesPosition::parse(br#"{"tables":["a"],"stream":[12,3]}"#).unwrap();
        assert_eq!((old.stream, old.ids, old.since), (Some((12, 3)), Vec::new(), None));
    }

    #[test]
    fn a_change_counts_where_the_snapshot_of_its_row_did_not_show_it() {
        let mut at = ChangesPosition::beginning(vec!["a".into(), "b".into()], Lsn(10), true);
        at.read(row(0, "9"));
        // Killed before it had read anything, and again.
        at.next_snapshot(Lsn(15));
        at.next_snapshot(Lsn(20));
        assert_eq!((at.parts.len(), at.read_to()), (2, Some(&row(0, "9"))));
        at.read(row(1, "100"));
        at.next_snapshot(Lsn(30));
        at.snapshot_ends(Lsn(10));
        let counts = |table, key, commit| at.counts(table, &[key], WHOLE, Lsn(commit));
        assert!(counts(0, "9", 10) && counts(0, "-5", 10), "read at 10");
        assert!(!counts(0, "10", 19) && counts(0, "10", 20), "read at 20: 10 comes behind 9");
        assert!(!counts(1, "100", 19) && counts(1, "100", 20));
        assert!(!counts(1, "101", 29) && counts(1, "101", 30), "read at 30");
        assert!(at.is_between(Lsn(10)) && at.is_between(Lsn(29)) && !at.is_between(Lsn(30)));
        // No change can be one of them any more.
        at.passed(Lsn(29));
        assert_eq!(at.parts.len(), 3);
        at.passed(Lsn(30));
        assert_eq!((at.parts.len(), at.stream), (0, Some((30, 0))));
        at.passed(Lsn(20));
        assert_eq!(at.stream, Some((30, 0)));
    }

    #[test]
    fn a_snapshot_without_a_break_needs_no_comparing() {
        let mut at = ChangesPosition::beginning(vec!["a".into()], Lsn(10), true);
        at.read(row(0, "9"));
        at.snapshot_ends(Lsn(10));
        assert!(at.parts.is_empty() && at.counts(0, &["1"], WHOLE, Lsn(10)));
    }

    #[test]
    fn keys_of_several_columns_are_compared_column_by_column() {
        let orders = [KeyOrder::Bytes, KeyOrder::Whole];
        let compared = |a: [&str; 2], b: [&str; 2]| order(&a, &b.map(str::to_owned), &orders);
        assert_eq!(compared(["a", "10"], ["a", "9"]), Ordering::Greater);
        assert_eq!(compared(["Z", "10"], ["a", "9"]), Ordering::Less);
        assert_eq!(compared(["a", "9"], ["a", "9"]), Ordering::Equal);
    }
}
