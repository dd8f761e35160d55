//! The memory of a guest: results that are valid, and then no longer.

use arbitrary::{Result, Unstructured};
use arrow::array::{
    Array, ArrayRef, DictionaryArray, Int32Array, LargeStringArray, ListArray, RecordBatch, StringViewArray,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use arrow::ipc::writer::StreamWriter;
use std::sync::Arc;

/// The address at which a guest finds its image.
pub const BASE: u32 = 1 << 16;
/// Numbers at which something changes.
const EDGES: [u32; 16] = [
    0,
    1,
    2,
    3,
    7,
    8,
    9,
    255,
    BASE - 4,
    BASE,
    (1 << 20) - 1,
    1 << 20,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fff8,
    0xffff_ffff,
];

/// Types that are not ours; see [`array`].
const FOREIGN: usize = 5;

/// Bytes of the memory; the first four are the address of the result.
pub struct Image {
    /// All bytes.
    pub bytes: Vec<u8>,
}

impl Image {
    /// An image without a result.
    pub fn new() -> Image {
        Image { bytes: vec![0; 8] }
    }

    fn put(&mut self, bytes: &[u8]) -> u32 {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let at = BASE + self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        at
    }

    /// Appends 32-bit words.
    pub fn words(&mut self, words: &[u32]) -> u32 {
        self.put(&words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>())
    }

    /// Puts a list of bytes: address and length.
    pub fn list(&mut self, bytes: &[u8]) -> [u32; 2] {
        [self.put(bytes), bytes.len() as u32]
    }

    /// Sets the result.
    pub fn returns(&mut self, words: &[u32]) {
        let at = self.words(words);
        self.bytes[..4].copy_from_slice(&at.to_le_bytes());
    }

    /// A schema: address and length of its fields.
    pub fn schema(&mut self, schema: &Schema) -> [u32; 2] {
        let mut words = Vec::new();
        for field in schema.fields() {
            let name = self.list(field.name().as_bytes());
            let kind = match field.data_type() {
                DataType::Boolean => [0, 0, 0],
                DataType::Int64 => [1, 0, 0],
                DataType::Float64 => [2, 0, 0],
                DataType::Utf8 => [3, 0, 0],
                DataType::Binary => [4, 0, 0],
                DataType::Timestamp(..) => [5, 0, 0],
                other => {
                    let text = self.list(other.to_string().as_bytes());
                    [6, text[0], text[1]]
                }
            };
            words.extend([name[0], name[1], kind[0], kind[1], kind[2], u32::from(field.is_nullable())]);
        }
        [self.words(&words), schema.fields().len() as u32]
    }

    /// A batch of valid columns: rows, address and length of the columns.
    pub fn batch(&mut self, u: &mut Unstructured<'_>, schema: &Schema, rows: usize) -> Result<[u32; 3]> {
        let mut words = Vec::new();
        for field in schema.fields() {
            words.extend(self.column(u, field, rows)?);
        }
        Ok([rows as u32, self.words(&words), schema.fields().len() as u32])
    }

    fn column(&mut self, u: &mut Unstructured<'_>, field: &Field, rows: usize) -> Result<[u32; 8]> {
        let mut column = [0; 8];
        let own = !matches!(
            field.data_type(),
            DataType::Int32 | DataType::LargeUtf8 | DataType::Utf8View | DataType::List(_) | DataType::Dictionary(..)
        );
        if own && field.is_nullable() && u.arbitrary()? {
            let bits = random(u, rows.div_ceil(8))?;
            let bits = self.list(&bits);
            column[..3].copy_from_slice(&[1, bits[0], bits[1]]);
        }
        let data = match field.data_type() {
            DataType::Boolean => random(u, rows.div_ceil(8))?,
            DataType::Int64 | DataType::Float64 | DataType::Timestamp(..) => random(u, rows * 8)?,
            DataType::Utf8 | DataType::Binary => {
                let (mut ends, mut data) = (vec![0u32], Vec::new());
                for _ in 0..rows {
                    let piece = *u.choose(&["", "a", "ä", "日本", "word", "\u{1f600}"])?;
                    data.extend_from_slice(piece.as_bytes());
                    ends.push(data.len() as u32);
                }
                let at = self.words(&ends);
                column[3..6].copy_from_slice(&[1, at, ends.len() as u32 * 4]);
                data
            }
            other => stream(other, rows),
        };
        column[6..].copy_from_slice(&self.list(&data));
        Ok(column)
    }

    /// Changes a few bytes, numbers or lengths somewhere.
    pub fn mutate(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let last = self.bytes.len() - 1;
        let at = u.int_in_range(0..=last)?;
        let word = (at & !3).min(self.bytes.len().saturating_sub(4));
        match u.int_in_range(0..=7)? {
            0 => self.bytes[at] ^= 1 << u.int_in_range(0..=7)?,
            1 => self.bytes[at] = u.arbitrary()?,
            2 => self.set(word, *u.choose(&EDGES)?),
            3 => self.set(word, u.arbitrary()?),
            4 => self.set(word, self.get(word).wrapping_add(u.int_in_range(0..=16)?).wrapping_sub(8)),
            5 => {
                // A number or an address of somewhere else.
                let from = (u.int_in_range(0..=last)? & !3).min(self.bytes.len().saturating_sub(4));
                self.set(word, self.get(from));
            }
            6 => self.bytes.truncate(at.max(8)),
            _ => self.set(word, BASE.wrapping_add(u.int_in_range(0..=last as u32)?)),
        }
        Ok(())
    }

    fn get(&self, at: usize) -> u32 {
        self.bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
    }

    fn set(&mut self, at: usize, value: u32) {
        if let Some(bytes) = self.bytes.get_mut(at..at + 4) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
    }
}

fn random(u: &mut Unstructured<'_>, count: usize) -> Result<Vec<u8>> {
    (0..count).map(|_| u.arbitrary()).collect()
}

/// A schema of up to four columns of any type.
pub fn schema(u: &mut Unstructured<'_>) -> Result<SchemaRef> {
    let own = [
        DataType::Boolean,
        DataType::Int64,
        DataType::Float64,
        DataType::Utf8,
        DataType::Utf8,
        DataType::Binary,
        DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into())),
    ];
    let mut fields = Vec::new();
    for place in 0..u.int_in_range(0..=4)? {
        let kind = match u.int_in_range(0..=3)? {
            0 => array(u.int_in_range(0..=FOREIGN - 1)?, 0).data_type().clone(),
            _ => u.choose(&own)?.clone(),
        };
        // Columns of other types are nullable, as their values here are.
        let nullable = !own.contains(&kind) || u.arbitrary()?;
        fields.push(Field::new(format!("c{place}"), kind, nullable));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// A column of a type that is not ours, by its number.
fn array(kind: usize, rows: usize) -> ArrayRef {
    let numbers = (0..rows as i32).map(|row| (row % 3 != 0).then_some(row));
    let strings = (0..rows).map(|row| (row % 4 != 1).then(|| format!("a text that is long enough {row}")));
    match kind {
        0 => Arc::new(numbers.collect::<Int32Array>()),
        1 => Arc::new(strings.collect::<LargeStringArray>()),
        2 => Arc::new(strings.collect::<StringViewArray>()),
        3 => Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(
            numbers.map(|number| number.map(|number| vec![Some(number), None])),
        )),
        _ => {
            let strings: Vec<Option<String>> = strings.collect();
            Arc::new(strings.iter().map(Option::as_deref).collect::<DictionaryArray<Int32Type>>())
        }
    }
}

/// The same as an Arrow IPC stream.
fn stream(kind: &DataType, rows: usize) -> Vec<u8> {
    let array = (0..FOREIGN).map(|number| array(number, rows)).find(|array| array.data_type() == kind);
    let array = array.expect("it is one of these");
    let schema = Arc::new(Schema::new(vec![Field::new("c", kind.clone(), true)]));
    let batch = RecordBatch::try_new(schema.clone(), vec![array]).expect("the column fits");
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &schema).expect("memory can be written");
    writer.write(&batch).and_then(|()| writer.finish()).expect("memory can be written");
    drop(writer);
    bytes
}
