//! Tests of the sinks that write files, through `check`, `open` and `commit` as a job uses them.

mod exactly_once;

use super::settings::FileWrites;
use super::sink::render as rendered;
use crate::queue::sink::settings::QueueWrites;
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::Int32Type;
use millstream_base::error::Kind;
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::retry::StartupRetry;
use millstream_connect::sink::{Encoder, check, committed, encode, open, open_share, render};
use millstream_job::spec::{Origin, SinkSpec};
use millstream_rows::batch::sink::Sink;
use millstream_rows::batch::types::{ColumnType, schema_of};
use millstream_rows::formats::{Compression, FileFormat};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

fn origin(dir: &Path) -> Origin {
    let lines = [("sinks.out".to_string(), 7), ("sinks.out.path".to_string(), 9)].into();
    Origin { file: Some("job.toml".into()), dir: dir.into(), lines, ..Origin::default() }
}

fn files(path: impl Into<PathBuf>, format: FileFormat) -> SinkSpec {
    SinkSpec {
        name: "out".into(),
        from: vec![],
        kind: FileWrites::new(path, format).into(),
        wants_changes: false,
        encoding: None,
    }
}

fn queue(path: impl Into<PathBuf>) -> SinkSpec {
    SinkSpec {
        name: "out".into(),
        from: vec![],
        kind: QueueWrites::new(path).into(),
        wants_changes: false,
        encoding: None,
    }
}

/// Returns one row of values and one of nulls.
fn every_type() -> RecordBatch {
    let columns: [ArrayRef; 6] = [
        Arc::new(BooleanArray::from(vec![Some(true), None])),
        Arc::new(Int64Array::from(vec![Some(i64::MAX), None])),
        Arc::new(Float64Array::from(vec![Some(0.1), None])),
        Arc::new(StringArray::from(vec![Some("a \"b\",\nc\u{1}ü"), None])),
        Arc::new(BinaryArray::from(vec![Some(&[0u8, 255][..]), None])),
        Arc::new(TimestampMicrosecondArray::from(vec![Some(1_795_163_401_000_001), None]).with_timezone("UTC")),
    ];
    let names = ["flag", "n", "f", "s", "raw", "ts"];
    RecordBatch::try_from_iter_with_nullable(names.into_iter().zip(columns).map(|(n, c)| (n, c, true))).unwrap()
}

fn strings(values: &[Option<&str>]) -> RecordBatch {
    let schema = schema_of(&[("value".into(), ColumnType::Text)]);
    RecordBatch::try_new(schema, vec![Arc::new(StringArray::from(values.to_vec()))]).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Returns the text of the part that a `files` sink writes for these rows. It is the same if they were encoded ahead.
fn written(format: FileFormat, rows: Vec<RecordBatch>) -> String {
    let dir = TempDir::new().unwrap();
    let spec = files("deep/out", format);
    let schema = rows[0].schema();
    check(&spec, &schema, &origin(dir.path()), false, None, StartupRetry::No).unwrap();
    let encoder = Encoder::new(&spec, &schema, &origin(dir.path())).unwrap();
    assert_eq!(encoder.is_some(), format != FileFormat::Text);
    let ahead = encoder.map(|encoder| rows.iter().map(|part| encoder.encode(part).unwrap()).collect::<Vec<_>>());
    let ahead = ahead.map(|rows| rendered(format, &schema, &rows).unwrap());
    open(&spec, schema, &origin(dir.path()), None, &Failure::default(), StartupRetry::No)
        .unwrap()
        .commit(BatchId(12), BatchTime(0), rows)
        .unwrap();
    let out = dir.path().join("deep/out");
    let parts = names(&out);
    assert_eq!(parts, [format!("part-0000000012.{}", encode::extension(format))]);
    let text = fs::read_to_string(out.join(&parts[0])).unwrap();
    assert!(ahead.is_none_or(|ahead| ahead == text.as_bytes()));
    text
}

#[test]
fn text_formats_hold_every_type() {
    let batch = every_type();
    assert_eq!(
        written(FileFormat::Json, vec![batch.slice(0, 1), batch.slice(1, 1)]),
        "{\"flag\":true,\"n\":9223372036854775807,\"f\":0.1,\"s\":\"a \\\"b\\\",\\nc\\u0001ü\",\"raw\":\"00ff\",\
         \"ts\":\"2026-11-20T08:30:01.000001Z\"}\n\
         {\"flag\":null,\"n\":null,\"f\":null,\"s\":null,\"raw\":null,\"ts\":null}\n"
    );
    assert_eq!(
        written(FileFormat::Csv, vec![batch]),
        "flag,n,f,s,raw,ts\n\
         true,9223372036854775807,0.1,\"a \"\"b\"\",\nc\u{1}ü\",00ff,2026-11-20T08:30:01.000001Z\n\
         ,,,,,\n"
    );
    let lines = strings(&[Some("one"), None, Some("")]);
    assert_eq!(written(FileFormat::Text, vec![lines.clone(), strings(&[Some("zwölf")])]), "one\n\n\nzwölf\n");
    assert_eq!(written(FileFormat::Csv, vec![lines]), "value\none\n\n\"\"\n");
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN, f64::NEG_INFINITY, 1e21]));
    let list: ArrayRef =
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None, Some(vec![])]));
    let odd = RecordBatch::try_from_iter([("f", floats), ("l", list)]).unwrap();
    assert_eq!(
        written(FileFormat::Json, vec![odd]),
        "{\"f\":\"NaN\",\"l\":[1,null]}\n{\"f\":\"-Infinity\",\"l\":null}\n{\"f\":1e21,\"l\":[]}\n"
    );
}

#[test]
fn parquet_reads_back_the_same() {
    let dir = TempDir::new().unwrap();
    let (batch, spec) = (every_type(), files("out", FileFormat::Parquet(Compression::Snappy)));
    let mut sink =
        open(&spec, batch.schema(), &origin(dir.path()), None, &Failure::default(), StartupRetry::No).unwrap();
    sink.commit(BatchId(1), BatchTime(0), vec![batch.clone(), batch.slice(0, 1)]).unwrap();
    let file = fs::File::open(dir.path().join("out/part-0000000001.parquet")).unwrap();
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(file, 100).unwrap();
    let read: Vec<RecordBatch> = reader.map(|rows| rows.unwrap()).collect();
    let expected = arrow::compute::concat_batches(&batch.schema(), &[batch.clone(), batch.slice(0, 1)]).unwrap();
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].columns(), expected.columns());
    assert_eq!(read[0].schema().fields(), expected.schema().fields());
}

#[test]
fn avro_reads_back_the_same() {
    let dir = TempDir::new().unwrap();
    let (batch, spec) = (every_type(), files("out", FileFormat::Avro));
    let wanted = batch.schema();
    let mut sink =
        open(&spec, wanted.clone(), &origin(dir.path()), None, &Failure::default(), StartupRetry::No).unwrap();
    sink.commit(BatchId(1), BatchTime(0), vec![batch.clone(), batch.slice(0, 1)]).unwrap();
    let columns = wanted.fields().iter().map(|field| {
        let kind = millstream_rows::batch::types::ColumnType::from_arrow(field.data_type());
        millstream_rows::batch::column::ColumnSpec::new(field.name(), kind)
    });
    let path = dir.path().join("out/part-0000000001.avro");
    let format = millstream_rows::formats::Format::Avro(millstream_rows::formats::WriterSchema::InFile);
    let source =
        millstream_job::spec::SourceSpec::from_config("in", super::source::settings::FileReads { path: path.clone() });
    let source = millstream_job::spec::SourceSpec { format, ..source }.schema(columns.collect());
    let chunks = millstream_connect::receiver::read_file(&source, &path).unwrap();
    let mut decoder = millstream_rows::decode::Decoder::new(source.decoder_spec());
    let decoded: Vec<_> = chunks.iter().map(|chunk| decoder.decode(chunk)).collect();
    assert!(decoded.len() == 1 && decoded[0].rejected.is_none());
    let expected = arrow::compute::concat_batches(&wanted, &[batch.clone(), batch.slice(0, 1)]).unwrap();
    assert_eq!(decoded[0].rows.columns(), expected.columns());
    let odd = |name: &str| {
        arrow::datatypes::Schema::new(vec![arrow::datatypes::Field::new(name, arrow::datatypes::DataType::Int64, true)])
    };
    for name in ["a b", "1a", "", "ä"] {
        let error = check(&spec, &std::sync::Arc::new(odd(name)), &origin(dir.path()), false, None, StartupRetry::No)
            .unwrap_err();
        assert!(error.message.contains("a name that Avro does not allow"), "{error}");
    }
}

#[test]
fn a_part_appears_whole_and_nothing_is_overwritten() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    for name in [".part-0000000003.csv.tmp", "notes.txt", ".hidden.tmp", "part-1.csv"] {
        fs::write(out.join(name), "x").unwrap();
    }
    let (spec, origin, row) = (files("out", FileFormat::Text), origin(dir.path()), strings(&[Some("x")]));
    check(&spec, &row.schema(), &origin, false, None, StartupRetry::No).unwrap();
    let mut sink = open(&spec, row.schema(), &origin, None, &Failure::default(), StartupRetry::No).unwrap();
    assert_eq!(names(&out), [".hidden.tmp", "notes.txt", "part-1.csv"], "only our unfinished parts are removed");
    sink.commit(BatchId(1), BatchTime(0), vec![]).unwrap();
    sink.commit(BatchId(2), BatchTime(0), vec![strings(&[])]).unwrap();
    sink.commit(BatchId(3), BatchTime(0), vec![row.clone()]).unwrap();
    let kept = [".hidden.tmp", "notes.txt", "part-0000000003.txt", "part-1.csv"];
    assert_eq!(names(&out), kept, "no part for an empty batch");
    let error = sink.commit(BatchId(3), BatchTime(0), vec![row.clone()]).unwrap_err();
    assert_eq!(error.kind, Kind::Environment);
    let start = format!("sink `out`: batch 3: cannot write {}: it exists", out.join("part-0000000003.txt").display());
    assert!(error.message.starts_with(&start), "{error}");
    // An encoder that fails halfway leaves nothing.
    let error = sink.commit(BatchId(4), BatchTime(0), vec![row.clone(), every_type()]).unwrap_err();
    assert!(error.message.contains("batch 4"), "{error}");
    assert_eq!(names(&out), kept);
    let error = check(&spec, &row.schema(), &origin, false, None, StartupRetry::No).unwrap_err();
    assert_eq!(error.kind, Kind::Job);
    assert!(error.message.starts_with("job.toml:9: sink `out`: the directory "), "{error}");
    assert!(error.message.contains("part-0000000003.txt") && error.message.contains("empty it"), "{error}");
}

#[test]
fn a_dir_that_is_gone_is_an_error_of_the_batch() {
    let dir = TempDir::new().unwrap();
    let row = strings(&[Some("x")]);
    let mut sink = open(
        &files("out", FileFormat::Text),
        row.schema(),
        &origin(dir.path()),
        None,
        &Failure::default(),
        StartupRetry::No,
    )
    .unwrap();
    fs::remove_dir(dir.path().join("out")).unwrap();
    let error = sink.commit(BatchId(5), BatchTime(0), vec![row]).unwrap_err();
    assert_eq!(error.kind, Kind::Environment);
    assert!(error.message.contains("sink `out`: batch 5: cannot write") && error.message.contains("No such file"));
}

#[test]
fn a_queue_has_a_line_for_every_batch_and_starts_anew() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("out.jsonl");
    fs::write(&path, "old").unwrap();
    let (spec, origin) = (queue("out.jsonl"), origin(dir.path()));
    let parts = vec![strings(&[Some("a"), None]), strings(&[]), strings(&[Some("b")])];
    check(&spec, &parts[0].schema(), &origin, false, None, StartupRetry::No).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "old", "a check changes nothing");
    let mut sink = open(&spec, parts[0].schema(), &origin, None, &Failure::default(), StartupRetry::No).unwrap();
    sink.commit(BatchId(1), BatchTime(1_000_000), parts).unwrap();
    let first = "{\"batch\":1,\"time\":\"1970-01-01T00:00:01.000000Z\",\"rows\":[{\"value\":\"a\"},{\"value\":null},\
                 {\"value\":\"b\"}]}\n";
    assert_eq!(fs::read_to_string(&path).unwrap(), first, "a batch is there once it is committed");
    sink.commit(BatchId(2), BatchTime(2_500_000), vec![]).unwrap();
    let second = "{\"batch\":2,\"time\":\"1970-01-01T00:00:02.500000Z\",\"rows\":[]}\n";
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{first}{second}"));
}

#[test]
fn wrong_paths_and_schemas_are_mistakes_of_the_job_file() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let one = strings(&[]).schema();
    let all = every_type().schema();
    let nested = arrow::datatypes::Field::new_list_field(arrow::datatypes::DataType::Int32, true);
    let list = schema_of(&[("l".into(), ColumnType::Arrow(arrow::datatypes::DataType::List(nested.into())))]);
    let none = schema_of(&[]);
    let cases = [
        (files("file", FileFormat::Json), &one, "job.toml:9: sink `out`: ", "is a file, but a files sink writes"),
        (files("file/under", FileFormat::Json), &one, "job.toml:9: sink `out`: ", "is a file, but a files sink writes"),
        (files("new", FileFormat::Text), &all, "job.toml:7: sink `out`: ", "single text column"),
        (files("new", FileFormat::Text), &none, "job.toml:7: sink `out`: ", "no columns"),
        (files("new", FileFormat::Csv), &list, "job.toml:7: sink `out`: ", "column `l` is arrow List"),
        (files("new", FileFormat::Csv), &none, "job.toml:7: sink `out`: ", "needs columns"),
        (files("new", FileFormat::Parquet(Compression::Snappy)), &none, "job.toml:7: sink `out`: ", "needs columns"),
        (queue("."), &one, "job.toml:9: sink `out`: ", "is a directory"),
        (queue("missing/out.jsonl"), &one, "job.toml:9: sink `out`: ", "does not exist; create it"),
        (queue("file/out.jsonl"), &one, "job.toml:9: sink `out`: ", "is a file, not a directory"),
    ];
    for (spec, schema, start, part) in cases {
        let error = check(&spec, schema, &origin(dir.path()), false, None, StartupRetry::No).unwrap_err();
        assert_eq!(error.kind, Kind::Job);
        assert!(error.message.starts_with(start) && error.message.contains(part), "{error}");
    }
    assert_eq!(names(dir.path()), ["file"], "a check makes nothing");
    check(
        &files("new", FileFormat::Parquet(Compression::Snappy)),
        &list,
        &origin(dir.path()),
        false,
        None,
        StartupRetry::No,
    )
    .unwrap();
}

#[test]
fn a_column_keeps_its_place_and_odd_names_are_quoted() {
    let schema = schema_of(&[("a \"b\"".into(), ColumnType::Int64), ("".into(), ColumnType::Text)]);
    let batch =
        RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(vec![1])), Arc::new(StringArray::from(vec!["x"]))])
            .unwrap();
    assert_eq!(written(FileFormat::Csv, vec![batch.clone()]), "\"a \"\"b\"\"\",\"\"\n1,x\n");
    assert_eq!(written(FileFormat::Json, vec![batch]), "{\"a \\\"b\\\"\":1,\"\":\"x\"}\n");
}
