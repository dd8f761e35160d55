//! Reads files of rejected rows, as written by sinks, as JSON objects, one per row, for every format.

use crate::program_limits::RETRY_FILE_BYTES_MAX;
use bytes::Bytes;
use millstream_base::error::{Error, Result};
use millstream_rows::batch::json;
use millstream_rows::decode::csv::nullable_cells;
use millstream_rows::decode::json::array_elements;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_128;

/// Rows that are retried together, or skipped together because they were retried before: those of a file. For a queue
/// they are those of a batch, as the file grows.
pub struct RetryUnit {
    /// The file, for messages.
    pub position: String,
    /// The digest of what the sink wrote.
    pub digest: u128,
    /// The number of this file among equal files of several workers, each with its own rows. Other equal files are
    /// copies, and all have the number of the first.
    pub nth: u64,
    /// The rows.
    pub records: Vec<RejectedRecord>,
}

/// A rejected row.
pub struct RejectedRecord {
    /// The file and the position in it, for messages.
    pub position: String,
    /// A JSON object.
    pub json: String,
}

/// The format of a file.
#[derive(Clone, Copy)]
enum FileKind {
    Json,
    Csv,
    Parquet,
}

/// The file extensions that are searched for in a directory.
const EXTENSIONS: [(&str, FileKind); 4] =
    [("jsonl", FileKind::Json), ("json", FileKind::Json), ("csv", FileKind::Csv), ("parquet", FileKind::Parquet)];

/// Reads all rows of these files and directories. Files without rows are omitted.
pub fn read(paths: &[PathBuf]) -> Result<Vec<RetryUnit>> {
    let mut units = Vec::new();
    for path in paths {
        let failed = |error| Error::job(format!("cannot read {}: {error}", path.display()));
        if std::fs::metadata(path).map_err(failed)?.is_dir() {
            for (path, kind) in in_dir(path).map_err(failed)? {
                units.extend(of_file(&path, kind)?.into_iter().map(|unit| (unit, worker_of(&path))));
            }
        } else {
            let kind = kind_of(path).ok_or_else(|| {
                not_ours(path.display(), "its name has no known format; files of sinks end in .jsonl, .csv or .parquet")
            })?;
            units.extend(of_file(path, kind)?.into_iter().map(|unit| (unit, worker_of(path))));
        }
    }
    units.retain(|(unit, _)| !unit.records.is_empty());
    let mut workers: BTreeMap<u128, Vec<u64>> = BTreeMap::new();
    for (unit, worker) in &mut units {
        let Some(worker) = *worker else { continue };
        let alike = workers.entry(unit.digest).or_default();
        if !alike.contains(&worker) {
            alike.push(worker);
        }
        unit.nth = (1..).zip(&*alike).find_map(|(nth, known)| (*known == worker).then_some(nth)).unwrap_or(1);
    }
    Ok(units.into_iter().map(|(unit, _)| unit).collect())
}

/// Returns the files of a directory that may contain rows, sorted by name.
fn in_dir(dir: &Path) -> std::io::Result<Vec<(PathBuf, FileKind)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        files.extend(kind_of(&path).filter(|_| !hidden && path.is_file()).map(|kind| (path, kind)));
    }
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(files)
}

fn kind_of(path: &Path) -> Option<FileKind> {
    let end = path.extension()?.to_str()?;
    EXTENSIONS.iter().find(|(known, _)| known.eq_ignore_ascii_case(end)).map(|(_, kind)| *kind)
}

/// Returns the error for a file that no sink wrote for rejected rows.
pub fn not_ours(position: impl std::fmt::Display, why: impl std::fmt::Display) -> Error {
    Error::job(format!(
        "{position}: {why}; use a file that a sink wrote of `<stage>.rejected`, of kind `files` (json, csv, parquet) or `queue`"
    ))
}

/// Returns the worker that wrote a file, from its name: `part-0000000001-003.jsonl`.
fn worker_of(path: &Path) -> Option<u64> {
    let (batch, worker) = path.file_stem()?.to_str()?.strip_prefix("part-")?.split_once('-')?;
    batch.parse::<u64>().ok()?;
    worker.parse().ok()
}

fn of_file(path: &Path, kind: FileKind) -> Result<Vec<RetryUnit>> {
    let shown = path.display().to_string();
    let failed = |error| Error::job(format!("cannot read {shown}: {error}"));
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > RETRY_FILE_BYTES_MAX {
        let most = RETRY_FILE_BYTES_MAX >> 20;
        return Err(Error::job(format!("{shown} has more than {most} MiB; split it into several files")));
    }
    let bytes = millstream_base::regular::read(path).map_err(failed)?;
    let digest = xxh3_128(&bytes);
    let records = match kind {
        FileKind::Json => return lines(&shown, &bytes),
        FileKind::Csv => csv(&shown, &bytes)?,
        FileKind::Parquet => parquet(&shown, bytes.into())?,
    };
    Ok(vec![RetryUnit { position: shown, digest, nth: 1, records }])
}

/// A line of a queue sink, with the keys that identify it.
#[derive(Deserialize)]
struct QueueLine {
    #[serde(rename = "batch")]
    _batch: u64,
    #[serde(rename = "rows")]
    _rows: Vec<IgnoredAny>,
}

/// Parses JSON lines: one unit, or one per batch if they are those of a queue.
fn lines(file: &str, bytes: &[u8]) -> Result<Vec<RetryUnit>> {
    let text = std::str::from_utf8(bytes).map_err(|error| not_ours(file, format!("it is not UTF-8 ({error})")))?;
    let mut file_unit = RetryUnit { position: file.to_owned(), digest: xxh3_128(bytes), nth: 1, records: Vec::new() };
    let mut batches = Vec::new();
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let position = format!("{file}:{number}");
        let content = line.trim();
        if content.is_empty() {
            continue;
        }
        if serde_json::from_str::<QueueLine>(content).is_ok() {
            let rows = elements(content).map_err(|why| not_ours(&position, why))?;
            let records = rows
                .into_iter()
                .map(|json| RejectedRecord { position: position.clone(), json: json.to_owned() })
                .collect();
            let digest = xxh3_128(content.as_bytes());
            batches.push(RetryUnit { position: file.to_owned(), digest, nth: 1, records });
        } else if line.ends_with('\n') || !content.starts_with("{\"batch\":") || batches.is_empty() {
            file_unit.records.push(RejectedRecord { position, json: content.to_owned() });
        }
        // Otherwise it is the last line of a queue, which is still being written.
    }
    if !file_unit.records.is_empty() {
        batches.push(file_unit);
    }
    Ok(batches)
}

/// Returns the rows in a line of a queue sink. They are the last key.
fn elements(line: &str) -> Result<Vec<&str>, String> {
    let (_, rows) = line.split_once("\"rows\":").ok_or("no rows found")?;
    array_elements(rows.trim_end().strip_suffix('}').ok_or("it is not an object")?)
}

/// Parses CSV. Each cell becomes a string, or null if it is empty without quotes.
fn csv(file: &str, bytes: &[u8]) -> Result<Vec<RejectedRecord>> {
    let text = std::str::from_utf8(bytes).map_err(|error| not_ours(file, format!("it is not UTF-8 ({error})")))?;
    let mut records = csv_records(text.strip_prefix('\u{FEFF}').unwrap_or(text)).into_iter();
    let Some((_, header)) = records.next() else { return Ok(Vec::new()) };
    let invalid = |position: &str, why: String| not_ours(position, why);
    let names = nullable_cells(header, b',').map_err(|why| invalid(file, format!("the header: {why}")))?;
    let names: Vec<String> = names.into_iter().map(Option::unwrap_or_default).collect();
    let mut rows = Vec::new();
    for (line, record) in records {
        let position = format!("{file}:{line}");
        let cells = nullable_cells(record, b',').map_err(|why| invalid(&position, why))?;
        if cells.len() != names.len() {
            return Err(invalid(&position, format!("{} cells, the header has {}", cells.len(), names.len())));
        }
        let object = names.iter().cloned().zip(cells.into_iter().map(|cell| cell.map_or(Value::Null, Value::String)));
        rows.push(RejectedRecord { position, json: Value::Object(object.collect()).to_string() });
    }
    Ok(rows)
}

/// Returns the records of a CSV file without their line ends, and their line numbers. Blank ones are omitted.
fn csv_records(text: &str) -> Vec<(usize, &str)> {
    let (mut records, mut begin, mut begin_line, mut line, mut inside) = (Vec::new(), 0, 1, 1, false);
    for (at, byte) in text.bytes().enumerate().chain([(text.len(), b'\n')]) {
        match byte {
            // A doubled quote toggles twice, so the state is unchanged.
            b'"' => inside = !inside,
            b'\n' => {
                line += 1;
                if !inside || at == text.len() {
                    let record = text.get(begin..at).unwrap_or_default();
                    let record = record.strip_suffix('\r').unwrap_or(record);
                    records.extend((!record.is_empty()).then_some((begin_line, record)));
                    (begin, begin_line) = (at + 1, line);
                }
            }
            _ => {}
        }
    }
    records
}

/// Reads the rows in the form in which sinks write them as JSON.
fn parquet(file: &str, bytes: Bytes) -> Result<Vec<RejectedRecord>> {
    let broken = |error: &dyn std::fmt::Display| not_ours(file, format!("it cannot be read as parquet ({error})"));
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|error| broken(&error))?;
    let mut records = Vec::new();
    for rows in builder.build().map_err(|error| broken(&error))? {
        let rows = rows.map_err(|error| broken(&error))?;
        for json in json::objects(&rows).map_err(|error| broken(&error))? {
            records.push(RejectedRecord { position: format!("{file}, row {}", records.len() + 1), json });
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests;
