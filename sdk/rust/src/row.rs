//! Rows as structs.

pub use crate::bindings::transform::millstream::plugin::types::Column;
use crate::writer::Writer;
use crate::{Cell, Error, Field, Schema};

/// A struct whose fields are the columns of a row: of a stream, a key, a state or an accumulator. Derive it. [`Cell`] lists the
/// supported types of fields. `()` is a row without columns.
pub trait Row: Sized {
    /// The same struct, borrowing for `'x`.
    type Of<'x>;
    /// The columns, checked once and then read row by row.
    type Reader<'x>: Copy;
    /// Builder of the columns.
    type Writer<'a>: Writer<'a>;
    /// Returns the columns.
    fn fields() -> Vec<Field>;
    /// Checks that these are the columns, with this number of rows.
    fn reader(columns: &[Column], rows: usize) -> Result<Self::Reader<'_>, Error>;
    /// Returns the row with an index.
    fn read<'x>(reader: &Self::Reader<'x>, row: usize) -> Self::Of<'x>;
    /// Appends a row.
    fn write(writer: &mut Self::Writer<'_>, row: Self::Of<'_>);
    /// Appends a row of nulls, zeros and empty values.
    fn write_empty(writer: &mut Self::Writer<'_>);
}

impl Row for () {
    type Of<'x> = ();
    type Reader<'x> = ();
    type Writer<'a> = ();

    fn fields() -> Vec<Field> {
        Vec::new()
    }

    fn reader(_columns: &[Column], _rows: usize) -> Result<(), Error> {
        Ok(())
    }

    fn read<'x>(_reader: &Self::Reader<'x>, _row: usize) -> Self::Of<'x> {}

    fn write(_writer: &mut (), _row: ()) {}

    fn write_empty(_writer: &mut ()) {}
}

/// Returns the columns of a row type.
pub fn schema<R: Row>() -> Schema {
    Schema::new(R::fields())
}

/// Returns the column of a field. Called by the derived code.
pub fn field<C: Cell>(name: &str) -> Field {
    Field { name: name.into(), type_: C::column_type(), nullable: C::NULLABLE }
}

/// Returns the reader of a field. Called by the derived code.
pub fn cell_reader<'x, C: Cell>(
    columns: &'x [Column],
    index: usize,
    rows: usize,
    name: &str,
) -> Result<C::Reader<'x>, Error> {
    let wrong = |what: &str| Error::input(format!("column `{name}` (number {index}): {what}"));
    let column = columns.get(index).ok_or_else(|| wrong("it is missing"))?;
    C::reader(column, rows).map_err(wrong)
}
