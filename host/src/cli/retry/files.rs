//! Files of rejected rows, as sinks wrote them, as JSON objects: one each, whatever the format.

use crate::program_limits::RETRY_FILE_BYTES_MAX;
use bytes::Bytes;
use millstream_base::batch::json;
use millstream_base::decode::csv::nullable_cells;
use millstream_base::decode::json::array_elements;
use millstream_base::error::{Error, Result};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_128;

/// Rows that are given back together, or not at all because they were before: those of a file or, of a queue, those of a
/// batch, as the file grows.
pub struct RetryUnit {
    /// The file, for messages.
    pub place: String,
    /// Of what the sink wrote.
    pub digest: u128,
    /// Which it is of the files that several workers wrote alike, each of its own rows. Others that are alike are copies: all of them are
    /// the first.
    pub nth: u64,
    /// The rows.
    pub records: Vec<RejectedRecord>,
}

/// A rejected row.
pub struct RejectedRecord {
    /// The file and where it stands there, for messages.
    pub place: String,
    /// A JSON object.
    pub json: String,
}

/// What is in a file.
#[derive(Clone, Copy)]
enum FileKind {
    Json,
    Csv,
    Parquet,
}

/// How the names of files end that a folder is looked through for.
const ENDS: [(&str, FileKind); 4] =
    [("jsonl", FileKind::Json), ("json", FileKind::Json), ("csv", FileKind::Csv), ("parquet", FileKind::Parquet)];

/// All rows of these files and folders. Files without rows are left out.
pub fn read(paths: &[PathBuf]) -> Result<Vec<RetryUnit>> {
    let mut units = Vec::new();
    for path in paths {
        let failed = |error| Error::job(format!("cannot read {}: {error}", path.display()));
        if std::fs::metadata(path).map_err(failed)?.is_dir() {
            for (path, kind) in in_folder(path).map_err(failed)? {
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

/// The files of a folder that may hold rows, by name.
fn in_folder(folder: &Path) -> std::io::Result<Vec<(PathBuf, FileKind)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        files.extend(kind_of(&path).filter(|_| !hidden && path.is_file()).map(|kind| (path, kind)));
    }
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(files)
}

fn kind_of(path: &Path) -> Option<FileKind> {
    let end = path.extension()?.to_str()?;
    ENDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(end)).map(|(_, kind)| *kind)
}

/// The error of something that no sink wrote of rejected rows.
pub fn not_ours(place: impl std::fmt::Display, why: impl std::fmt::Display) -> Error {
    Error::job(format!(
        "{place}: {why}; use a file that a sink wrote of `<stage>.rejected`, of kind `files` (json, csv, parquet) or `queue`"
    ))
}

/// The worker that wrote a file, as its name tells: `part-0000000001-003.jsonl`.
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
    Ok(vec![RetryUnit { place: shown, digest, nth: 1, records }])
}

/// A line of a queue sink, as far as it tells it from others.
#[derive(Deserialize)]
struct QueueLine {
    #[serde(rename = "batch")]
    _batch: u64,
    #[serde(rename = "rows")]
    _rows: Vec<IgnoredAny>,
}

/// JSON lines: one unit, or one for each batch where they are those of a queue.
fn lines(file: &str, bytes: &[u8]) -> Result<Vec<RetryUnit>> {
    let text = std::str::from_utf8(bytes).map_err(|error| not_ours(file, format!("it is not UTF-8 ({error})")))?;
    let mut whole = RetryUnit { place: file.to_owned(), digest: xxh3_128(bytes), nth: 1, records: Vec::new() };
    let mut batches = Vec::new();
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let place = format!("{file}:{number}");
        let content = line.trim();
        if content.is_empty() {
            continue;
        }
        if serde_json::from_str::<QueueLine>(content).is_ok() {
            let rows = elements(content).map_err(|why| not_ours(&place, why))?;
            let records =
                rows.into_iter().map(|json| RejectedRecord { place: place.clone(), json: json.to_owned() }).collect();
            let digest = xxh3_128(content.as_bytes());
            batches.push(RetryUnit { place: file.to_owned(), digest, nth: 1, records });
        } else if line.ends_with('\n') || !content.starts_with("{\"batch\":") || batches.is_empty() {
            whole.records.push(RejectedRecord { place, json: content.to_owned() });
        }
        // Else it is the last line of a queue, which is still being written.
    }
    if !whole.records.is_empty() {
        batches.push(whole);
    }
    Ok(batches)
}

/// The rows in a line of a queue sink, which has them behind all else.
fn elements(line: &str) -> Result<Vec<&str>, String> {
    let (_, rows) = line.split_once("\"rows\":").ok_or("there are no rows")?;
    array_elements(rows.trim_end().strip_suffix('}').ok_or("it is no object")?)
}

/// Each cell as a text, or null where it is empty without quotes.
fn csv(file: &str, bytes: &[u8]) -> Result<Vec<RejectedRecord>> {
    let text = std::str::from_utf8(bytes).map_err(|error| not_ours(file, format!("it is not UTF-8 ({error})")))?;
    let mut records = csv_records(text.strip_prefix('\u{FEFF}').unwrap_or(text)).into_iter();
    let Some((_, header)) = records.next() else { return Ok(Vec::new()) };
    let wrong = |place: &str, why: String| not_ours(place, why);
    let names = nullable_cells(header, b',').map_err(|why| wrong(file, format!("the header: {why}")))?;
    let names: Vec<String> = names.into_iter().map(Option::unwrap_or_default).collect();
    let mut rows = Vec::new();
    for (line, record) in records {
        let place = format!("{file}:{line}");
        let cells = nullable_cells(record, b',').map_err(|why| wrong(&place, why))?;
        if cells.len() != names.len() {
            return Err(wrong(&place, format!("{} cells, the header has {}", cells.len(), names.len())));
        }
        let object = names.iter().cloned().zip(cells.into_iter().map(|cell| cell.map_or(Value::Null, Value::String)));
        rows.push(RejectedRecord { place, json: Value::Object(object.collect()).to_string() });
    }
    Ok(rows)
}

/// The records of a csv file without their line ends, and the lines in which they begin. Blank ones are left out.
fn csv_records(text: &str) -> Vec<(usize, &str)> {
    let (mut records, mut begin, mut begin_line, mut line, mut inside) = (Vec::new(), 0, 1, 1, false);
    for (at, byte) in text.bytes().enumerate().chain([(text.len(), b'\n')]) {
        match byte {
            // Two quotes that stand for one leave things as they are.
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

/// The rows as the sinks write them as JSON.
fn parquet(file: &str, bytes: Bytes) -> Result<Vec<RejectedRecord>> {
    let broken = |error: &dyn std::fmt::Display| not_ours(file, format!("it cannot be read as parquet ({error})"));
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|error| broken(&error))?;
    let mut records = Vec::new();
    for rows in builder.build().map_err(|error| broken(&error))? {
        let rows = rows.map_err(|error| broken(&error))?;
        for json in json::objects(&rows).map_err(|error| broken(&error))? {
            records.push(RejectedRecord { place: format!("{file}, row {}", records.len() + 1), json });
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests;
