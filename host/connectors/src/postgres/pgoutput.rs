//! What PostgreSQL's plugin `pgoutput` says of changes, in the first version of its protocol: whole transactions, in the order of their
//! commits.

use super::replication::Lsn;
use bytes::{Buf, Bytes};

/// One message of the replication protocol.
#[derive(Debug, PartialEq)]
pub enum ReplicationMessage {
    /// A transaction begins that was committed at this place, at this time in microseconds since 2000.
    Begin { commit: Lsn, time_us: i64 },
    /// It ends, and so does its part of the log.
    Commit { end: Lsn },
    /// What a table looks like from now on.
    Relation(Relation),
    /// A new row.
    Insert { relation: u32, new: Row },
    /// A row that changed; the old one, or its key, where the table's REPLICA IDENTITY gives it.
    Update { relation: u32, old: Option<OldRow>, new: Row },
    /// A row that is gone, or its key.
    Delete { relation: u32, old: OldRow },
    /// Tables that are empty now.
    Truncate { relations: Vec<u32> },
    /// Nothing of ours.
    Other,
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Relation {
    /// The number that changes name it by.
    pub id: u32,
    /// Its schema and name, where it changed.
    pub name: (String, String),
    /// Its columns.
    pub columns: Vec<String>,
}

/// A row as it was before.
#[derive(Clone, Debug, PartialEq)]
pub struct OldRow {
    /// Whether all values are there; else those of its key, and all others are null.
    pub is_whole: bool,
    /// They.
    pub row: Row,
}

/// Values in the order of the table's columns.
pub type Row = Vec<Cell>;

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// None.
    Null,
    /// It lies outside of the row and was not changed, so the log does not have it.
    Unchanged,
    /// As the server writes it.
    Text(String),
}

/// Reads a message; `None`: it is none.
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
                    let old = OldRow { is_whole: kind == b'O', row: row(body)? };
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
            ReplicationMessage::Delete { relation, old: OldRow { is_whole: kind == b'O', row: row(body)? } }
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

/// Text with a zero byte behind it.
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
            Some(expected(Some(OldRow { is_whole: true, row: vec![Cell::Text("1".into()), Cell::Null] })))
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
