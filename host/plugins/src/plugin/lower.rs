//! Arrow to the guest: schemas, and batches as slices of Arrow's own buffers.

use super::bindings::{BatchIn, ColumnIn, DataType, Field, Schema};
use super::description::WrittenOut;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, GenericByteArray, RecordBatch};
use arrow::buffer::{BooleanBuffer, Buffer, ScalarBuffer};
use arrow::datatypes::{ByteArrayType, Float64Type, Int64Type, TimestampMicrosecondType};
use arrow::ipc::writer::StreamWriter;
use millstream_rows::batch::types::ColumnType;
use millstream_rows::batch::{json, nested};
use std::sync::Arc;

/// Converts a schema to the interface's form. Types with a name in job files get that name, see [`WrittenOut`].
///
/// [`WrittenOut`]: super::WrittenOut
pub fn schema(schema: &arrow::datatypes::Schema) -> Schema {
    let fields = schema.fields().iter().map(|field| Field {
        name: field.name().clone(),
        kind: match ColumnType::from_arrow(field.data_type()) {
            ColumnType::Bool => DataType::Bool,
            ColumnType::Int64 => DataType::Int64,
            ColumnType::Float64 => DataType::Float64,
            ColumnType::Text => DataType::Text,
            ColumnType::Binary => DataType::Binary,
            ColumnType::Timestamp => DataType::Timestamp,
            ColumnType::Arrow(other) => DataType::Arrow(nested::name_of(&other).unwrap_or_else(|| other.to_string())),
        },
        nullable: field.is_nullable(),
    });
    Schema { fields: fields.collect() }
}

/// A batch ready to be passed: its buffers, held. Slices of arrays are brought to begin at bit and offset 0; all else
/// is shared, not copied.
pub struct Lowered {
    rows: u32,
    columns: Vec<LoweredColumn>,
}

struct LoweredColumn {
    validity: Option<Buffer>,
    offsets: Option<Buffer>,
    data: Buffer,
}

impl Lowered {
    /// Prepares a batch, with these columns written out. An error says which column cannot be passed.
    pub fn new(batch: &RecordBatch, written: &WrittenOut) -> Result<Lowered, String> {
        let rows = u32::try_from(batch.num_rows()).map_err(|_| format!("{} rows are too many", batch.num_rows()))?;
        let schema = batch.schema_ref();
        let columns = batch.columns().iter().zip(schema.fields()).enumerate();
        let columns = columns.map(|(index, (array, field))| {
            let lowered = match written.has(index) {
                true => json::written_out(field, array)
                    .map_err(|e| e.to_string())
                    .and_then(|strings| column(&(Arc::new(strings) as ArrayRef), field)),
                false => column(array, field),
            };
            lowered.map_err(|message| format!("column `{}`: {message}", field.name()))
        });
        Ok(Lowered { rows, columns: columns.collect::<Result<_, _>>()? })
    }

    /// Number of rows.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// The bytes of its columns.
    pub fn bytes(&self) -> u64 {
        let length = |buffer: &Option<Buffer>| buffer.as_ref().map_or(0, Buffer::len);
        let column = |column: &LoweredColumn| length(&column.validity) + length(&column.offsets) + column.data.len();
        self.columns.iter().map(column).sum::<usize>() as u64
    }

    /// The columns as the interface names them; [`batch`] makes an argument of them.
    pub fn columns(&self) -> Vec<ColumnIn<'_>> {
        let columns = self.columns.iter().map(|column| ColumnIn {
            validity: column.validity.as_ref().map(Buffer::as_slice),
            offsets: column.offsets.as_ref().map(Buffer::as_slice),
            data: column.data.as_slice(),
        });
        columns.collect()
    }

    /// The argument, with the columns of [`Lowered::columns`].
    pub fn batch<'a>(&self, columns: &'a [ColumnIn<'a>]) -> BatchIn<'a> {
        BatchIn { rows: self.rows, columns }
    }
}

/// A bitmap that begins at bit 0 and ends with the byte of its last bit.
pub fn bitmap(bits: &BooleanBuffer) -> Buffer {
    let buffer = bits.sliced();
    let bytes = bits.len().div_ceil(8).min(buffer.len());
    buffer.slice_with_length(0, bytes)
}

/// The values of a boolean array, as a bitmap.
pub fn flags(array: &BooleanArray) -> Buffer {
    bitmap(array.values())
}

fn column(array: &ArrayRef, field: &Arc<arrow::datatypes::Field>) -> Result<LoweredColumn, String> {
    let (offsets, data) = match ColumnType::from_arrow(array.data_type()) {
        ColumnType::Bool => (None, flags(array.as_boolean())),
        ColumnType::Int64 => (None, array.as_primitive::<Int64Type>().values().inner().clone()),
        ColumnType::Float64 => (None, array.as_primitive::<Float64Type>().values().inner().clone()),
        ColumnType::Timestamp => (None, array.as_primitive::<TimestampMicrosecondType>().values().inner().clone()),
        ColumnType::Text => bytes(array.as_string::<i32>()),
        ColumnType::Binary => bytes(array.as_binary::<i32>()),
        // The stream carries its own nulls.
        ColumnType::Arrow(_) => return Ok(LoweredColumn { validity: None, offsets: None, data: ipc(array, field)? }),
    };
    let validity = array.nulls().filter(|nulls| nulls.null_count() > 0).map(|nulls| bitmap(nulls.inner()));
    Ok(LoweredColumn { validity, offsets, data })
}

fn bytes<T: ByteArrayType<Offset = i32>>(array: &GenericByteArray<T>) -> (Option<Buffer>, Buffer) {
    let offsets = array.offsets();
    let (first, last) = (offsets.first().copied().unwrap_or(0), offsets.last().copied().unwrap_or(0));
    let rebased = if first == 0 {
        offsets.inner().inner().clone()
    } else {
        offsets.iter().map(|offset| offset - first).collect::<ScalarBuffer<i32>>().into_inner()
    };
    // An Arrow array's own offsets are within its values: arrow checked that when it was built.
    let length = usize::try_from(last - first).unwrap_or(0);
    (Some(rebased), array.values().slice_with_length(usize::try_from(first).unwrap_or(0), length))
}

/// Encodes one column as an Arrow IPC stream.
fn ipc(array: &ArrayRef, field: &Arc<arrow::datatypes::Field>) -> Result<Buffer, String> {
    let schema = Arc::new(arrow::datatypes::Schema::new(vec![field.clone()]));
    let mut stream = Vec::with_capacity(array.get_array_memory_size() + 1024);
    let written = RecordBatch::try_new(schema.clone(), vec![array.clone()]).and_then(|batch| {
        let mut writer = StreamWriter::try_new(&mut stream, &schema)?;
        writer.write(&batch)?;
        writer.finish()
    });
    written.map_err(|e| format!("cannot be encoded as an Arrow IPC stream: {e}"))?;
    Ok(Buffer::from_vec(stream))
}
