use super::*;
use arrow::array::{AsArray, DictionaryArray, Int8Array, Int64Array, LargeStringArray, ListArray, UInt64Array};
use arrow::datatypes::Int32Type;
use arrow::ipc::writer::StreamWriter;
use millstream_base::random::Random;

fn stream(columns: Vec<(&str, ArrayRef)>, times: usize) -> Vec<u8> {
    let rows = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, values)| (name, values, true)));
    let rows = rows.unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), rows.schema_ref()).unwrap();
    (0..times).for_each(|_| writer.write(&rows).unwrap());
    writer.into_inner().unwrap()
}

fn sample() -> Vec<u8> {
    let dictionary: DictionaryArray<Int32Type> = ["a", "b", "a"].into_iter().collect();
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None, Some(vec![])]);
    stream(
        vec![
            ("n", Arc::new(Int8Array::from(vec![Some(1), None, Some(-3)])) as ArrayRef),
            ("text", Arc::new(LargeStringArray::from(vec!["x", "y", "z"]))),
            ("word", Arc::new(dictionary)),
            ("list", Arc::new(lists)),
        ],
        2,
    )
}

/// Reads all rows of a stream that arrives in pieces of this length.
fn read(bytes: &[u8], piece_bytes: usize, wanted: Vec<ColumnSpec>) -> Result<Vec<RecordBatch>, String> {
    let mut stream = ArrowStream::new(wanted);
    let mut rows = Vec::new();
    for piece in bytes.chunks(piece_bytes) {
        stream.add(piece);
        // A message may claim endless rows of columns that take no bytes.
        while let Some(next) = stream.next_rows()?.filter(|_| rows.len() < 20) {
            rows.push(next);
        }
    }
    stream.end().map(|()| rows)
}

#[test]
fn rows_are_the_same_however_the_bytes_come() {
    let bytes = sample();
    let complete = read(&bytes, bytes.len(), Vec::new()).unwrap();
    let kinds: Vec<String> = complete[0]
        .schema()
        .fields()
        .iter()
        .map(|field| ColumnType::from_arrow(field.data_type()).to_string())
        .collect();
    assert_eq!(kinds, ["int64", "text", "text", "list<int64>"]);
    assert_eq!(complete.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [3, 3]);
    assert_eq!(complete[1].column(2).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["a", "b", "a"]);
    for piece_bytes in [1, 7, 64] {
        assert_eq!(read(&bytes, piece_bytes, Vec::new()).unwrap(), complete);
    }
    let wanted = vec![ColumnSpec::new("word", ColumnType::Text), ColumnSpec::new("n", ColumnType::Float64)];
    let rows = read(&bytes, 100, wanted).unwrap();
    assert_eq!(
        rows[0].schema_ref().fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(),
        ["word", "n"]
    );
}

#[test]
fn what_does_not_fit_is_told() {
    let large = stream(vec![("n", Arc::new(UInt64Array::from(vec![u64::MAX])) as ArrayRef)], 1);
    let error = read(&large, 1_000, Vec::new()).unwrap_err();
    assert!(error.starts_with("its column `n` does not fit into int64: "), "{error}");
    let numbers = stream(vec![("n", Arc::new(Int64Array::from(vec![1])) as ArrayRef)], 1);
    let error = read(&numbers, 1_000, vec![ColumnSpec::new("m", ColumnType::Int64)]).unwrap_err();
    assert!(error.contains("no column `m`"), "{error}");
    let error = read(&numbers, 1_000, vec![ColumnSpec::new("n", ColumnType::Timestamp)]).unwrap_err();
    assert!(error.contains("read it as int64"), "{error}");
    let twice = |name| (name, Arc::new(Int64Array::from(vec![1])) as ArrayRef);
    let error = read(&stream(vec![twice("n"), twice("n")], 1), 1_000, Vec::new()).unwrap_err();
    assert!(error.starts_with("it has two columns `n`"), "{error}");
    let error = read(&numbers[..numbers.len() - 9], 1_000, Vec::new()).unwrap_err();
    assert_eq!(error, "it breaks off in the middle of a message");
}

#[test]
fn a_damaged_stream_does_no_harm() {
    let (bytes, mut random) = (sample(), Random(5));
    let (mut rejected, mut taken) = (0, 0);
    for _ in 0..5_000 {
        let mut damaged = bytes.clone();
        for _ in 0..=random.below(3) {
            let index = random.index(damaged.len());
            damaged[index] = match random.below(3) {
                0 => 0xff,
                1 => 0,
                _ => random.below(256) as u8,
            };
        }
        match read(&damaged, 1 + random.index(600), Vec::new()) {
            Ok(_) => taken += 1,
            Err(_) => rejected += 1,
        }
    }
    assert!(rejected > 500 && taken > 500, "{rejected} refused, {taken} taken");
}
