//! Files of Parquet as sources, written by another program.

use millstream_tests::{Process, Trial, WeedServer, root};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Has pyarrow do something in a folder, where `pa` and `pq` are.
fn python(folder: &Path, script: &str) {
    let python = Command::new(root().join("scripts/python.sh")).output().expect("a shell").stdout;
    let python = String::from_utf8(python).expect("a path");
    let script = format!("import pyarrow as pa, pyarrow.parquet as pq, datetime\n{script}");
    let ended = Process::start(Command::new(python.trim()).args(["-c", &script]).current_dir(folder)).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// A job with checkpoints that copies a folder to `out.jsonl`.
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
        python(trial.folder(), NUMBERED);
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
        trial.folder(),
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
fn bytes_are_what_they_are_or_text() {
    let trial = copying(
        "in",
        "b = \"binary\", wide = \"binary\", word = \"text\", inner = { type = \"binary\", path = \"s.b\" }",
    );
    fs::create_dir(trial.path("in")).expect("a folder");
    let write = |name: &str, word: &str| {
        python(
            trial.folder(),
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
    assert!(ended.stderr.contains("its column `word` holds bytes that are no text in UTF-8"), "{}", ended.stderr);
}

/// Widths and layouts of other writers, at any depth.
#[test]
fn values_are_what_they_were_in_whatever_type() {
    let trial = copying(
        "in",
        "f = \"float64\", h = \"float64\", large = \"list<float64>\", fixed = \"list<float64>\", s = \"struct<b: text, f: float64>\", \
         inner = { type = \"text\", path = \"s.b\" }, texts = \"list<text>\", named = \"text\", day = \"date\"",
    );
    fs::create_dir(trial.path("in")).expect("a folder");
    python(
        trial.folder(),
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

/// What cannot be read of a file is told, and the job reads on in others.
#[test]
fn damaged_files_are_told() {
    let trial = copying("in", "n = \"int64\"");
    python(trial.folder(), NUMBERED);
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
        assert!(ended.stderr.contains(&format!("{name}`: it is damaged, or not whole")), "{}", ended.stderr);
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
        trial.folder(),
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
        trial.run_well(&[]);
        python(
            trial.folder(),
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
    let words = trial.refused(&["validate", "job.toml"]);
    assert!(words.contains("`compression` of files is that of the pages of Parquet"), "{words}");
}

/// A part that a start completes after a crash is compressed as the others.
#[test]
fn a_part_that_is_completed_later_keeps_its_compression() {
    let trial = Trial::new(
        "batch = \"5ms\"\n[checkpoint]\ndir = \"kept\"\nevery = 4\n[sources.in]\nkind = \"rate\"\nrows_per_second = 10000\n\
         rows_max = 500\nrows_per_batch_max = 50\n[sinks.out]\nfrom = \"in\"\nkind = \"files\"\npath = \"out\"\n\
         format = \"parquet\"\ncompression = \"gzip\"\nroll = { size = \"1MiB\", time = \"1h\" }\n",
    );
    let ended = start(&trial, &[], "kill@commit.after:3").wait();
    assert_eq!(ended.code, None, "{}", ended.stderr);
    trial.run_well(&[]);
    python(
        trial.folder(),
        "import glob\nparts = sorted(glob.glob('out/*.parquet'))\n\
         rows = sorted(n for part in parts for n in pq.read_table(part)['value'].to_pylist())\n\
         assert len(parts) == 2 and rows == list(range(500)), (parts, rows)\n\
         codecs = {pq.ParquetFile(part).metadata.row_group(0).column(1).compression for part in parts}\n\
         assert codecs == {'GZIP'}, codecs",
    );
}

/// A file that is whole is not passed over because of its codec.
#[test]
fn a_codec_that_is_not_there_is_refused() {
    let trial = copying("in", "n = \"int64\", x = \"text\"");
    fs::create_dir(trial.path("in")).expect("a folder");
    let brotli =
        "pq.write_table(pa.table({'x': ['y' * 40] * 100, 'n': range(100)}), 'in/1.parquet', compression=COLUMNS)";
    python(trial.folder(), &brotli.replace("COLUMNS", "{'x': 'brotli', 'n': 'zstd'}"));
    let ended = start(&trial, &[], "").wait();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let words = "source `in`: cannot read `";
    assert!(ended.stderr.contains(words) && ended.stderr.contains("in/1.parquet`: "), "{}", ended.stderr);
    let words = "its column `x` is compressed with brotli, which is not read here; write the file with zstd, gzip, lz4, snappy or \
                 no compression";
    assert!(ended.stderr.contains(words), "{}", ended.stderr);
    assert!(!trial.path("out.jsonl").exists() || trial.rows("out.jsonl").is_empty());
    // Columns that the job does not read may be what they are.
    trial.change(", x = \"text\"", "");
    let ended = start(&trial, &[], "").wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(trial.rows("out.jsonl").len(), 100);
}
