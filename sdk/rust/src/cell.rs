//! Types of a row's fields, with conversions from and to columns.

use crate::Type;
use crate::batch::{bit, words};
use crate::bindings::transform::millstream::plugin::types::Column;
use crate::writer::{BitWriter, BytesWriter, FixedWriter, NullableWriter, Writer};

/// A point in time: microseconds since 1970-01-01 00:00 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// A type of a row's field: `bool`, `i64`, `f64`, `&str`, `String`, `&[u8]`, `Vec<u8>`, [`Timestamp`], [`Date`](crate::Date),
/// [`Decimal`](crate::Decimal), and `Option` of each for nullable columns. Only this crate implements it.
pub trait Cell: sealed::Sealed {
    /// Whether the column is nullable.
    const NULLABLE: bool = false;
    /// The same type, borrowing for `'x`.
    type Of<'x>;
    /// A column, checked once and then read row by row.
    type Reader<'x>: Copy;
    /// Builds a column.
    type Writer<'a>: Writer<'a>;
    /// Returns the column's type.
    fn column_type() -> Type;
    /// Checks that the column's buffers are long enough for this many rows. The error describes the problem.
    fn reader(column: &Column, rows: usize) -> Result<Self::Reader<'_>, &'static str>;
    /// Returns the value in a row.
    fn read<'x>(reader: &Self::Reader<'x>, row: usize) -> Self::Of<'x>;
    /// Appends a value.
    fn write(writer: &mut Self::Writer<'_>, value: Self::Of<'_>);
    /// Appends a placeholder for a null.
    fn write_empty(writer: &mut Self::Writer<'_>);
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for bool {}
    impl Sealed for i64 {}
    impl Sealed for f64 {}
    impl Sealed for super::Timestamp {}
    impl Sealed for &str {}
    impl Sealed for String {}
    impl Sealed for &[u8] {}
    impl Sealed for Vec<u8> {}
    impl Sealed for crate::Date {}
    impl<const P: u8, const S: u8> Sealed for crate::Decimal<P, S> {}
    impl<T: Sealed> Sealed for Option<T> {}
}

macro_rules! eight_bytes {
    ($type:ty, $column_type:expr, $read:expr, $write:expr) => {
        impl Cell for $type {
            type Of<'x> = $type;
            type Reader<'x> = &'x [[u8; 8]];
            type Writer<'a> = FixedWriter;

            fn column_type() -> Type {
                $column_type
            }

            fn reader(column: &Column, rows: usize) -> Result<Self::Reader<'_>, &'static str> {
                words(&column.data).get(..rows).ok_or("its values are too short")
            }

            #[inline]
            fn read<'x>(reader: &Self::Reader<'x>, row: usize) -> Self::Of<'x> {
                $read(reader[row])
            }

            #[inline]
            fn write(writer: &mut FixedWriter, value: $type) {
                writer.push($write(value));
            }

            fn write_empty(writer: &mut FixedWriter) {
                writer.push([0; 8]);
            }
        }
    };
}

eight_bytes!(i64, Type::Int64, i64::from_le_bytes, i64::to_le_bytes);
eight_bytes!(f64, Type::Float64, f64::from_le_bytes, f64::to_le_bytes);
eight_bytes!(Timestamp, Type::Timestamp, |bytes| Timestamp(i64::from_le_bytes(bytes)), |t: Timestamp| t
    .0
    .to_le_bytes());

impl Cell for bool {
    type Of<'x> = bool;
    type Reader<'x> = &'x [u8];
    type Writer<'a> = BitWriter;

    fn column_type() -> Type {
        Type::Bool
    }

    fn reader(column: &Column, rows: usize) -> Result<Self::Reader<'_>, &'static str> {
        column.data.get(..rows.div_ceil(8)).ok_or("its values are too short")
    }

    #[inline]
    fn read<'x>(reader: &Self::Reader<'x>, row: usize) -> Self::Of<'x> {
        bit(reader, row)
    }

    #[inline]
    fn write(writer: &mut BitWriter, value: bool) {
        writer.push(value);
    }

    fn write_empty(writer: &mut BitWriter) {
        writer.push(false);
    }
}

/// A column of text or binary: row i is `data[offsets[i] .. offsets[i + 1]]`.
#[derive(Clone, Copy)]
pub struct BytesReader<'x> {
    offsets: &'x [[u8; 4]],
    data: &'x [u8],
}

impl<'x> BytesReader<'x> {
    pub(crate) fn new(column: &'x Column, rows: usize) -> Result<BytesReader<'x>, &'static str> {
        let (offsets, _) = column.offsets.as_deref().ok_or("it has no offsets")?.as_chunks();
        // In Arrow, a column without rows may have no offsets.
        if rows > 0 && offsets.len() <= rows {
            return Err("its offsets are too short");
        }
        Ok(BytesReader { offsets, data: &column.data })
    }

    #[inline]
    pub(crate) fn get(&self, row: usize) -> &'x [u8] {
        let at = |row: usize| u32::from_le_bytes(self.offsets[row]) as usize;
        &self.data[at(row)..at(row + 1)]
    }

    /// Returns the text in a row.
    #[inline]
    fn text(&self, row: usize) -> &'x str {
        // SAFETY: a reader of text is created for a column that was described as `text`. The host guarantees UTF-8 in every row
        // of such a column and has checked it when it created the Arrow array. `testing` creates them from `str`, and
        // `Batch::column`, which takes any column, checks before it creates a reader.
        unsafe { std::str::from_utf8_unchecked(self.get(row)) }
    }
}

macro_rules! any_length {
    ($type:ty, $of:ty, $column_type:expr, $read:ident, $convert:expr) => {
        impl Cell for $type {
            type Of<'x> = $of;
            type Reader<'x> = BytesReader<'x>;
            type Writer<'a> = BytesWriter<'a>;

            fn column_type() -> Type {
                $column_type
            }

            fn reader(column: &Column, rows: usize) -> Result<Self::Reader<'_>, &'static str> {
                BytesReader::new(column, rows)
            }

            #[inline]
            fn read<'x>(reader: &Self::Reader<'x>, row: usize) -> Self::Of<'x> {
                $convert(reader.$read(row))
            }

            #[inline]
            fn write(writer: &mut BytesWriter<'_>, value: Self::Of<'_>) {
                writer.push(value.as_ref());
            }

            fn write_empty(writer: &mut BytesWriter<'_>) {
                writer.push(&[]);
            }
        }
    };
}

any_length!(&str, &'x str, Type::Text, text, std::convert::identity);
any_length!(String, String, Type::Text, text, str::to_owned);
any_length!(&[u8], &'x [u8], Type::Binary, get, std::convert::identity);
any_length!(Vec<u8>, Vec<u8>, Type::Binary, get, <[u8]>::to_vec);

impl<T: Cell> Cell for Option<T> {
    const NULLABLE: bool = true;
    type Of<'x> = Option<T::Of<'x>>;
    type Reader<'x> = (Option<&'x [u8]>, T::Reader<'x>);
    type Writer<'a> = NullableWriter<T::Writer<'a>>;

    fn column_type() -> Type {
        T::column_type()
    }

    fn reader(column: &Column, rows: usize) -> Result<Self::Reader<'_>, &'static str> {
        let validity = match &column.validity {
            Some(bits) => Some(bits.get(..rows.div_ceil(8)).ok_or("its validity is too short")?),
            None => None,
        };
        Ok((validity, T::reader(column, rows)?))
    }

    #[inline]
    fn read<'x>((validity, values): &Self::Reader<'x>, row: usize) -> Self::Of<'x> {
        match validity {
            Some(bits) if !bit(bits, row) => None,
            _ => Some(T::read(values, row)),
        }
    }

    #[inline]
    fn write(writer: &mut Self::Writer<'_>, value: Option<T::Of<'_>>) {
        writer.mark(value.is_some());
        match value {
            Some(value) => T::write(&mut writer.values, value),
            None => T::write_empty(&mut writer.values),
        }
    }

    fn write_empty(writer: &mut Self::Writer<'_>) {
        writer.mark(false);
        T::write_empty(&mut writer.values);
    }
}
