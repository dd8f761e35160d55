//! The read position of a source. Pure code.
//!
//! First come the existing rows of the tables, in the order of their keys, as one snapshot of the database shows them. A snapshot does not
//! outlive its connection. After a crash, the remaining rows are read from a new snapshot, which shows a later state. Then every change
//! since the first snapshot is read. A change counts only if the snapshot in which its row was read did not show it yet. So each row and
//! each change is read once, whenever the job was killed.

use super::identity::TableIdentity;
use crate::postgres::replication::Lsn;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// The read position of a source: the rows of the snapshot, and the position in the log of changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChangesPosition {
    /// The followed tables.
    pub tables: Vec<String>,
    /// What distinguishes them from others of their names; empty: an earlier version began with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<TableIdentity>,
    /// The first snapshot of rows, in the server's notation of visible transactions; `None`: no rows were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The rows that were read in snapshots, in order; empty once no later change can be visible in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<SnapshotPart>,
    /// The position in the log, before which all transactions were read, and how many changes of the transaction committed there. `None`:
    /// the snapshot is not read to its end.
    pub stream: Option<(u64, u64)>,
}

/// Rows that were read in one snapshot, after those of the previous part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotPart {
    /// The snapshot shows what was committed before this position.
    pub lsn: u64,
    /// The last of them. `None`: none so far; or all remaining rows, for the last part of a snapshot that was read to its end.
    pub to: Option<RowPosition>,
}

/// The position of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowPosition {
    /// The index of its table.
    pub table: usize,
    /// Its key; `None`: after all rows of the table.
    pub key: Option<Vec<String>>,
}

/// How the values of a key column are ordered, both here and on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOrder {
    /// As integers.
    Integer,
    /// By the bytes of their text form.
    Bytes,
}

impl ChangesPosition {
    /// Returns the position at the beginning of a snapshot, or at a position of the log.
    pub fn beginning(tables: Vec<String>, lsn: Lsn, snapshot: bool) -> ChangesPosition {
        let none = ChangesPosition { tables, ..ChangesPosition::default() };
        match snapshot {
            true => ChangesPosition { parts: vec![SnapshotPart { lsn: lsn.0, to: None }], ..none },
            false => ChangesPosition { stream: Some((lsn.0, 0)), ..none },
        }
    }

    /// Decodes a position.
    pub fn parse(position: &[u8]) -> Option<ChangesPosition> {
        serde_json::from_slice(position).ok()
    }

    /// Encodes the position.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Returns from where on the log is still needed.
    pub fn needed(&self) -> Option<Lsn> {
        let begun = self.parts.first().map(|part| part.lsn);
        self.stream.map(|(lsn, _)| lsn).or(begun).map(Lsn)
    }

    /// Returns the last row of the snapshot that was read.
    pub fn read_to(&self) -> Option<&RowPosition> {
        self.parts.iter().rev().find_map(|part| part.to.as_ref())
    }

    /// Continues with the remaining rows in this snapshot.
    pub fn next_snapshot(&mut self, lsn: Lsn) {
        // A snapshot without a known row was not read at all.
        self.parts.retain(|part| part.to.is_some());
        self.parts.push(SnapshotPart { lsn: lsn.0, to: None });
    }

    /// Records that this row of the snapshot was read.
    pub fn read(&mut self, row: RowPosition) {
        if let Some(part) = self.parts.last_mut() {
            part.to = Some(row);
        }
    }

    /// Records that the snapshot was read completely: changes are read from the first snapshot on.
    pub fn complete_snapshot(&mut self, first: Lsn) {
        if let Some(part) = self.parts.last_mut() {
            part.to = None;
        }
        self.stream = Some((first.0, 0));
        self.drop_parts();
    }

    /// Records that everything before this position was read.
    pub fn advance(&mut self, lsn: Lsn) {
        if self.stream.is_some_and(|(at, _)| at < lsn.0) {
            self.stream = Some((lsn.0, 0));
            self.drop_parts();
        }
    }

    /// Records how many changes of the transaction committed here were read.
    pub fn advance_changes(&mut self, commit: Lsn, changes: u64) {
        self.stream = Some((commit.0, changes));
    }

    fn drop_parts(&mut self) {
        let shown = self.parts.iter().map(|part| part.lsn).max();
        if self.stream.zip(shown).is_none_or(|((at, _), shown)| at >= shown) {
            self.parts.clear();
        }
    }

    /// Whether a change committed at this position was not yet visible in the snapshot in which its row was read.
    pub fn is_new_change(&self, table: usize, key: &[&str], orders: &[KeyOrder], commit: Lsn) -> bool {
        let before = |row: &RowPosition| match (table.cmp(&row.table), &row.key) {
            (Ordering::Less, _) | (Ordering::Equal, None) => true,
            (Ordering::Equal, Some(last)) => order(key, last, orders).is_le(),
            (Ordering::Greater, _) => false,
        };
        let part = self.parts.iter().find(|part| part.to.as_ref().is_none_or(before));
        part.is_none_or(|part| commit.0 >= part.lsn)
    }

    /// Whether a change at this position is between the snapshots in which rows of the tables were read.
    pub fn is_between(&self, commit: Lsn) -> bool {
        self.parts.iter().any(|part| commit.0 < part.lsn) && self.parts.iter().any(|part| commit.0 >= part.lsn)
    }
}

/// Compares two keys.
fn order(key: &[&str], other: &[String], orders: &[KeyOrder]) -> Ordering {
    let column = |((a, b), order): ((&&str, &String), &KeyOrder)| match order {
        KeyOrder::Integer => a.parse::<i64>().unwrap_or_default().cmp(&b.parse::<i64>().unwrap_or_default()),
        KeyOrder::Bytes => a.as_bytes().cmp(b.as_bytes()),
    };
    key.iter().zip(other).zip(orders).map(column).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTEGER_KEY: &[KeyOrder] = &[KeyOrder::Integer];

    fn row(table: usize, key: &str) -> RowPosition {
        RowPosition { table, key: Some(vec![key.to_owned()]) }
    }

    #[test]
    fn positions_are_read_as_they_were_written() {
        let mut at = ChangesPosition::beginning(vec!["a".into(), "b".into()], Lsn(10), true);
        assert_eq!((ChangesPosition::parse(&at.encode()), at.needed()), (Some(at.clone()), Some(Lsn(10))));
        at.read(row(0, "7"));
        at.next_snapshot(Lsn(20));
        at.read(RowPosition { table: 0, key: None });
        assert_eq!(ChangesPosition::parse(&at.encode()), Some(at.clone()));
        at.complete_snapshot(Lsn(10));
        at.advance_changes(Lsn(12), 3);
        assert_eq!((ChangesPosition::parse(&at.encode()), at.needed()), (Some(at), Some(Lsn(12))));
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
        at.complete_snapshot(Lsn(10));
        let is_new_change = |table, key, commit| at.is_new_change(table, &[key], INTEGER_KEY, Lsn(commit));
        assert!(is_new_change(0, "9", 10) && is_new_change(0, "-5", 10), "read at 10");
        assert!(!is_new_change(0, "10", 19) && is_new_change(0, "10", 20), "read at 20: 10 comes behind 9");
        assert!(!is_new_change(1, "100", 19) && is_new_change(1, "100", 20));
        assert!(!is_new_change(1, "101", 29) && is_new_change(1, "101", 30), "read at 30");
        assert!(at.is_between(Lsn(10)) && at.is_between(Lsn(29)) && !at.is_between(Lsn(30)));
        // No change can be visible in a snapshot any longer.
        at.advance(Lsn(29));
        assert_eq!(at.parts.len(), 3);
        at.advance(Lsn(30));
        assert_eq!((at.parts.len(), at.stream), (0, Some((30, 0))));
        at.advance(Lsn(20));
        assert_eq!(at.stream, Some((30, 0)));
    }

    #[test]
    fn a_snapshot_without_a_break_needs_no_comparing() {
        let mut at = ChangesPosition::beginning(vec!["a".into()], Lsn(10), true);
        at.read(row(0, "9"));
        at.complete_snapshot(Lsn(10));
        assert!(at.parts.is_empty() && at.is_new_change(0, &["1"], INTEGER_KEY, Lsn(10)));
    }

    #[test]
    fn keys_of_several_columns_are_compared_column_by_column() {
        let orders = [KeyOrder::Bytes, KeyOrder::Integer];
        let compared = |a: [&str; 2], b: [&str; 2]| order(&a, &b.map(str::to_owned), &orders);
        assert_eq!(compared(["a", "10"], ["a", "9"]), Ordering::Greater);
        assert_eq!(compared(["Z", "10"], ["a", "9"]), Ordering::Less);
        assert_eq!(compared(["a", "9"], ["a", "9"]), Ordering::Equal);
    }
}
