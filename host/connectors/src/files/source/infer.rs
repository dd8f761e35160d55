//! Infers the format and the columns of a file from a sample, for a job file. The result is tested on the sample with the decoder that the job would
//! use.

mod parquet;

use super::compressed::Stream;
use super::settings::FileReads;
use arrow::array::{AsArray, RecordBatch};
use millstream_base::error::{Error, Result};
use millstream_connect::receiver::framing::{trim_csv_line_end, trim_line_end};
use millstream_connect::receiver::{framer, plain};
use millstream_job::spec::SourceSpec;
use millstream_rows::decode::avro::container::{self, Header, Scanned};
use millstream_rows::decode::csv;
use millstream_rows::decode::infer::{Guess, GuessedColumn};
use millstream_rows::decode::mark;
use millstream_rows::decode::{self, Decoder};
use millstream_rows::formats::{Format, WriterSchema};
use std::path::Path;

/// Number of records used to detect the separator.
const SEPARATOR_RECORDS: usize = 100;
/// Possible separators of cells.
const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];
/// Maximum rejected records that are reported with their reason.
const REASONS_MAX: usize = 3;

/// What the user says about a file, and how much of it to read.
#[derive(Clone, Debug)]
pub struct Sample {
    /// `json`, `csv`, `text`, `avro` or `parquet`; detected if `None`.
    pub format: Option<String>,
    /// Whether the first record of CSV names the columns; detected if `None`.
    pub header: Option<bool>,
    /// Separator of CSV cells; detected if `None`.
    pub separator: Option<u8>,
    /// Maximum records to read.
    pub rows_max: u64,
    /// Maximum bytes to read, after decompression.
    pub bytes_max: u64,
}

/// The inferred source.
#[derive(Debug)]
pub struct Inferred {
    /// The source.
    pub source: SourceSpec,
    /// Uncertainties and problems.
    pub notes: Vec<String>,
    /// Number of records in the sample.
    pub records: u64,
    /// How many of them the source would reject.
    pub rejected: u64,
    /// Whether the sample is the complete file.
    pub is_complete: bool,
}

/// Infers a source from the beginning of a file. Errors are of kind `Job` and say what to write instead.
pub fn infer(name: &str, path: &Path, sample: &Sample) -> Result<Inferred> {
    let (bytes, is_complete, damage) = read(path, sample.bytes_max)?;
    let wanted = sample.format.as_deref();
    if wanted == Some("parquet") || (wanted.is_none() && bytes.starts_with(parquet::MAGIC)) {
        return parquet::infer(name, path, sample);
    }
    infer_part(name, path, &bytes, (is_complete, damage.as_deref()), sample)
}

/// Infers a source from the first bytes of the file `path`. `is_complete`: they are the complete file.
pub fn of_bytes(name: &str, path: &Path, bytes: &[u8], is_complete: bool, sample: &Sample) -> Result<Inferred> {
    infer_part(name, path, bytes, (is_complete, None), sample)
}

/// Infers a source from a part of a file. `damage`: why nothing after these bytes can be read.
fn infer_part(
    name: &str,
    path: &Path,
    bytes: &[u8],
    (is_complete, damage): (bool, Option<&str>),
    sample: &Sample,
) -> Result<Inferred> {
    let wrong = |what: &str| Error::job(format!("`{}`: {what}", path.display()));
    if mark::is_other(bytes) {
        return Err(wrong(mark::OTHER_ENCODING));
    }
    if bytes.starts_with(container::MAGIC) && sample.format.as_deref().is_none_or(|format| format == "avro") {
        return avro(name, path, bytes, (is_complete, damage), sample.rows_max).map_err(|what| wrong(&what));
    }
    let (format, mut notes) = format_of(path, bytes, is_complete, sample).map_err(|what| wrong(&what))?;
    let mut source = SourceSpec::from_config(name, FileReads { path: path.into() }).format(format);
    let records = records(&source, bytes, is_complete, sample.rows_max);
    if records.is_empty() {
        let what = if is_complete {
            "it has no records, so its columns are unknown; write them as schema = { user = \"text\", … }".to_owned()
        } else {
            format!("no record ends within the first {} bytes; read more with --bytes", bytes.len())
        };
        return Err(wrong(&what));
    }
    let (columns, more) = match &source.format {
        Format::Json => json(&records),
        Format::Csv { separator, .. } => {
            let (header, columns, more) = cells(&records, *separator, sample.header).map_err(|what| wrong(&what))?;
            source.format = Format::Csv { header, separator: *separator };
            (columns, more)
        }
        _ => (Vec::new(), Vec::new()),
    };
    notes.extend(more);
    for GuessedColumn { spec, notes: column_notes } in &columns {
        notes.extend(column_notes.iter().map(|note| format!("column `{}`: {note}", spec.name)));
    }
    let is_text = source.format == Format::Text;
    source.schema = columns.into_iter().map(|column| column.spec).collect();
    if is_text {
        source = SourceSpec { schema: SourceSpec::default_schema(&source.kind, &source.format), ..source };
    } else if source.schema.is_empty() {
        return Err(wrong(
            "no record has a value in a column that a schema can name; is the format correct? Set it with --format",
        ));
    }
    let TrialResult { records, rejected, notes: reasons } =
        try_decode(&source, bytes, (is_complete, damage), sample.rows_max);
    notes.extend(reasons);
    Ok(Inferred { source, notes, records, rejected, is_complete })
}

/// Infers a source from an Avro file, whose header has the columns.
fn avro(
    name: &str,
    path: &Path,
    bytes: &[u8],
    (is_complete, damage): (bool, Option<&str>),
    rows_max: u64,
) -> std::result::Result<Inferred, String> {
    let header = match Header::read(bytes) {
        Scanned::Complete(header) => header,
        Scanned::More => return Err("its header does not end here; read more with --bytes".into()),
        Scanned::Wrong(why) => return Err(why),
    };
    let schema = decode::avro::columns(&header.schema)?;
    if schema.is_empty() {
        return Err("its records have no fields".into());
    }
    let source =
        SourceSpec::from_config(name, FileReads { path: path.into() }).format(Format::Avro(WriterSchema::InFile));
    let source = source.schema(schema);
    let TrialResult { records, rejected, notes } = try_decode(&source, bytes, (is_complete, damage), rows_max);
    Ok(Inferred { source, notes, records, rejected, is_complete })
}

/// Reads the first bytes of the file. Returns also whether they are the complete file, and why the rest of a damaged file cannot be read.
fn read(path: &Path, bytes_max: u64) -> Result<(Vec<u8>, bool, Option<String>)> {
    let failed = |error: std::io::Error| Error::job(format!("cannot read `{}`: {}", path.display(), plain(&error)));
    if std::fs::metadata(path).map_err(failed)?.is_dir() {
        return Err(Error::job(format!("`{}` is a directory; name one of its files", path.display())));
    }
    // `Text`, so that the first bytes show whether the file is compressed. Only for binary records they do not.
    let source = SourceSpec::from_config("sample", FileReads { path: path.into() });
    let mut stream =
        Stream::of(&source, path, millstream_base::regular::open(path).map_err(failed)?).map_err(failed)?;
    let mut bytes = Vec::new();
    stream.fill(&mut bytes, bytes_max).map_err(failed)?;
    if bytes.is_empty() {
        let why = stream.damage().map_err(failed)?.unwrap_or_else(|| "it is empty, so its columns are unknown".into());
        return Err(Error::job(format!("`{}`: {why}", path.display())));
    }
    let is_complete = (bytes.len() as u64) < bytes_max;
    let damage = if is_complete { stream.damage().map_err(failed)? } else { None };
    Ok((bytes, is_complete, damage))
}

/// Returns the format and notes about it.
fn format_of(
    path: &Path,
    bytes: &[u8],
    is_complete: bool,
    sample: &Sample,
) -> std::result::Result<(Format, Vec<String>), String> {
    let csv = |separator| Format::Csv { header: true, separator };
    match sample.format.as_deref() {
        Some("avro") => return Err("it does not begin as Avro files do".into()),
        Some("json") => return Ok((Format::Json, Vec::new())),
        Some("text") => return Ok((Format::Text, Vec::new())),
        Some("csv") => {
            let found = sample.separator.or_else(|| separator(bytes, is_complete));
            return Ok((csv(found.unwrap_or(b',')), Vec::new()));
        }
        _ => {}
    }
    if bytes.starts_with(parquet::MAGIC) {
        return Err("it is Parquet, which can be read only from a file; write it to a file".into());
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() && !is_complete => "",
        Err(error) => {
            let at = error.valid_up_to();
            if bytes.contains(&0) {
                return Err(format!(
                    "it is not text (byte {at} is not UTF-8); for records of fixed length write format = \"binary\" and the columns"
                ));
            }
            ""
        }
    };
    let first = trim(bytes);
    if first.first() == Some(&b'{') {
        let line = first.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let mut guess = Guess::new(true);
        let read = std::str::from_utf8(line).is_ok_and(|line| guess.json(line).is_ok());
        if !read && serde_json::from_str::<serde_json::Value>(text).is_ok() {
            return Err("it is a JSON object over several lines, but each line must be a record; write one object \
                per line, for example with `jq -c .`"
                .into());
        }
        return Ok((Format::Json, Vec::new()));
    }
    if first.first() == Some(&b'[')
        && serde_json::from_str::<Vec<serde_json::Value>>(text).is_ok_and(|all| !all.is_empty())
    {
        return Err(
            "it is a JSON array, but each line must be a record; write one element per line, for example with `jq \
            -c '.[]'`"
                .into(),
        );
    }
    let file = path.to_string_lossy().to_ascii_lowercase();
    let plain = file.strip_suffix(".gz").or_else(|| file.strip_suffix(".zst")).unwrap_or(&file);
    let named = plain.ends_with(".csv") || plain.ends_with(".tsv");
    match sample.separator.or_else(|| separator(bytes, is_complete)) {
        Some(found) => Ok((csv(found), Vec::new())),
        None if named => Ok((csv(b','), Vec::new())),
        None => Ok((
            Format::Text,
            vec![
                "it looks like neither JSON nor csv: each line is one text column; set --format if that is wrong"
                    .into(),
            ],
        )),
    }
}

/// Returns the bytes without leading white space.
fn trim(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(mark::UTF_8).unwrap_or(bytes).trim_ascii_start()
}

/// Detects the separator: the one that splits the first records into the most cells, the same number in each.
fn separator(bytes: &[u8], is_complete: bool) -> Option<u8> {
    let cells_of = |separator: u8| {
        let format = Format::Csv { header: false, separator };
        let source = SourceSpec::from_config("sample", FileReads { path: "sample".into() }).format(format);
        let records = records(&source, bytes, is_complete, SEPARATOR_RECORDS as u64);
        let mut counts = records.iter().filter(|record| !record.is_empty()).map(|record| {
            std::str::from_utf8(record)
                .ok()
                .and_then(|record| csv::cells(record, separator).ok())
                .map_or(0, |cells| cells.len())
        });
        let first = counts.next().filter(|count| *count > 1)?;
        counts.all(|count| count == first).then_some((first, separator))
    };
    // On a tie, the first separator wins.
    let found =
        SEPARATORS.into_iter().filter_map(cells_of).reduce(|best, next| if next.0 > best.0 { next } else { best });
    found.map(|(_, separator)| separator)
}

/// Returns the first records without their line ends. A CSV header counts as a record.
fn records(source: &SourceSpec, bytes: &[u8], is_complete: bool, rows_max: u64) -> Vec<Vec<u8>> {
    let format = match source.format {
        Format::Csv { separator, .. } => Format::Csv { header: false, separator },
        ref other => other.clone(),
    };
    let is_csv = matches!(format, Format::Csv { .. });
    let mut found = Vec::new();
    let mut framer = framer(&SourceSpec { format, ..source.clone() });
    framer.buffer(bytes.len()).extend_from_slice(bytes);
    if is_complete {
        framer.end();
    }
    let rows_max = usize::try_from(rows_max).unwrap_or(usize::MAX).saturating_add(usize::from(is_csv));
    while let Some(chunk) = framer.next(true) {
        for row in 0..chunk.rows() {
            if found.len() == rows_max {
                return found;
            }
            let record = if is_csv { trim_csv_line_end(chunk.record(row)) } else { trim_line_end(chunk.record(row)) };
            let record = if found.is_empty() { record.strip_prefix(mark::UTF_8).unwrap_or(record) } else { record };
            if !record.is_empty() || (!is_csv && source.format == Format::Text) {
                found.push(record.to_vec());
            }
        }
    }
    found
}

/// Columns, and notes about all of them.
type Columns = (Vec<GuessedColumn>, Vec<String>);

fn json(records: &[Vec<u8>]) -> Columns {
    let mut guess = Guess::new(true);
    for record in records {
        // The decoder reports records that are not objects.
        let _ = std::str::from_utf8(record).is_ok_and(|record| guess.json(record).is_ok());
    }
    (guess.columns(), guess.notes())
}

fn cells(
    records: &[Vec<u8>],
    separator: u8,
    header: Option<bool>,
) -> std::result::Result<(bool, Vec<GuessedColumn>, Vec<String>), String> {
    let rows = records.iter().map(|record| std::str::from_utf8(record).ok());
    let rows: Vec<Vec<Option<String>>> =
        rows.flatten().filter_map(|record| csv::nullable_cells(record, separator).ok()).collect();
    let Some(first) = rows.first() else { return Err("no record of it is csv in UTF-8".into()) };
    let mut notes = Vec::new();
    let looks = looks_like_header(first, rows.get(1..).unwrap_or_default());
    if header.is_none() {
        let what = if looks { "to name the columns" } else { "to be a row like the others" };
        notes.push(format!("the first record is taken {what}; --header true or --header false overrides this"));
    }
    let header = header.unwrap_or(looks);
    let names: Vec<String> = match header {
        true => first.iter().map(|name| name.clone().unwrap_or_default().trim().to_owned()).collect(),
        false => (1..=first.len()).map(|number| format!("column_{number}")).collect(),
    };
    let cells = names.len();
    // Columns of the same name are merged; columns without a name are skipped.
    let mut columns: Vec<(String, Vec<usize>)> = Vec::new();
    for (index, name) in names.into_iter().enumerate() {
        if name.is_empty() || name.chars().any(char::is_control) {
            notes.push(format!("cell {} of the header is not a valid column name; its values are ignored", index + 1));
            continue;
        }
        match columns.iter_mut().find(|(known, _)| *known == name) {
            Some((_, indices)) => {
                notes.push(format!("two columns are named `{name}`; the last one wins"));
                indices.push(index);
            }
            None => columns.push((name, vec![index])),
        }
    }
    let mut guess = Guess::new(false);
    let indices: Vec<usize> = columns.iter().flat_map(|(_, indices)| indices.last().copied()).collect();
    let all: Vec<Vec<usize>> = columns.iter().map(|(_, indices)| indices.clone()).collect();
    guess.names(columns.into_iter().map(|(name, _)| name));
    for row in rows.iter().skip(usize::from(header)).filter(|row| row.len() == cells) {
        guess.cells(&indices.iter().map(|index| row.get(*index).cloned().flatten()).collect::<Vec<_>>());
        // The values of the first of several columns of one name are read as well.
        if all.iter().any(|indices| indices.len() > 1) {
            let firsts = all.iter().map(|indices| match indices.as_slice() {
                [first, _, ..] => row.get(*first).cloned().flatten(),
                _ => None,
            });
            guess.cells(&firsts.collect::<Vec<_>>());
        }
    }
    notes.extend(guess.notes());
    Ok((header, guess.columns(), notes))
}

/// Returns whether the first record names the columns: its cells are distinct words, and they differ from the values below them or look like names.
fn looks_like_header(first: &[Option<String>], rest: &[Vec<Option<String>>]) -> bool {
    let mut guess = Guess::new(false);
    guess.names((0..first.len()).map(|index| index.to_string()));
    guess.cells(first);
    let are_words = guess.columns().iter().zip(first).all(|(column, cell)| {
        let cell = cell.as_deref().unwrap_or_default().trim();
        // An unnamed column is compatible with a header, as spreadsheets write one for row numbers.
        cell.is_empty() || (column.spec.type_word() == "text" && !cell.contains(['@', '/', ':', '\\', '=']))
    });
    let names: Vec<&str> = first.iter().flatten().map(|name| name.trim()).filter(|name| !name.is_empty()).collect();
    let mut differing = names.clone();
    differing.sort_unstable();
    differing.dedup();
    if !are_words || names.is_empty() || differing.len() < names.len() {
        return false;
    }
    let repeated =
        rest.iter().filter(|row| row.iter().zip(first).any(|(cell, name)| cell.is_some() && cell == name)).count();
    let mut below = Guess::new(false);
    below.names((0..first.len()).map(|index| index.to_string()));
    rest.iter().for_each(|row| below.cells(row));
    let typed = below.columns().iter().any(|column| column.spec.type_word() != "text");
    let like_names = names
        .iter()
        .all(|name| name.len() <= 64 && name.chars().all(|c| c.is_alphanumeric() || "_-. ()%#".contains(c)));
    typed || (like_names && repeated == 0)
}

/// The result of decoding the sample.
#[derive(Default)]
struct TrialResult {
    /// Number of records. Blank lines do not count if the format skips them.
    records: u64,
    /// How many of them are rejected.
    rejected: u64,
    /// The first reasons.
    notes: Vec<String>,
}

/// Decodes the sample as the source does.
fn try_decode(
    source: &SourceSpec,
    bytes: &[u8],
    (is_complete, damage): (bool, Option<&str>),
    rows_max: u64,
) -> TrialResult {
    let mut framer = framer(source);
    framer.buffer(bytes.len()).extend_from_slice(bytes);
    match damage {
        Some(why) => {
            framer.break_off(why);
            framer.reject_rest(why.to_owned());
        }
        None if is_complete => framer.end(),
        None => {}
    }
    let mut decoder = Decoder::new(source.decoder_spec());
    let mut result = TrialResult::default();
    while result.records < rows_max
        && let Some(mut chunk) = framer.next(true)
    {
        while result.records < rows_max && chunk.rows() > 0 {
            let left = usize::try_from(rows_max - result.records).unwrap_or(usize::MAX);
            let decoded = decoder.decode(&chunk.cut_front(left));
            result.records += decoded.rows.num_rows() as u64;
            if let Some(rejected) = &decoded.rejected {
                result.add(rejected);
            }
        }
    }
    if result.rejected > result.notes.len() as u64 {
        result.notes.push(format!("{} records would be rejected in total", result.rejected));
    }
    result
}

impl TrialResult {
    fn add(&mut self, rejected: &RecordBatch) {
        let rows = rejected.num_rows() as u64;
        (self.records, self.rejected) = (self.records + rows, self.rejected + rows);
        let strings = |column: usize| rejected.column(column).as_string_opt::<i32>();
        let (Some(values), Some(why)) = (strings(0), strings(1)) else { return };
        for (value, reason) in values.iter().zip(why).take(REASONS_MAX - self.notes.len().min(REASONS_MAX)) {
            let value: String = value.unwrap_or_default().chars().take(60).collect();
            self.notes.push(format!("a record would be rejected: {} (`{value}`)", reason.unwrap_or_default()));
        }
    }
}

#[cfg(test)]
mod tests;
