//! Opens a file: selects the columns to read, and their types.

use super::columns::{FileLeaves, WantedRows, wanted_rows};
use super::leaves::LeafKind;
use super::{ROWS, SHOWN_BYTES_MAX, damaged};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, Schema, SchemaRef, TimeUnit};
use millstream_base::shown::harmless;
use millstream_rows::batch::column::ColumnSpec;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, ConvertedType, LogicalType, Type as PhysicalType};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::ChunkReader;
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};
use std::io;
use std::sync::Arc;

/// The rows of an open file.
pub struct FileRows {
    rows: ParquetRecordBatchReader,
    /// Values that the other reader cannot represent: 96-bit timestamps in milliseconds, as distant ones have wrapped around in microseconds, and
    /// months of intervals.
    wide: Option<ParquetRecordBatchReader>,
    leaves: FileLeaves,
}

impl FileRows {
    /// Opens a file for these columns. An error of kind `Unsupported` means that the file may be intact, but cannot be read here.
    pub fn open<R: ChunkReader + Clone + 'static>(file: &R, columns: &[ColumnSpec]) -> io::Result<FileRows> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file.clone()).map_err(unreadable)?;
        let descriptor = builder.parquet_schema();
        let roots = descriptor.root_schema().get_fields().iter().enumerate();
        let is_wanted =
            |name: &str| columns.iter().any(|column| column.value_path().first().is_some_and(|root| root == name));
        let wanted: Vec<usize> = roots.filter(|(_, field)| is_wanted(field.name())).map(|(index, _)| index).collect();
        let leaves = |root: usize| leaves_of(descriptor, root).map(kind_of).collect::<Vec<_>>();
        let kinds: Vec<Vec<LeafKind>> = wanted.iter().map(|root| leaves(*root)).collect();
        let mask = ProjectionMask::roots(descriptor, wanted.iter().copied());
        check_codecs(builder.metadata(), &mask)?;
        let is_wide = |index: &usize| leaves_of(descriptor, *index).any(|leaf| is_int96(leaf) || is_interval(leaf));
        let wide_columns: Vec<usize> = wanted.iter().copied().filter(is_wide).collect();
        if wide_columns.is_empty() {
            let rows = builder.with_projection(mask).with_batch_size(ROWS).build().map_err(unreadable)?;
            return Ok(FileRows { rows, wide: None, leaves: FileLeaves { kinds } });
        }
        let read = |unit: TimeUnit, mask: ProjectionMask| {
            let schema = with_times(builder.schema(), descriptor, unit);
            let options = ArrowReaderOptions::new().with_schema(schema);
            let builder =
                ParquetRecordBatchReaderBuilder::try_new_with_options(file.clone(), options).map_err(unreadable)?;
            builder.with_projection(mask).with_batch_size(ROWS).build().map_err(unreadable)
        };
        let wide = read(TimeUnit::Millisecond, ProjectionMask::roots(descriptor, wide_columns))?;
        Ok(FileRows { rows: read(TimeUnit::Microsecond, mask)?, wide: Some(wide), leaves: FileLeaves { kinds } })
    }

    /// Returns the next rows for these columns; `None` at the end.
    pub fn next(&mut self, columns: &[ColumnSpec]) -> io::Result<Option<WantedRows>> {
        let Some(rows) = self.rows.next().transpose().map_err(damaged)? else { return Ok(None) };
        let wide: Option<RecordBatch> = match &mut self.wide {
            Some(wide) => wide.next().transpose().map_err(damaged)?,
            None => None,
        };
        let wide = wide.filter(|wide| wide.num_rows() == rows.num_rows());
        if wide.is_none() && self.wide.is_some() {
            return Err(damaged("it cannot be read: its columns have different numbers of rows"));
        }
        wanted_rows(&rows, wide.as_ref(), &self.leaves, columns).map(Some)
    }
}

fn unreadable(error: impl std::fmt::Display) -> io::Error {
    damaged(format!("it is not a readable Parquet file: {error}"))
}

/// Returns the leaves of a column of the file.
fn leaves_of(descriptor: &SchemaDescriptor, root: usize) -> impl Iterator<Item = &ColumnDescriptor> {
    let leaves = (0..descriptor.num_columns()).filter(move |leaf| descriptor.get_column_root_idx(*leaf) == root);
    leaves.filter_map(|leaf| descriptor.columns().get(leaf)).map(AsRef::as_ref)
}

fn kind_of(leaf: &ColumnDescriptor) -> LeafKind {
    match leaf.logical_type_ref() {
        Some(LogicalType::Uuid) => LeafKind::Uuid,
        _ if is_int96(leaf) => LeafKind::Int96,
        _ => LeafKind::Plain,
    }
}

fn is_int96(leaf: &ColumnDescriptor) -> bool {
    leaf.physical_type() == PhysicalType::INT96
}

fn is_interval(leaf: &ColumnDescriptor) -> bool {
    leaf.converted_type() == ConvertedType::INTERVAL
}

/// Returns the schema of a file with its 96-bit timestamps in this unit. With milliseconds, intervals are read as their months.
fn with_times(schema: &SchemaRef, descriptor: &SchemaDescriptor, unit: TimeUnit) -> SchemaRef {
    let mut leaves = descriptor.columns().iter().map(AsRef::as_ref);
    let fields: Vec<FieldRef> = schema.fields().iter().map(|field| field_with_unit(field, &mut leaves, unit)).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn field_with_unit<'a>(
    field: &FieldRef,
    leaves: &mut impl Iterator<Item = &'a ColumnDescriptor>,
    unit: TimeUnit,
) -> FieldRef {
    let kind = type_with_unit(field.data_type(), leaves, unit);
    Arc::new(Field::clone(field).with_data_type(kind))
}

fn type_with_unit(kind: &DataType, leaves: &mut dyn Iterator<Item = &ColumnDescriptor>, unit: TimeUnit) -> DataType {
    let mut inner = |field: &FieldRef| {
        let kind = type_with_unit(field.data_type(), leaves, unit);
        Arc::new(Field::clone(field).with_data_type(kind))
    };
    match kind {
        DataType::List(item) => DataType::List(inner(item)),
        DataType::LargeList(item) => DataType::LargeList(inner(item)),
        DataType::ListView(item) => DataType::ListView(inner(item)),
        DataType::LargeListView(item) => DataType::LargeListView(inner(item)),
        DataType::FixedSizeList(item, length) => DataType::FixedSizeList(inner(item), *length),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
        DataType::Struct(members) => DataType::Struct(members.iter().map(inner).collect()),
        leaf => match (leaves.next().is_some_and(is_int96), leaf) {
            (true, DataType::Timestamp(_, zone)) => DataType::Timestamp(unit, zone.clone()),
            (_, DataType::Interval(IntervalUnit::DayTime)) if unit == TimeUnit::Millisecond => {
                DataType::Interval(IntervalUnit::YearMonth)
            }
            _ => leaf.clone(),
        },
    }
}

/// Fails if a column to read is compressed with an unsupported codec.
fn check_codecs(metadata: &ParquetMetaData, mask: &ProjectionMask) -> io::Result<()> {
    for group in metadata.row_groups() {
        for (_, column) in group.columns().iter().enumerate().filter(|(index, _)| mask.leaf_included(*index)) {
            if !is_supported(column.compression()) {
                let codec = column.compression().to_string().split('(').next().unwrap_or_default().to_lowercase();
                let why = format!(
                    "its column `{}` is compressed with {codec}, which is not supported; write the file with zstd, \
                     gzip, lz4, snappy or no compression",
                    harmless(&column.column_path().string(), SHOWN_BYTES_MAX)
                );
                return Err(io::Error::new(io::ErrorKind::Unsupported, why));
            }
        }
    }
    Ok(())
}

/// Returns whether pages with this compression can be read: not every codec that the library supports is compiled in.
fn is_supported(codec: Compression) -> bool {
    match codec {
        Compression::UNCOMPRESSED
        | Compression::SNAPPY
        | Compression::GZIP(_)
        | Compression::LZ4
        | Compression::LZ4_RAW
        | Compression::ZSTD(_) => true,
        Compression::LZO | Compression::BROTLI(_) => false,
    }
}
