//! Parquet files as sources, written by another program.

use millstream_tests::{Process, Trial, WeedServer, root};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Runs a pyarrow script in a directory, with `pa` and `pq` imported.
fn python(dir: &Path, script: &str) {
    let python = Command::new(root().join("scripts/python.sh")).output().expect("a shell").stdout;
    let python = String::from_utf8(python).expect("a path");
    let script = format!("import pyarrow as pa, pyarrow.parquet as pq, datetime\n{script}");
    let ended = Process::start(Command::new(python.trim()).args(["-c", &script]).current_dir(dir)).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// A job with checkpoints that copies a directory to `out.jsonl`.
fn copying(path: &str, schema: &str) -> Trial {
    Trial::new(&format!(
        "batch = \"20ms\"\n[checkpoint]\ndir = \"kept\"\nevery = 3\n[sources.in]\nkind = \"directory\"\npath = \"{path}\"\n\
         poll = \"20ms\"\nformat = \"parquet\"\nschema = {{ {schema} }}\nrows_per_batch_max = 150\n\
         [sinks.out]\nfrom = \"in\"\nkind = \"queue\"\npath = \"out.jsonl\"\n"
    ))
}

fn start(trial: &Trial, settings: &[(String, String)], fault: &str) -> Process {
    let mut command = trial.command(&["run", "job.toml", "--until-idle", "--unsupervised"]);
    Process::start(command.envs(settings.iter().cloned()).env("MILLSTREAM_TEST_FAULT", fault))
}

const NUMBERED: &str =
    "pq.write_table(pa.table({'x': ['y' * 40] * 3000, 'n': range(3000)}), 'numbered', row_group_size=700)";

#[test]
fn rows_of_parquet_are_read_exactly_once() {
    let server = WeedServer::start();
    for (path, step) in [("in", "plan.durable:5"), ("in", "commit.after:7"), ("s3://bucket/in", "commit.written:6")] {
        let trial = copying(path, "n = \"int64\", x = \"text\", none = \"text\"");
        python(trial.dir(), NUMBERED);
        let bytes = fs::read(trial.path("numbered")).expect("it is there");
        fs::create_dir(trial.path("in")).expect("a folder");
        fs::write(trial.path("in/1.parquet"), &bytes).expect("it can be written");
        server.put("in/1.parquet", &bytes);
        let ended = start(&trial, &server.settings(), &format!("kill@{step}")).wait();
        assert_eq!(ended.code, None, "it does not come to {step}: {}", ended.stderr);
        let ended = start(&trial, &server.settings(), "").wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let rows = trial.rows("out.jsonl");
        let numbers: Vec<_> = rows.iter().map(|row| row["n"].as_u64().expect("a number")).collect();
        assert_eq!(numbers, (0..3000).collect::<Vec<_>>(), "{path} {step}");
        assert!(rows.iter().all(|row| row["x"] == "y".repeat(40) && row["none"] == Value::Null));
    }
}

#[test]
fn types_of_other_writers_become_those_of_the_job() {
    let schema = "i = \"int64\", f = \"float64\", d = \"text\", t = \"timestamp\", naive = \"timestamp\", b = \"bool\", \
                  inner = { type = \"int64\", path = \"s.a\" }, word = \"text\"";
    let trial = copying("in", schema);
    fs::create_dir(trial.path("in")).expect("a folder");
    python(
        trial.dir(),
        "at = datetime.datetime(2026, 11, 21, 12, 30, 0, 250000)\n\
         pq.write_table(pa.table({'i': pa.array([7, None], pa.int16()), 'f': pa.array([0.5, 2], pa.float32()),\n\
         'd': pa.array([datetime.date(2026, 11, 21), None]), 't': pa.array([at, None], pa.timestamp('ms', 'Europe/Berlin')),\n\
         'naive': pa.array([at, at], pa.timestamp('ns')), 'b': [True, False], 's': [{'a': 1, 'z': 2}, {'a': None, 'z': 3}],\n\
         'word': pa.array(['a', 'b']).dictionary_encode(), 'left out': [[1], [2]]}), 'in/1.parquet')",
    );
    let ended = start(&trial, &[], "").wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let time = "2026-11-21T12:30:00.250000Z";
    let expected = [
        json!({ "i": 7, "f": 0.5, "d": "2026-11-21", "t": time, "naive": time, "b": true, "inner": 1, "word": "a" }),
        json!({ "i": null, "f": 2.0, "d": null, "t": null, "naive": time, "b": false, "inner": null, "word": "b" }),
    ];
    assert_eq!(trial.rows("out.jsonl"), expected);
}

#[test]
fn bytes_stay_bytes_or_become_text() {
    let trial = copying(
        "in",
        "b = \"binary\", wide = \"binary\", word = \"text\", inner = { type = \"binary\", path = \"s.b\" }",
    );
    fs::create_dir(trial.path("in")).expect("a folder");
    let write = |name: &str, word: &str| {
        python(
            trial.dir(),
            &format!(
                "pq.write_table(pa.table({{'b': [bytes([0, 255, 65]), None, b''], 'wide': pa.array([b'abcd', None, bytes(4)], pa.binary(4)),\n\
                 'word': pa.array([{word}, b'abc', None], pa.binary()), 's': [{{'b': b'\\xff'}}, {{'b': None}}, None]}}), 'in/{name}')"
            ),
        );
    };
    write("1.parquet", "'é'.encode()");
    let ended = start(&trial, &[], "").wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    // A sink writes binary values as hexadecimal digits.
    let expected = [
        json!({ "b": "00ff41", "wide": "61626364", "word": "é", "inner": "ff" }),
        json!({ "b": null, "wide": null, "word": "abc", "inner": null }),
        json!({ "b": "", "wide": "00000000", "word": null, "inner": null }),
    ];
    assert_eq!(trial.rows("out.jsonl"), expected);
    write("2.parquet", "bytes([255])");
    let ended = start(&trial, &[], "").wait();
    assert!(ended.stderr.contains("its column `word` holds bytes that are not UTF-8"), "{}", ended.stderr);
    // That row alone is rejected.
    assert_eq!((ended.code, trial.rows("out.jsonl").len()), (Some(0), 5), "{}", ended.stderr);
}

/// As in all other formats, whatever the string looks like.
#[test]
fn text_read_as_binary_gives_its_bytes() {
    let schema = "s = \"binary\", d = \"binary\", l = \"list<binary>\", x = \"struct<x: binary>\", m = \"struct<k: binary>\", \
                  large = \"binary\", first = { type = \"binary\", path = \"l.0\" }, t = { type = \"text\", path = \"s\" }";
    let trial = copying("in", schema);
    fs::create_dir(trial.path("in")).expect("a folder");
    python(
        trial.dir(),
        "pq.write_table(pa.table({'s': ['cafe', 'hello'], 'd': pa.array(['cafe', 'beef']).dictionary_encode(),\n\
         'l': [['cafe', None], []], 'x': [{'x': 'cafe'}, None], 'large': pa.array(['cafe', None], pa.large_string()),\n\
         'm': pa.array([[('k', 'cafe')], []], pa.map_(pa.string(), pa.string()))}), 'in/1.parquet')",
    );
    let ended = start(&trial, &[], "").wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let cafe = "63616665";
    let expected = [
        json!({ "s": cafe, "d": cafe, "l": [cafe, null], "x": { "x": cafe }, "m": { "k": cafe }, "large": cafe, "first": cafe, "t": "cafe" }),
        json!({ "s": "68656c6c6f", "d": "62656566", "l": [], "x": null, "m": { "k": null }, "large": null, "first": null, "t": "hello" }),
    ];
    assert_eq!(trial.rows("out.jsonl"), expected);
    // Next to a complete struct as text it cannot be determined, and is not guessed.
    let trial = copying("in", "x = \"text\", b = { type = \"binary\", path = \"x.x\" }");
    fs::create_dir(trial.path("in")).expect("a folder");
    python(trial.dir(), "pq.write_table(pa.table({'x': [{'x': 'cafe'}, {'x': None}]}), 'in/1.parquet')");
    let ended = start(&trial, &[], "").wait();
    assert_eq!((ended.code, trial.rows("out.jsonl").len()), (Some(0), 1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("column `b`: `x.x`, or its parent, is `text` for another column"),
        "{}",
        ended.stderr
    );
}

/// A pipe has no end to read from, and opening one waits for its writer.
#[test]
fn a_pipe_is_refused() {
    let trial = Trial::new(
        "[sources.in]\nkind = \"file\"\npath = \"pipe\"\nformat = \"parquet\"\nschema = { n = \"int64\" }\n\
         [sinks.out]\nfrom = \"in\"\nkind = \"print\"\n",
    );
    assert!(Command::new("mkfifo").arg(trial.path("pipe")).status().expect("mkfifo").success());
    for action in ["validate", "run"] {
        let ended = Process::start(&mut trial.command(&[action, "job.toml"])).wait();
        assert_eq!(ended.code, Some(2), "{action}: {}", ended.stderr);
        assert!(ended.stderr.contains("it is not a regular file"), "{action}: {}", ended.stderr);
    }
}

/// Widths and layouts of other writers, at any depth.
#[test]
fn values_are_unchanged_in_every_type() {
    let trial = copying(
        "in",
        "f = \"float64\", h = \"float64\", large = \"list<float64>\", fixed = \"list<float64>\", s = \"struct<b: text, f: float64>\", \
         inner = { type = \"text\", path = \"s.b\" }, texts = \"list<text>\", named = \"text\", day = \"date\"",
    );
    fs::create_dir(trial.path("in")).expect("a folder");
    python(
        trial.dir(),
        "nan, inf = float('nan'), float('inf')\n\
         s = pa.array([{'b': b'\\xc3\\xa9', 'f': nan}, {'b': None, 'f': 0.1}], pa.struct([('b', pa.binary()), ('f', pa.float32())]))\n\
         pq.write_table(pa.table({'f': pa.array([nan, -inf], pa.float32()), 'h': pa.array([inf, None], pa.float16()),\n\
         'large': pa.array([[nan, 1], None], pa.large_list(pa.float64())), 'fixed': pa.array([[inf, 2], None], pa.list_(pa.float32(), 2)),\n\
         's': s, 'texts': pa.array([[b'a', None], []], pa.list_(pa.binary())),\n\
         'named': pa.array([b'x', b'y']).dictionary_encode(), 'day': pa.array([datetime.date(2026, 11, 21), None], pa.date64())}),\n\
         'in/1.parquet')",
    );
    let ended = start(&trial, &[], "").wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let expected = [
        json!({ "f": "NaN", "h": "Infinity", "large": ["NaN", 1.0], "fixed": ["Infinity", 2.0], "s": { "b": "é", "f": "NaN" },
                "inner": "é", "texts": ["a", null], "named": "x", "day": "2026-11-21" }),
        json!({ "f": "-Infinity", "h": null, "large": null, "fixed": null, "s": { "b": null, "f": f64::from(0.1_f32) },
                "inner": null, "texts": [], "named": "y", "day": null }),
    ];
    assert_eq!(trial.rows("out.jsonl"), expected);
}

/// Unreadable parts of a file are reported, and the job continues with other files.
#[test]
fn damaged_files_are_reported() {
    let trial = copying("in", "n = \"int64\"");
    python(trial.dir(), NUMBERED);
    let bytes = fs::read(trial.path("numbered")).expect("it is there");
    fs::create_dir(trial.path("in")).expect("a folder");
    trial.write("in/1.parquet", "this is not one");
    trial.write("in/2.parquet", &bytes[..bytes.len() / 2]);
    let mut broken = bytes.clone();
    broken.iter_mut().skip(bytes.len() / 2).step_by(7).take(40).for_each(|byte| *byte ^= 0x55);
    trial.write("in/3.parquet", &broken);
    trial.write("in/4.parquet", &bytes);
    let ended = start(&trial, &[], "").wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for name in ["1.parquet", "2.parquet"] {
        assert!(ended.stderr.contains(&format!("{name}`: it is damaged or incomplete")), "{}", ended.stderr);
    }
    let rows = trial.rows("out.jsonl");
    let numbers: Vec<_> = rows.iter().filter_map(|row| row["n"].as_u64()).collect();
    assert!(numbers.ends_with(&(0..3000).collect::<Vec<_>>()), "{} rows", numbers.len());
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

/// Pages of other writers, and of ours, as pyarrow has them.
#[test]
fn compressed_pages_are_read_and_written() {
    let trial = copying("in", "n = \"int64\", x = \"text\"");
    fs::create_dir(trial.path("in")).expect("a folder");
    python(
        trial.dir(),
        "for i, codec in enumerate(['none', 'snappy', 'gzip', 'zstd', 'lz4']):\n\
         \x20   t = pa.table({'x': ['y' * 40] * 100, 'n': range(i * 100, i * 100 + 100)})\n\
         \x20   pq.write_table(t, f'in/{i}.parquet', compression=codec)",
    );
    let ended = start(&trial, &[], "").wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let mut numbers: Vec<_> = trial.rows("out.jsonl").iter().map(|row| row["n"].as_u64().expect("a number")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..500).collect::<Vec<_>>());

    for (word, codec) in
        [("none", "UNCOMPRESSED"), ("snappy", "SNAPPY"), ("gzip", "GZIP"), ("zstd", "ZSTD"), ("lz4", "LZ4")]
    {
        let trial = Trial::new(&format!(
            "[sources.in]\nkind = \"rate\"\nrows_per_second = 100000\nrows_max = 500\n[sinks.out]\nfrom = \"in\"\nkind = \"files\"\n\
             path = \"out\"\nformat = \"parquet\"\ncompression = \"{word}\"\n"
        ));
        trial.run_ok(&[]);
        python(
            trial.dir(),
            &format!(
                "import glob\nparts = sorted(glob.glob('out/*.parquet'))\n\
                 rows = [n for part in parts for n in pq.read_table(part)['value'].to_pylist()]\n\
                 assert rows == list(range(500)), rows\n\
                 codecs = {{pq.ParquetFile(part).metadata.row_group(0).column(1).compression for part in parts}}\n\
                 assert codecs == {{'{codec}'}}, codecs"
            ),
        );
    }
    let trial = copying("in", "n = \"int64\"");
    trial.change("kind = \"queue\"\npath = \"out.jsonl\"", "kind = \"files\"\npath = \"out\"\ncompression = \"zstd\"");
    let text = trial.rejected_message(&["validate", "job.toml"]);
    assert!(text.contains("`compression` is for format `parquet`"), "{text}");
}

/// A part that a start completes after a crash is compressed like the others.
#[test]
fn a_part_completed_later_keeps_its_compression() {
    let trial = Trial::new(
        "batch = \"5ms\"\n[checkpoint]\ndir = \"kept\"\nevery = 4\n[sources.in]\nkind = \"rate\"\nrows_per_second = 10000\n\
         rows_max = 500\nrows_per_batch_max = 50\n[sinks.out]\nfrom = \"in\"\nkind = \"files\"\npath = \"out\"\n\
         format = \"parquet\"\ncompression = \"gzip\"\nroll = { size = \"1MiB\", time = \"1h\" }\n",
    );
    let ended = start(&trial, &[], "kill@commit.after:3").wait();
    assert_eq!(ended.code, None, "{}", ended.stderr);
    trial.run_ok(&[]);
    python(
        trial.dir(),
        "import glob\nparts = sorted(glob.glob('out/*.parquet'))\n\
         rows = sorted(n for part in parts for n in pq.read_table(part)['value'].to_pylist())\n\
         assert len(parts) == 2 and rows == list(range(500)), (parts, rows)\n\
         codecs = {pq.ParquetFile(part).metadata.row_group(0).column(1).compression for part in parts}\n\
         assert codecs == {'GZIP'}, codecs",
    );
}

/// An intact file is not skipped because of its codec.
#[test]
fn a_missing_codec_is_rejected() {
    let trial = copying("in", "n = \"int64\", x = \"text\"");
    fs::create_dir(trial.path("in")).expect("a folder");
    let brotli =
        "pq.write_table(pa.table({'x': ['y' * 40] * 100, 'n': range(100)}), 'in/1.parquet', compression=COLUMNS)";
    python(trial.dir(), &brotli.replace("COLUMNS", "{'x': 'brotli', 'n': 'zstd'}"));
    let ended = start(&trial, &[], "").wait();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let text = "source `in`: cannot read `";
    assert!(ended.stderr.contains(text) && ended.stderr.contains("in/1.parquet`: "), "{}", ended.stderr);
    let text = "its column `x` is compressed with brotli, which is not supported; write the file with zstd, gzip, \
                 lz4, snappy or no compression";
    assert!(ended.stderr.contains(text), "{}", ended.stderr);
    assert!(!trial.path("out.jsonl").exists() || trial.rows("out.jsonl").is_empty());
    // Columns that the job does not read may be what they are.
    trial.change(", x = \"text\"", "");
    let ended = start(&trial, &[], "").wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(trial.rows("out.jsonl").len(), 100);
}

/// A job that reads `in.parquet` to its end, into `out.jsonl` and `refused.jsonl`.
fn reading(schema: &str) -> Trial {
    Trial::new(&format!(
        "batch = \"0s\"\n[sources.in]\nkind = \"file\"\npath = \"in.parquet\"\nformat = \"parquet\"\nschema = {{ {schema} }}\n\
         [sinks.out]\nfrom = \"in\"\nkind = \"queue\"\npath = \"out.jsonl\"\n\
         [sinks.refused]\nfrom = \"in.rejected\"\nkind = \"queue\"\npath = \"refused.jsonl\"\n"
    ))
}

fn reasons(trial: &Trial) -> Vec<String> {
    let reason = |row: &Value| row["reason"].as_str().expect("a reason").to_owned();
    trial.rows("refused.jsonl").iter().map(reason).collect()
}

#[test]
fn times_out_of_range_are_rejected_and_finer_ones_are_rounded_down() {
    let trial = reading(
        "n = \"int64\", ms = \"timestamp\", ns = \"timestamp\", first = { type = \"timestamp\", path = \"all.0\" }, \
         inner = { type = \"timestamp\", path = \"s.at\" }, day = \"date\"",
    );
    python(
        trial.dir(),
        "far, ms = 9300000000000000, lambda values: pa.array(values, pa.int64()).cast(pa.timestamp('ms'))\n\
         s = pa.StructArray.from_arrays([ms([0, 0, 0, far, 0, 0]), ms([far] * 6)], ['at', 'not read'])\n\
         pq.write_table(pa.table({'n': range(6), 'ms': ms([0, far, None, 0, -far, -1]),\n\
         'ns': pa.array([-1, 0, -1500, 0, 0, 1999], pa.int64()).cast(pa.timestamp('ns')),\n\
         'all': pa.array([[0, far], [], [-1], None, [0], [far]], pa.list_(pa.timestamp('ms'))), 's': s,\n\
         'day': pa.array([2932897, -719529, 0, 0, 0, 0], pa.int32()).cast(pa.date32())}), 'in.parquet')",
    );
    trial.run_ok(&[]);
    let epoch = "1970-01-01T00:00:00.000000Z";
    let expected = [
        json!({ "n": 0, "ms": epoch, "ns": "1969-12-31T23:59:59.999999Z", "first": epoch, "inner": epoch, "day": "+10000-01-01" }),
        json!({ "n": 2, "ms": null, "ns": "1969-12-31T23:59:59.999998Z", "first": "1969-12-31T23:59:59.999000Z", "inner": epoch,
                "day": "1970-01-01" }),
    ];
    assert_eq!(trial.rows("out.jsonl"), expected);
    let far = |column: &str, number: i64| format!("column `{column}`: {number} is out of range of timestamp");
    let far = [
        far("ms", 9_300_000_000_000_000),
        far("inner", 9_300_000_000_000_000),
        far("ms", -9_300_000_000_000_000),
        far("first", 9_300_000_000_000_000),
    ];
    assert_eq!(reasons(&trial), far);
    let rejected = trial.rows("refused.jsonl").remove(0);
    assert!(rejected["value"].as_str().expect("the row").starts_with("{\"n\":1,\"ms\":null,\"ns\":"), "{rejected}");
}

/// Times of 96 bits, as Spark and Impala write them, of all years that these have.
#[test]
fn times_of_96_bits_cover_any_year() {
    let trial = reading("n = \"int64\", at = \"timestamp\", first = { type = \"timestamp\", path = \"all.0\" }");
    python(
        trial.dir(),
        "at = [datetime.datetime(9999, 12, 31, 23, 59, 59, 999999), datetime.datetime(1, 1, 1), None, datetime.datetime(1677, 9, 21), \
         datetime.datetime(2026, 1, 1)]\n\
         pq.write_table(pa.table({'n': range(5), 'at': pa.array(at, pa.timestamp('us')), 'all': pa.array([[t] for t in at], pa.list_(pa.timestamp('us')))}),\n\
         'in.parquet', use_deprecated_int96_timestamps=True, compression='none', use_dictionary=False, row_group_size=2)\n\
         import struct\n\
         data = open('in.parquet', 'rb').read()\n\
         day = struct.pack('<qI', 0, 2440588 + (datetime.date(2026, 1, 1) - datetime.date(1970, 1, 1)).days)\n\
         assert data.count(day) >= 2\n\
         open('in.parquet', 'wb').write(data.replace(day, struct.pack('<qI', 86399999999999, 2 ** 31 - 1), 1))",
    );
    trial.run_ok(&[]);
    let row = |n: u8, at: Option<&str>| json!({ "n": n, "at": at, "first": at });
    let expected = [
        row(0, Some("9999-12-31T23:59:59.999999Z")),
        row(1, Some("0001-01-01T00:00:00.000000Z")),
        row(2, None),
        row(3, Some("1677-09-21T00:00:00.000000Z")),
    ];
    assert_eq!(trial.rows("out.jsonl"), expected);
    let days = i128::from(i32::MAX) - 2_440_588 + 1;
    assert_eq!(reasons(&trial), [format!("column `at`: {} is out of range of timestamp", days * 86_400_000_000 - 1)]);
}

#[test]
fn times_without_an_offset_use_the_zone() {
    let zoned = |name: &str, path: &str, zone: &str| {
        format!("{name} = {{ type = \"timestamp\", path = \"{path}\", zone = \"{zone}\" }}")
    };
    let trial = reading(&format!(
        "at = \"timestamp\", word = {{ type = \"text\", path = \"at\" }}, {}, {}, {}, {}, {}",
        zoned("berlin", "at", "Europe/Berlin"),
        zoned("tokyo", "at", "Asia/Tokyo"),
        zoned("moment", "moment", "Europe/Berlin"),
        zoned("day", "day", "Europe/Berlin"),
        zoned("inner", "list.0.at", "Europe/Berlin"),
    ));
    python(
        trial.dir(),
        "at = [datetime.datetime(2026, 7, 1, 12), datetime.datetime(2026, 10, 25, 2, 30), datetime.datetime(2026, 3, 29, 2, 30), None]\n\
         pq.write_table(pa.table({'at': pa.array(at, pa.timestamp('ns')), 'moment': pa.array(at, pa.timestamp('ms', 'UTC')),\n\
         'day': pa.array([datetime.date(2026, 1, 1)] * 4), 'list': pa.array([[{'at': t}] for t in at], pa.list_(pa.struct([('at', pa.timestamp('us'))])))}),\n\
         'in.parquet')",
    );
    trial.run_ok(&[]);
    let (noon, half) = ("2026-07-01T12:00:00.000000Z", "2026-10-25T02:30:00.000000Z");
    let (noon_there, half_there) = ("2026-07-01T10:00:00.000000Z", "2026-10-25T00:30:00.000000Z");
    let day = "2025-12-31T23:00:00.000000Z";
    let expected = [
        json!({ "at": noon, "word": noon, "berlin": noon_there, "tokyo": "2026-07-01T03:00:00.000000Z", "moment": noon, "day": day,
                "inner": noon_there }),
        json!({ "at": half, "word": half, "berlin": half_there, "tokyo": "2026-10-24T17:30:00.000000Z", "moment": half, "day": day,
                "inner": half_there }),
        json!({ "at": null, "word": null, "berlin": null, "tokyo": null, "moment": null, "day": day, "inner": null }),
    ];
    assert_eq!(trial.rows("out.jsonl"), expected);
    let skipped = "column `berlin`: `2026-03-29T02:30:00.000000` does not exist in Europe/Berlin: daylight saving \
                  time skips it";
    assert_eq!(reasons(&trial), [skipped]);
}

#[test]
fn maps_have_keys_of_any_type() {
    let trial = reading(
        "whole = \"text\", one = { type = \"float64\", path = \"whole.-5\" }, s = { type = \"struct<7: float64>\", path = \"whole\" }, \
         days = \"text\", day = { type = \"text\", path = \"days.2026-01-01\" }, yes = { type = \"int64\", path = \"flags.true\" }, \
         bytes = { type = \"text\", path = \"bytes.k\" }, raw = { type = \"binary\", path = \"bytes.k\" }, \
         deep = { type = \"text\", path = \"deep.1.a.0\" }",
    );
    python(
        trial.dir(),
        "day = datetime.date(2026, 1, 1)\n\
         pq.write_table(pa.table({'whole': pa.array([[(-5, 0.5), (7, float('nan'))], []], pa.map_(pa.int32(), pa.float64())),\n\
         'days': pa.array([[(day, 'x')], None], pa.map_(pa.date32(), pa.string())), 'flags': pa.array([[(True, 1), (False, 0)], []], pa.map_(pa.bool_(), pa.int8())),\n\
         'bytes': pa.array([[(b'k', b'\\xc3\\xa9'), (b'l', b'\\xff')], [(b'k', b'\\xff')]], pa.map_(pa.binary(), pa.binary())),\n\
         'deep': pa.array([[(1, {'a': [b'z', b'\\xff']})], []], pa.map_(pa.uint64(), pa.struct([('a', pa.list_(pa.binary()))])))}), 'in.parquet')",
    );
    trial.run_ok(&[]);
    let expected = json!({ "whole": "{\"-5\":0.5,\"7\":\"NaN\"}", "one": 0.5, "s": { "7": "NaN" }, "days": "{\"2026-01-01\":\"x\"}",
                           "day": "x", "yes": 1, "bytes": "é", "raw": "c3a9", "deep": "z" });
    assert_eq!(trial.rows("out.jsonl"), [expected]);
    let message = "its column `bytes.k` holds bytes that are not UTF-8; declare it as `binary`";
    assert_eq!(reasons(&trial), [message]);
    let value = "{\"whole\":{},\"days\":null,\"flags\":{},\"bytes\":{\"k\":null},\"deep\":{}}";
    assert_eq!(trial.rows("refused.jsonl")[0]["value"], value);
}

/// Parquet types that have no equivalent here.
#[test]
fn types_without_an_equivalent_are_written_out() {
    let trial = reading(
        "u = \"decimal(20,0)\", big = \"text\", clock = \"text\", id = \"text\", ids = \"list<text>\", raw = { type = \"binary\", path = \"id\" }, \
         nothing = \"text\", nested = \"list<list<int64>>\"",
    );
    python(
        trial.dir(),
        "import decimal\n\
         one = bytes(range(16))\n\
         uuids = lambda values: pa.ExtensionArray.from_storage(pa.uuid(), pa.array(values, pa.binary(16)))\n\
         pq.write_table(pa.table({'u': pa.array([2 ** 64 - 1, 0], pa.uint64()), 'big': pa.array([decimal.Decimal('-1.50'), None], pa.decimal256(50, 2)),\n\
         'clock': pa.array([datetime.time(1, 2, 3, 4), None], pa.time64('us')), 'id': uuids([one, None]),\n\
         'ids': pa.ListArray.from_arrays([0, 1, 1], uuids([one])), 'nothing': pa.nulls(2), 'nested': pa.array([[[1, None], []], None], pa.list_(pa.list_(pa.int8())))}),\n\
         'in.parquet')",
    );
    trial.run_ok(&[]);
    let id = "00010203-0405-0607-0809-0a0b0c0d0e0f";
    let expected = [
        json!({ "u": 18_446_744_073_709_551_615_u64, "big": "-1.50", "clock": "01:02:03.000004", "id": id, "ids": [id],
                "raw": "000102030405060708090a0b0c0d0e0f", "nothing": null, "nested": [[1, null], []] }),
        json!({ "u": 0, "big": null, "clock": null, "id": null, "ids": [], "raw": null, "nothing": null, "nested": null }),
    ];
    assert_eq!(trial.rows("out.jsonl"), expected);
    assert!(reasons(&trial).is_empty());
}

#[test]
fn invalid_durations_and_times_of_day_reject_their_rows() {
    let trial = reading("n = \"int64\", d = \"text\", t = \"text\"");
    python(
        trial.dir(),
        "import struct\n\
         day = pa.array([1, 2, 86399999999, 4], pa.int64()).cast(pa.time64('us'))\n\
         d = pa.array([1, 2 ** 62, 3, -4], pa.int64()).cast(pa.duration('s'))\n\
         pq.write_table(pa.table({'n': range(4), 'd': d, 't': day}), 'in.parquet', compression='none', use_dictionary=False)\n\
         data, values = open('in.parquet', 'rb').read(), lambda last: struct.pack('<qqq', 1, 2, last)\n\
         assert data.count(values(86399999999)) == 1\n\
         open('in.parquet', 'wb').write(data.replace(values(86399999999), values(86400000000)))",
    );
    trial.run_ok(&[]);
    let row = |n: u8, d: &str, t: &str| json!({ "n": n, "d": d, "t": t });
    assert_eq!(trial.rows("out.jsonl"), [row(0, "PT1S", "00:00:00.000001"), row(3, "-PT4S", "00:00:00.000004")]);
    let expected = [
        "column `d`: 4611686018427387904 is out of range of durations",
        "column `t`: 86400000000000 nanoseconds is not a time of day",
    ];
    assert_eq!(reasons(&trial), expected);
}

#[test]
fn a_table_has_the_times_of_its_file_or_is_rejected() {
    let trial = Trial::new(
        "batch = \"0s\"\n[sources.in]\nkind = \"queue\"\npath = \"in.jsonl\"\nschema = { n = \"int64\" }\n\
         [stages.named]\nfrom = \"in\"\nenrich = { file = \"t.parquet\", on = \"n\" }\n\
         [sinks.out]\nfrom = \"named\"\nkind = \"queue\"\npath = \"out.jsonl\"\n",
    );
    trial.write("in.jsonl", "[[0],[1]]\n");
    let write = |at: &str, options: &str| {
        let script = format!("pq.write_table(pa.table({{'n': range(2), 'at': {at}}}), 't.parquet', {options})");
        python(trial.dir(), &script);
    };
    write("pa.array([0, 9300000000000000], pa.int64()).cast(pa.timestamp('ms'))", "");
    let refused = trial.rejected_message(&["validate", "job.toml"]);
    assert!(refused.contains("column `at`: 9300000000000000 is out of range of timestamp"), "{refused}");
    let times = "datetime.datetime(9999, 12, 31), datetime.datetime(1, 1, 1, 0, 0, 0, 1)";
    write(&format!("pa.array([{times}], pa.timestamp('us'))"), "use_deprecated_int96_timestamps=True");
    trial.run_ok(&[]);
    let row = |n: u8, at: &str| json!({ "n": n, "at": at });
    let expected = [row(0, "9999-12-31T00:00:00.000000Z"), row(1, "0001-01-01T00:00:00.000001Z")];
    assert_eq!(trial.rows("out.jsonl"), expected);
}

/// `formats/duckdb.sql` defines the content of the file.
#[test]
fn a_file_of_duckdb_is_read() {
    let trial = reading(
        "n = \"int64\", span = \"text\", id = \"text\", at = { type = \"timestamp\", path = \"at_local\", zone = \"Europe/Berlin\" }, \
         moment = { type = \"timestamp\", zone = \"Europe/Berlin\" }, ns = \"timestamp\", clock = \"text\", day = \"date\", \
         noon = { type = \"timestamp\", path = \"day\" }, word = \"text\", scores = \"struct<7: list<int64>>\", raw = \"text\", \
         u = \"decimal(20,0)\", price = \"text\", f = \"float64\", ok = \"bool\", since = { type = \"timestamp\", path = \"s.x.0.since\" }",
    );
    let file = fs::read(root().join("tests/tests/connectors/formats/duckdb.parquet")).expect("it is there");
    trial.write("in.parquet", file);
    trial.run_ok(&[]);
    let rows = trial.rows("out.jsonl");
    let first = json!({ "n": 1, "span": "1 mons 2 days 3.000 secs", "id": "00010203-0405-0607-0809-0a0b0c0d0e0f",
                        "at": "2026-07-01T10:00:00.000000Z", "moment": "2026-07-01T12:00:00.000000Z", "ns": "1969-12-31T23:59:59.999999Z",
                        "clock": "01:02:03.500", "day": "+10000-01-01", "noon": "+10000-01-01T00:00:00.000000Z", "word": "b",
                        "scores": { "7": [1, null] }, "raw": "é", "u": 18_446_744_073_709_551_615_u64,
                        "price": "123456789012345678901234567890.12", "f": 1.5, "ok": true, "since": "0001-01-01T00:00:00.000000Z" });
    assert_eq!(rows[0], first);
    // No time zone database covers this date.
    assert_eq!(
        (rows.len(), reasons(&trial)),
        (1, vec!["column `at`: +294246-01-01T00:00:00.000000 is out of range of timestamp".to_owned()])
    );
}
