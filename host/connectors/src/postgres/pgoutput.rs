//! Messages of PostgreSQL's plugin `pgoutput` in version 1 of its protocol: complete transactions, in the order of their commits.

use super::replication::Lsn;
use bytes::{Buf, Bytes};

/// A message of the replication protocol.
#[derive(Debug, PartialEq)]
pub enum ReplicationMessage {
    /// Begins a transaction that was committed at this position, at this time in microseconds since 2000.
    Begin { commit: Lsn, time_us: i64 },
    /// Ends the transaction and its part of the log.
    Commit { end: Lsn },
    /// Describes a table from now on.
    Relation(Relation),
    /// A new row.
    Insert { relation: u32, new: Row },
    /// A changed row, with the old row or its key, if the table's REPLICA IDENTITY includes it.
    Update { relation: u32, old: Option<OldRow>, new: Row },
    /// A deleted row, or its key.
    Delete { relation: u32, old: OldRow },
    /// Tables that were truncated.
    Truncate { relations: Vec<u32> },
    /// Any other message, which is ignored.
    Other,
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Relation {
    /// The id by which changes refer to it.
    pub id: u32,
    /// Its schema and name.
    pub name: (String, String),
    /// The names of its columns.
    pub columns: Vec<String>,
}

/// The old version of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct OldRow {
    /// Whether all values are known; otherwise only those of the key, and the others are null.
    pub is_complete: bool,
    /// The values.
    pub row: Row,
}

/// Values in the order of the table's columns.
pub type Row = Vec<Cell>;

/// A value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// A null.
    Null,
    /// A value that is stored outside of the row and was not changed, so the log does not contain it.
    Unchanged,
    /// The server's text form.
    Text(String),
}

/// Decodes a message; `None` if it is invalid.
pub fn read(mut body: Bytes) -> Option<ReplicationMessage> {
    let body = &mut body;
    Some(match body.try_get_u8().ok()? {
        b'B' => ReplicationMessage::Begin { commit: Lsn(body.try_get_u64().ok()?), time_us: body.try_get_i64().ok()? },
        b'C' => {
            let (_flags, _commit) = (body.try_get_u8().ok()?, body.try_get_u64().ok()?);
            ReplicationMessage::Commit { end: Lsn(body.try_get_u64().ok()?) }
        }
        b'R' => {
            let id = body.try_get_u32().ok()?;
            let name = (text(body)?, text(body)?);
            let _identity = body.try_get_u8().ok()?;
            let mut columns = Vec::new();
            for _ in 0..body.try_get_u16().ok()? {
                let _flags = body.try_get_u8().ok()?;
                columns.push(text(body)?);
                let (_type, _modifier) = (body.try_get_u32().ok()?, body.try_get_u32().ok()?);
            }
            ReplicationMessage::Relation(Relation { id, name, columns })
        }
        b'I' => {
            let relation = body.try_get_u32().ok()?;
            (body.try_get_u8().ok()? == b'N').then_some(())?;
            ReplicationMessage::Insert { relation, new: row(body)? }
        }
        b'U' => {
            let relation = body.try_get_u32().ok()?;
            let old = match body.try_get_u8().ok()? {
                kind @ (b'K' | b'O') => {
                    let old = OldRow { is_complete: kind == b'O', row: row(body)? };
                    (body.try_get_u8().ok()? == b'N').then_some(Some(old))?
                }
                b'N' => None,
                _ => return None,
            };
            ReplicationMessage::Update { relation, old, new: row(body)? }
        }
        b'D' => {
            let relation = body.try_get_u32().ok()?;
            let kind = body.try_get_u8().ok()?;
            matches!(kind, b'K' | b'O').then_some(())?;
            ReplicationMessage::Delete { relation, old: OldRow { is_complete: kind == b'O', row: row(body)? } }
        }
        b'T' => {
            let count = body.try_get_u32().ok()? as usize;
            let _options = body.try_get_u8().ok()?;
            (body.len() / 4 >= count).then_some(())?;
            ReplicationMessage::Truncate { relations: (0..count).map_while(|_| body.try_get_u32().ok()).collect() }
        }
        _ => ReplicationMessage::Other,
    })
}

/// Reads a NUL-terminated text.
fn text(body: &mut Bytes) -> Option<String> {
    let end = memchr::memchr(0, body)?;
    let text = String::from_utf8(body.split_to(end).to_vec()).ok();
    body.advance(1);
    text
}

fn row(body: &mut Bytes) -> Option<Row> {
    let count = body.try_get_u16().ok()?;
    let mut row = Row::new();
    for _ in 0..count {
        row.push(match body.try_get_u8().ok()? {
            b'n' => Cell::Null,
            b'u' => Cell::Unchanged,
            b't' => {
                let length = body.try_get_u32().ok()? as usize;
                (length <= body.len()).then_some(())?;
                Cell::Text(String::from_utf8(body.split_to(length).to_vec()).ok()?)
            }
            _ => return None,
        });
    }
    Some(row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_base::random::Random;

    #[test]
    fn an_update_has_its_old_row_where_there_is_one() {
        let new = b"N\0\x02t\0\0\0\x011u";
        let with_old = [b"U\0\0\0\x07O\0\x02t\0\0\0\x011n", &new[..]].concat();
        let expected =
            |old| ReplicationMessage::Update { relation: 7, old, new: vec![Cell::Text("1".into()), Cell::Unchanged] };
        assert_eq!(
            read(with_old.into()),
            Some(expected(Some(OldRow { is_complete: true, row: vec![Cell::Text("1".into()), Cell::Null] })))
        );
        assert_eq!(read([b"U\0\0\0\x07", &new[..]].concat().into()), Some(expected(None)));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut random = Random(1);
        for case in 0..20_000_u64 {
            let kind = b"BCRIUDT"[(case % 7) as usize];
            let length = random.below(60);
            let mut bytes = vec![kind];
            bytes.extend((0..length).map(|_| [0, 0, 0, 1, b'N', b't', 255, b'K'][random.below(8) as usize]));
            let _ = read(bytes.into());
        }
    }
}
