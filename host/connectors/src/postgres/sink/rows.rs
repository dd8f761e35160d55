//! Rows in the binary format of PostgreSQL's COPY.

use super::array;
use super::conversion::{ArrayForm, ColumnConversion};
use crate::postgres::ConversionError;
use arrow::array::{Array, RecordBatch};
use bytes::{BufMut, Bytes, BytesMut};
use millstream_rows::batch::cell;
use millstream_rows::batch::cell::Cells;
use std::error::Error;
use std::fmt;
use std::ops::Range;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Statement};

/// Microseconds between 1970 and 2000, PostgreSQL's epoch.
const EPOCH_US: i64 = 946_684_800_000_000;
/// The same in days.
const EPOCH_DAYS: i32 = 10_957;
/// The timestamps of PostgreSQL, in microseconds since 2000, and below its dates, in days: from the first Julian day on. The extremes of 64
/// and 32 bits mean infinity.
const TIMES: Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;
const DATES: Range<i32> = -2_451_545..2_145_031_949;

/// Copies the rows of a batch. `numbered`: adds a last column with the row number.
pub(super) async fn copy(
    client: &Client,
    statement: &Statement,
    conversions: &[ColumnConversion],
    parts: &[RecordBatch],
    numbered: bool,
) -> Result<(), tokio_postgres::Error> {
    let mut types: Vec<Type> = conversions.iter().map(|column_conversion| column_conversion.copied.clone()).collect();
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
            .zip(conversions)
            .map(|((field, array), column_conversion)| {
                (field.name(), array, Cells::new(array), column_conversion.array)
            })
            .collect();
        for row in 0..part.num_rows() {
            number += 1;
            let mut values: Vec<CopiedValue<'_>> = Vec::with_capacity(types.len());
            for (name, array, cells, form) in &columns {
                let cells = array.is_valid(row).then_some(cells);
                values.push(CopiedValue::Cell { cells, index: row, array: *form, name, row: number });
            }
            values.extend(numbered.then_some(CopiedValue::Number(number)));
            writer.as_mut().write_raw(values).await?;
        }
    }
    writer.finish().await.map(drop)
}

/// A value to be copied; `cells` is `None` if it is null.
enum CopiedValue<'a> {
    Cell { cells: Option<&'a Cells<'a>>, index: usize, array: Option<ArrayForm>, name: &'a str, row: i64 },
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
        let (cells, index, array, name, row) = match *self {
            CopiedValue::Number(number) => {
                out.put_i64(number);
                return Ok(IsNull::No);
            }
            CopiedValue::Cell { cells: None, .. } => return Ok(IsNull::Yes),
            CopiedValue::Cell { cells: Some(cells), index, array, name, row } => (cells, index, array, name, row),
        };
        write(cells, index, array, kind, out).map_err(|why| ConversionError { column: name.into(), row, why })?;
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn write(
    cells: &Cells<'_>,
    index: usize,
    array: Option<ArrayForm>,
    kind: &Type,
    out: &mut BytesMut,
) -> Result<(), String> {
    match cells {
        Cells::Bool(array) => out.put_u8(array.value(index).into()),
        Cells::Int64(array) => write_integer(array.value(index), kind, out)?,
        // The server converts it to a number.
        Cells::Float64(array) if *kind == Type::TEXT => {
            let mut text = String::new();
            cell::write_float(&mut text, array.value(index));
            out.put_slice(text.as_bytes());
        }
        Cells::Float64(array) => out.put_f64(array.value(index)),
        Cells::Text(strings) => {
            let text = strings.value(index);
            let elements = array.and_then(|form| array::of_text(text, form));
            let text = elements.as_deref().unwrap_or(text).as_bytes();
            if memchr::memchr(0, text).is_some() {
                return Err(
                    "its text contains NUL, which PostgreSQL cannot store; remove it in a previous stage".into()
                );
            }
            out.put_slice(text);
        }
        Cells::Binary(array) => out.put_slice(array.value(index)),
        Cells::Timestamp(array) => {
            let time_us = array.value(index);
            let since = time_us.checked_sub(EPOCH_US).filter(|since| TIMES.contains(since));
            out.put_i64(since.ok_or_else(|| {
                let mut shown = String::new();
                cell::write_rfc3339(&mut shown, time_us);
                format!("{shown} is outside the range of PostgreSQL times, 4714 BC to 294276")
            })?);
        }
        Cells::Date(array) if *kind == Type::DATE => {
            let day = array.value(index);
            let since = day.checked_sub(EPOCH_DAYS).filter(|since| DATES.contains(since));
            out.put_i32(since.ok_or_else(|| {
                let shown = date(day);
                format!("{shown} is outside the range of PostgreSQL dates, 4714 BC to 5874897")
            })?);
        }
        Cells::Date(array) => out.put_slice(date(array.value(index)).as_bytes()),
        // Decimals are copied as text: see `conversion`.
        Cells::Decimal(_) => return Err("a decimal is written as a string".into()),
        Cells::Other(array) => return Err(format!("a value of type {} cannot be written", array.data_type())),
    }
    Ok(())
}

fn date(day: i32) -> String {
    let mut shown = String::new();
    cell::write_date(&mut shown, day);
    shown
}

fn write_integer(value: i64, kind: &Type, out: &mut BytesMut) -> Result<(), String> {
    let unfit = |_| format!("{value} does not fit into the column's type {kind}; make it a bigint");
    match *kind {
        Type::INT2 => out.put_i16(i16::try_from(value).map_err(unfit)?),
        Type::INT4 => out.put_i32(i32::try_from(value).map_err(unfit)?),
        _ => out.put_i64(value),
    }
    Ok(())
}
