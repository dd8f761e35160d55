//! Rows as PostgreSQL's binary COPY takes them.

use crate::batch::cell;
use crate::batch::cell::Cells;
use crate::postgres::Unfit;
use arrow::array::{Array, RecordBatch};
use bytes::{BufMut, Bytes, BytesMut};
use std::error::Error;
use std::fmt;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Statement};

/// Microseconds between 1970 and 2000, where PostgreSQL's timestamps begin.
const EPOCH_US: i64 = 946_684_800_000_000;

/// Copies the rows of a batch. `numbered`: each with its number in a last column.
pub(super) async fn copy(
    client: &Client,
    statement: &Statement,
    types: &[Type],
    parts: &[RecordBatch],
    numbered: bool,
) -> Result<(), tokio_postgres::Error> {
    let mut types = types.to_vec();
    types.extend(numbered.then_some(Type::INT8));
    let writer = BinaryCopyInWriter::new(client.copy_in::<_, Bytes>(statement).await?, &types);
    let mut writer = std::pin::pin!(writer);
    let mut number = 0;
    for part in parts {
        let schema = part.schema();
        let columns: Vec<_> = schema
            .fields()
            .iter()
            .zip(part.columns())
            .map(|(field, array)| (field.name(), array, Cells::of(array)))
            .collect();
        for row in 0..part.num_rows() {
            number += 1;
            let mut values: Vec<CopiedValue<'_>> = Vec::with_capacity(types.len());
            for (name, array, cells) in &columns {
                let cells = array.is_valid(row).then_some(cells);
                values.push(CopiedValue::Cell { cells, index: row, name, row: number });
            }
            values.extend(numbered.then_some(CopiedValue::Number(number)));
            writer.as_mut().write_raw(values).await?;
        }
    }
    writer.finish().await.map(drop)
}

/// A value on its way; `cells` is `None` where it is null.
enum CopiedValue<'a> {
    Cell { cells: Option<&'a Cells<'a>>, index: usize, name: &'a str, row: i64 },
    Number(i64),
}

impl fmt::Debug for CopiedValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CopiedValue::Cell { name, row, .. } => write!(f, "column {name} of row {row}"),
            CopiedValue::Number(number) => write!(f, "number {number}"),
        }
    }
}

impl ToSql for CopiedValue<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let (cells, index, name, row) = match *self {
            CopiedValue::Number(number) => {
                out.put_i64(number);
                return Ok(IsNull::No);
            }
            CopiedValue::Cell { cells: None, .. } => return Ok(IsNull::Yes),
            CopiedValue::Cell { cells: Some(cells), index, name, row } => (cells, index, name, row),
        };
        write(cells, index, kind, out).map_err(|why| Unfit { column: name.into(), row, why })?;
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn write(cells: &Cells<'_>, index: usize, kind: &Type, out: &mut BytesMut) -> Result<(), String> {
    match cells {
        Cells::Bool(array) => out.put_u8(array.value(index).into()),
        Cells::Int64(array) => write_whole(array.value(index), kind, out)?,
        // Where the server makes a number of it.
        Cells::Float64(array) if *kind == Type::TEXT => {
            let mut text = String::new();
            cell::write_float(&mut text, array.value(index));
            out.put_slice(text.as_bytes());
        }
        Cells::Float64(array) => out.put_f64(array.value(index)),
        Cells::Text(array) => {
            let text = array.value(index).as_bytes();
            if memchr::memchr(0, text).is_some() {
                return Err(
                    "its text has a zero byte, which PostgreSQL cannot hold; remove it in a stage before".into()
                );
            }
            out.put_slice(text);
        }
        Cells::Binary(array) => out.put_slice(array.value(index)),
        Cells::Timestamp(array) => {
            // The ends of 64 bits mean infinity there.
            let since = array.value(index).checked_sub(EPOCH_US).filter(|since| ![i64::MIN, i64::MAX].contains(since));
            out.put_i64(since.ok_or("the timestamp is out of the range of PostgreSQL's")?);
        }
        // Texts stand for these: see `conversion`.
        Cells::Date(_) | Cells::Decimal(_) => return Err("a date or decimal is written as a text".into()),
        Cells::Other(array) => return Err(format!("a value of type {} cannot be written", array.data_type())),
    }
    Ok(())
}

fn write_whole(value: i64, kind: &Type, out: &mut BytesMut) -> Result<(), String> {
    let unfit = |_| format!("{value} does not fit into the column's type {kind}; make it a bigint");
    match *kind {
        Type::INT2 => out.put_i16(i16::try_from(value).map_err(unfit)?),
        Type::INT4 => out.put_i32(i32::try_from(value).map_err(unfit)?),
        _ => out.put_i64(value),
    }
    Ok(())
}
