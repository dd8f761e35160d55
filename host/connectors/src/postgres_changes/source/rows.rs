//! From changes to messages.

use super::Transaction;
use super::catalog::FollowedTable;
use super::position::ChangesPosition;
use super::record::{self, BEFORE, WantedColumns};
use super::snapshot::SnapshotReader;
use crate::postgres::pgoutput::{Cell, OldRow, Relation, Row};
use crate::postgres::replication::{EPOCH_US, Lsn};
use bytes::Bytes;
use millstream_base::batch::envelope::{ID, OP};
use millstream_base::batch::reading::Message;
use serde_json::Value as Json;
use std::borrow::Cow;

/// What happened to a table.
pub enum Change {
    Insert(Row),
    Update(Option<OldRow>, Row),
    Delete(OldRow),
    Truncate,
}

/// The messages that a poll has so far, and what it refused.
#[derive(Default)]
pub struct PolledChanges {
    pub messages: Vec<Message>,
    /// What is no row, and why.
    pub refused: Vec<(Vec<u8>, String)>,
    pub bytes: usize,
}

impl PolledChanges {
    /// How many rows it is.
    pub fn rows(&self) -> usize {
        self.messages.len() + self.refused.len()
    }

    fn put(
        &mut self,
        op: &str,
        table: &FollowedTable,
        value: Option<String>,
        lsn: Lsn,
        id: &str,
        time_ms: Option<i64>,
    ) {
        let header = |name: &str, value: &str| (name.to_owned(), Some(Bytes::copy_from_slice(value.as_bytes())));
        self.bytes += value.as_ref().map_or(0, String::len) + op.len() + id.len();
        self.messages.push(Message {
            value: value.map(Bytes::from),
            headers: vec![header(OP, op), header(ID, id)],
            time_ms,
            offset: lsn.0,
            topic: Some(table.name.clone()),
            ..Message::default()
        });
    }

    /// A row of a snapshot. It has no time: nobody knows when it came.
    pub fn put_row(
        &mut self,
        wanted: &WantedColumns,
        table: &FollowedTable,
        values: Vec<Option<String>>,
        of: &SnapshotReader,
    ) {
        let cells: Vec<Cell> = values.into_iter().map(|value| value.map_or(Cell::Null, Cell::Text)).collect();
        let mut object = String::from("{");
        // All values are known.
        let _ = record::put(&mut object, &wanted.now, table.columns.iter().map(String::as_str).zip(&cells));
        object.push('}');
        self.put("insert", table, Some(object), of.lsn(), &format!("{}:{}", of.lsn(), of.rows()), None);
    }
}

/// A table that changed.
pub struct ChangedTable<'a> {
    pub wanted: &'a WantedColumns,
    pub table: &'a FollowedTable,
    pub relation: &'a Relation,
    /// The number of the table.
    pub place: usize,
    pub transaction: Transaction,
    pub at: &'a ChangesPosition,
}

impl ChangedTable<'_> {
    /// Adds the rows that this change is.
    pub fn put(&self, change: &Change, read: &mut PolledChanges) -> Result<(), String> {
        match change {
            Change::Insert(new) if self.counts(new) => self.message("insert", Some(new), None, "", read),
            Change::Delete(old) if self.counts(&old.row) => self.message("delete", Some(&old.row), Some(old), "", read),
            Change::Insert(_) | Change::Delete(_) => {}
            Change::Update(old, new) => self.update(old.as_ref(), new, read),
            Change::Truncate if self.at.is_between(self.transaction.commit) => {
                return Err(format!(
                    "the table `{}` was truncated while the job read its rows and was restarted; give the source another name to start \
                     from scratch",
                    self.table.name
                ));
            }
            Change::Truncate => self.message("truncate", None, None, "", read),
        }
        Ok(())
    }

    /// An update of the key is two rows: whoever keeps rows by their key has to forget the old one.
    fn update(&self, old: Option<&OldRow>, new: &Row, read: &mut PolledChanges) {
        let new = completed(old, new);
        let moved_from = old.filter(|old| {
            let (before, now) = (self.key(&old.row), self.key(&new));
            before.is_some() && now.is_some() && before != now
        });
        match moved_from {
            None if self.counts(&new) => self.message("update", Some(&new), old, "", read),
            None => {}
            Some(old) => {
                if self.counts(&old.row) {
                    self.message("delete", Some(&old.row), Some(old), "", read);
                }
                if self.counts(&new) {
                    self.message("insert", Some(&new), None, ".1", read);
                }
            }
        }
    }

    /// Whether no snapshot in which the row was read showed this change.
    fn counts(&self, row: &Row) -> bool {
        self.at.parts.is_empty()
            || self
                .key(row)
                .is_none_or(|key| self.at.counts(self.place, &key, &self.table.orders(), self.transaction.commit))
    }

    /// The key of a row, where it has one.
    fn key<'r>(&self, row: &'r Row) -> Option<Vec<&'r str>> {
        let value = |name: &String| {
            let place = self.relation.columns.iter().position(|column| column == name)?;
            match row.get(place)? {
                Cell::Text(text) => Some(text.as_str()),
                Cell::Null | Cell::Unchanged => None,
            }
        };
        let key = self.table.key.iter().map(|column| value(&column.name)).collect::<Option<Vec<_>>>();
        key.filter(|key| !key.is_empty())
    }

    fn message(&self, op: &str, row: Option<&Row>, before: Option<&OldRow>, second: &str, read: &mut PolledChanges) {
        let Transaction { commit, time_us, changes, .. } = self.transaction;
        let time_ms = Some(time_us.saturating_add(EPOCH_US).div_euclid(1_000));
        let id = format!("{commit}:{changes}{second}");
        let named = |row| self.relation.columns.iter().map(String::as_str).zip::<&Row>(row);
        let mut object = String::from("{");
        let mut unknown = record::put(&mut object, &self.wanted.now, row.into_iter().flat_map(named)).err();
        // Of a key alone the rest is not known.
        if let Some(before) = before.filter(|before| before.is_whole && !self.wanted.before.is_empty()) {
            let mut inner = String::from("{");
            unknown = unknown.or(record::put(&mut inner, &self.wanted.before, named(&before.row)).err());
            let comma = if object.len() > 1 { "," } else { "" };
            object.push_str(&format!("{comma}\"{BEFORE}\":{inner}}}"));
        }
        object.push('}');
        let Some(column) = unknown else {
            return read.put(op, self.table, row.map(|_| object), commit, &id, time_ms);
        };
        let key = row.and_then(|row| self.key(row)).unwrap_or_default();
        let data =
            Json::from_iter([("op", Json::from(op)), ("id", Json::from(id)), ("key", Json::from(key))]).to_string();
        let (name, quoted) = (&self.table.name, &self.table.quoted);
        read.refused.push((
            data.into_bytes(),
            format!(
                "the {op} of a row of `{name}` left column `{column}` as it was, and the server's log does not have such long values; \
                 with `alter table {quoted} replica identity full` it has those of later changes"
            ),
        ));
    }
}

/// A row whose values that were not changed are those of the old one, where it has them.
fn completed<'a>(old: Option<&OldRow>, new: &'a Row) -> Cow<'a, Row> {
    if !new.contains(&Cell::Unchanged) {
        return Cow::Borrowed(new);
    }
    let cell = |(place, cell): (usize, &Cell)| match (cell, old.and_then(|old| old.row.get(place))) {
        (Cell::Unchanged, Some(known @ Cell::Text(_))) => known.clone(),
        _ => cell.clone(),
    };
    Cow::Owned(new.iter().enumerate().map(cell).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres_changes::source::record::ValueKind;
    use std::collections::BTreeMap;

    fn row(cells: [&str; 2]) -> Row {
        let cell = |text: &str| match text {
            "-" => Cell::Null,
            "=" => Cell::Unchanged,
            text => Cell::Text(text.into()),
        };
        cells.map(cell).into()
    }

    /// What a change of table `t` with the columns `id` and `v` is.
    fn told(change: &Change) -> Vec<String> {
        let forms =
            |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), ValueKind::Text)).collect::<BTreeMap<_, _>>();
        let wanted = WantedColumns { now: forms(&["id", "v"]), before: forms(&["v"]) };
        let table = FollowedTable::of_test("t", &["id", "v"]);
        let relation = Relation { id: 1, columns: table.columns.clone(), ..Relation::default() };
        let transaction = Transaction { commit: Lsn(0x10), time_us: 0, changes: 3, known: 0 };
        let (mut read, at) = (PolledChanges::default(), ChangesPosition::default());
        let changed =
            ChangedTable { wanted: &wanted, table: &table, relation: &relation, place: 0, transaction, at: &at };
        changed.put(change, &mut read).unwrap();
        let message = |message: &Message| {
            let header =
                |place: usize| String::from_utf8_lossy(message.headers[place].1.as_ref().unwrap()).into_owned();
            let value =
                message.value.as_ref().map_or("none".into(), |value| String::from_utf8_lossy(value).into_owned());
            format!("{} {} {value}", header(0), header(1))
        };
        let refused = read.refused.iter().map(|(data, _)| format!("refused {}", String::from_utf8_lossy(data)));
        read.messages.iter().map(message).chain(refused).collect()
    }

    #[test]
    fn changes_become_rows() {
        let whole = |cells| OldRow { is_whole: true, row: row(cells) };
        let key = |cells| OldRow { is_whole: false, row: row(cells) };
        let cases: [(Change, &[&str]); 8] = [
            (Change::Insert(row(["1", "-"])), &[r#"insert 0/10:3 {"id":"1","v":null}"#]),
            (Change::Update(None, row(["1", "a"])), &[r#"update 0/10:3 {"id":"1","v":"a"}"#]),
            (
                Change::Update(Some(whole(["1", "long"])), row(["1", "="])),
                &[r#"update 0/10:3 {"id":"1","v":"long","before":{"v":"long"}}"#],
            ),
            (Change::Update(None, row(["1", "="])), &[r#"refused {"id":"0/10:3","key":["1"],"op":"update"}"#]),
            (
                Change::Update(Some(key(["1", "-"])), row(["2", "a"])),
                &[r#"delete 0/10:3 {"id":"1","v":null}"#, r#"insert 0/10:3.1 {"id":"2","v":"a"}"#],
            ),
            (Change::Delete(key(["1", "-"])), &[r#"delete 0/10:3 {"id":"1","v":null}"#]),
            (Change::Delete(whole(["1", "-"])), &[r#"delete 0/10:3 {"id":"1","v":null,"before":{"v":null}}"#]),
            (Change::Truncate, &["truncate 0/10:3 none"]),
        ];
        for (change, expected) in cases {
            assert_eq!(told(&change), expected);
        }
    }
}
