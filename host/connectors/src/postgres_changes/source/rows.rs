//! Converts changes to messages.

use super::Transaction;
use super::catalog::FollowedTable;
use super::position::ChangesPosition;
use super::record::{self, BEFORE, WantedColumns};
use super::snapshot::SnapshotReader;
use crate::postgres::pgoutput::{Cell, OldRow, Relation, Row};
use crate::postgres::replication::{EPOCH_US, Lsn};
use bytes::Bytes;
use millstream_rows::batch::envelope::{ID, OP};
use millstream_rows::batch::reading::Message;
use serde_json::Value as Json;
use std::borrow::Cow;

/// A change of a table.
pub enum Change {
    Insert(Row),
    Update(Option<OldRow>, Row),
    Delete(OldRow),
    Truncate,
}

/// The messages of a poll so far, and the rejected rows.
#[derive(Default)]
pub struct PolledChanges {
    pub messages: Vec<Message>,
    /// Invalid rows, and why.
    pub rejected: Vec<(Vec<u8>, String)>,
    pub bytes: usize,
}

impl PolledChanges {
    /// Returns the number of rows.
    pub fn rows(&self) -> usize {
        self.messages.len() + self.rejected.len()
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

    /// Appends a row of a snapshot. It has no time, as the time of its insertion is unknown.
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

/// The table of a change.
pub struct ChangedTable<'a> {
    pub wanted: &'a WantedColumns,
    pub table: &'a FollowedTable,
    pub relation: &'a Relation,
    /// The index of the table.
    pub table_index: usize,
    pub transaction: Transaction,
    pub at: &'a ChangesPosition,
}

impl ChangedTable<'_> {
    /// Appends the rows of this change.
    pub fn put(&self, change: &Change, read: &mut PolledChanges) -> Result<(), String> {
        match change {
            Change::Insert(new) if self.is_new_change(new) => self.message("insert", Some(new), None, "", read),
            Change::Delete(old) if self.is_new_change(&old.row) => {
                self.message("delete", Some(&old.row), Some(old), "", read)
            }
            Change::Insert(_) | Change::Delete(_) => {}
            Change::Update(old, new) => self.update(old.as_ref(), new, read),
            Change::Truncate if self.at.is_between(self.transaction.commit) => {
                return Err(format!(
                    "the table `{}` was truncated while the job read its rows and was restarted",
                    self.table.name
                ));
            }
            Change::Truncate => self.message("truncate", None, None, "", read),
        }
        Ok(())
    }

    /// Appends an update. An update of the key is two rows: stages that keep rows by their key have to drop the old one.
    fn update(&self, old: Option<&OldRow>, new: &Row, read: &mut PolledChanges) {
        let new = complete(old, new);
        let moved_from = old.filter(|old| {
            let (before, now) = (self.key(&old.row), self.key(&new));
            before.is_some() && now.is_some() && before != now
        });
        match moved_from {
            None if self.is_new_change(&new) => self.message("update", Some(&new), old, "", read),
            None => {}
            Some(old) => {
                if self.is_new_change(&old.row) {
                    self.message("delete", Some(&old.row), Some(old), "", read);
                }
                if self.is_new_change(&new) {
                    self.message("insert", Some(&new), None, ".1", read);
                }
            }
        }
    }

    /// Whether this change was not visible in the snapshot in which the row was read.
    fn is_new_change(&self, row: &Row) -> bool {
        self.at.parts.is_empty()
            || self.key(row).is_none_or(|key| {
                self.at.is_new_change(self.table_index, &key, &self.table.orders(), self.transaction.commit)
            })
    }

    /// Returns the key of a row, if it has one.
    fn key<'r>(&self, row: &'r Row) -> Option<Vec<&'r str>> {
        let value = |name: &String| {
            let index = self.relation.columns.iter().position(|column| column == name)?;
            match row.get(index)? {
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
        // Of a key alone the rest is unknown.
        if let Some(before) = before.filter(|before| before.is_complete && !self.wanted.before.is_empty()) {
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
        read.rejected.push((
            data.into_bytes(),
            format!(
                "the {op} of a row of `{name}` did not change column `{column}`, and the server's log omits \
                 unchanged long values; run `alter table {quoted} replica identity full` to log them for later \
                 changes"
            ),
        ));
    }
}

/// Completes a row with unchanged values from the old one, if they are known.
fn complete<'a>(old: Option<&OldRow>, new: &'a Row) -> Cow<'a, Row> {
    if !new.contains(&Cell::Unchanged) {
        return Cow::Borrowed(new);
    }
    let cell = |(index, cell): (usize, &Cell)| match (cell, old.and_then(|old| old.row.get(index))) {
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

    /// Returns the messages of a change of table `t` with the columns `id` and `v`.
    fn messages_of(change: &Change) -> Vec<String> {
        let forms =
            |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), ValueKind::Text)).collect::<BTreeMap<_, _>>();
        let wanted = WantedColumns { now: forms(&["id", "v"]), before: forms(&["v"]) };
        let table = FollowedTable::of_test("t", &["id", "v"]);
        let relation = Relation { id: 1, columns: table.columns.clone(), ..Relation::default() };
        let transaction = Transaction { commit: Lsn(0x10), time_us: 0, changes: 3, known: 0 };
        let (mut read, at) = (PolledChanges::default(), ChangesPosition::default());
        let changed =
            ChangedTable { wanted: &wanted, table: &table, relation: &relation, table_index: 0, transaction, at: &at };
        changed.put(change, &mut read).unwrap();
        let message = |message: &Message| {
            let header =
                |index: usize| String::from_utf8_lossy(message.headers[index].1.as_ref().unwrap()).into_owned();
            let value =
                message.value.as_ref().map_or("none".into(), |value| String::from_utf8_lossy(value).into_owned());
            format!("{} {} {value}", header(0), header(1))
        };
        let rejected = read.rejected.iter().map(|(data, _)| format!("refused {}", String::from_utf8_lossy(data)));
        read.messages.iter().map(message).chain(rejected).collect()
    }

    #[test]
    fn changes_become_rows() {
        let full_row = |cells| OldRow { is_complete: true, row: row(cells) };
        let key = |cells| OldRow { is_complete: false, row: row(cells) };
        let cases: [(Change, &[&str]); 8] = [
            (Change::Insert(row(["1", "-"])), &[r#"insert 0/10:3 {"id":"1","v":null}"#]),
            (Change::Update(None, row(["1", "a"])), &[r#"update 0/10:3 {"id":"1","v":"a"}"#]),
            (
                Change::Update(Some(full_row(["1", "long"])), row(["1", "="])),
                &[r#"update 0/10:3 {"id":"1","v":"long","before":{"v":"long"}}"#],
            ),
            (Change::Update(None, row(["1", "="])), &[r#"refused {"id":"0/10:3","key":["1"],"op":"update"}"#]),
            (
                Change::Update(Some(key(["1", "-"])), row(["2", "a"])),
                &[r#"delete 0/10:3 {"id":"1","v":null}"#, r#"insert 0/10:3.1 {"id":"2","v":"a"}"#],
            ),
            (Change::Delete(key(["1", "-"])), &[r#"delete 0/10:3 {"id":"1","v":null}"#]),
            (Change::Delete(full_row(["1", "-"])), &[r#"delete 0/10:3 {"id":"1","v":null,"before":{"v":null}}"#]),
            (Change::Truncate, &["truncate 0/10:3 none"]),
        ];
        for (change, expected) in cases {
            assert_eq!(messages_of(&change), expected);
        }
    }
}
