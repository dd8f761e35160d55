//! What a job file would have to say of a file: its format and columns, from a sample of it. What is found is tried on the
//! sample with the decoder that the job would use.

mod parquet;

use super::compressed::Stream;
use super::framer;
use super::framing::{trim_csv_line_end, trim_line_end};
use arrow::array::{AsArray, RecordBatch};
use millstream_base::decode::avro::container::{self, Header, Scanned};
use millstream_base::decode::csv;
use millstream_base::decode::infer::{Guess, GuessedColumn};
use millstream_base::decode::mark;
use millstream_base::decode::{self, Decoder};
use millstream_base::error::{Error, Result};
use millstream_base::job::spec::{Format, SourceKind, SourceSpec, WriterSchema};
use std::path::Path;

/// Records by which the separator is told.
const SEPARATOR_RECORDS: usize = 100;
/// What may stand between cells.
const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];
/// Rejected records that are told with their reason.
const REASONS_MAX: usize = 3;

/// What is known of a file before it is read, and how much of it is.
#[derive(Clone, Debug)]
pub struct Sample {
    /// `json`, `csv`, `text`, `avro` or `parquet`; `None`: as it looks.
    pub format: Option<String>,
    /// Whether the first record of csv names the columns; `None`: as it looks.
    pub header: Option<bool>,
    /// What stands between cells of csv; `None`: as it looks.
    pub separator: Option<u8>,
    /// Records to read at most.
    pub rows_max: u64,
    /// Bytes to read at most, decompressed where the file is compressed.
    pub bytes_max: u64,
}

/// What was found.
#[derive(Debug)]
pub struct Inferred {
    /// The source.
    pub source: SourceSpec,
    /// What is not certain, or not right.
    pub notes: Vec<String>,
    /// Records that were looked at.
    pub records: u64,
    /// How many of them the source would refuse.
    pub rejected: u64,
    /// Whether that was the whole file.
    pub whole: bool,
}

/// Looks at the beginning of a file. Errors are of kind `Job`: what to write instead stands in them.
pub fn infer(name: &str, path: &Path, sample: &Sample) -> Result<Inferred> {
    let (bytes, whole, damage) = read(path, sample.bytes_max)?;
    let wanted = sample.format.as_deref();
    if wanted == Some("parquet") || (wanted.is_none() && bytes.starts_with(parquet::MAGIC)) {
        return parquet::infer(name, path, sample);
    }
    of_part(name, path, &bytes, (whole, damage.as_deref()), sample)
}

/// Looks at the beginning of what is named so. `whole`: that is all of it.
pub fn of_bytes(name: &str, path: &Path, bytes: &[u8], whole: bool, sample: &Sample) -> Result<Inferred> {
    of_part(name, path, bytes, (whole, None), sample)
}

/// The same; `damage`: why nothing can be read behind these bytes.
fn of_part(
    name: &str,
    path: &Path,
    bytes: &[u8],
    (whole, damage): (bool, Option<&str>),
    sample: &Sample,
) -> Result<Inferred> {
    let wrong = |what: &str| Error::job(format!("`{}`: {what}", path.display()));
    if mark::is_other(bytes) {
        return Err(wrong(mark::OTHER_ENCODING));
    }
    if bytes.starts_with(container::MAGIC) && sample.format.as_deref().is_none_or(|format| format == "avro") {
        return avro(name, path, bytes, (whole, damage), sample.rows_max).map_err(|what| wrong(&what));
    }
    let (format, mut notes) = format_of(path, bytes, whole, sample).map_err(|what| wrong(&what))?;
    let mut source = SourceSpec::new(name, SourceKind::File { path: path.into() }, format);
    let records = records(&source, bytes, whole, sample.rows_max);
    if records.is_empty() {
        let what = if whole {
            "it has no records, and nothing tells its columns; write them as schema = { user = \"text\", … }".to_owned()
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
    for GuessedColumn { spec, notes: of_column } in &columns {
        notes.extend(of_column.iter().map(|note| format!("column `{}`: {note}", spec.name)));
    }
    let is_text = source.format == Format::Text;
    source.schema = columns.into_iter().map(|column| column.spec).collect();
    if is_text {
        source = SourceSpec { schema: SourceSpec::default_schema(&source.kind, &source.format), ..source };
    } else if source.schema.is_empty() {
        return Err(wrong(
            "no record has a value in a column that a schema can name; is it the format that you mean? Say it with --format",
        ));
    }
    let Tried { records, rejected, notes: reasons } = tried(&source, bytes, (whole, damage), sample.rows_max);
    notes.extend(reasons);
    Ok(Inferred { source, notes, records, rejected, whole })
}

/// A file of Avro says its columns by itself.
fn avro(
    name: &str,
    path: &Path,
    bytes: &[u8],
    (whole, damage): (bool, Option<&str>),
    rows_max: u64,
) -> std::result::Result<Inferred, String> {
    let header = match Header::read(bytes) {
        Scanned::Whole(header) => header,
        Scanned::More => return Err("its header does not end here; read more with --bytes".into()),
        Scanned::Wrong(why) => return Err(why),
    };
    let schema = decode::avro::columns(&header.schema)?;
    if schema.is_empty() {
        return Err("its records have no fields".into());
    }
    let source = SourceSpec::new(name, SourceKind::File { path: path.into() }, Format::Avro(WriterSchema::InFile));
    let source = source.schema(schema);
    let Tried { records, rejected, notes } = tried(&source, bytes, (whole, damage), rows_max);
    Ok(Inferred { source, notes, records, rejected, whole })
}

/// The first bytes of the file, whether that is all of it, and why nothing can be read behind them where it is damaged.
fn read(path: &Path, bytes_max: u64) -> Result<(Vec<u8>, bool, Option<String>)> {
    let failed =
        |error: std::io::Error| Error::job(format!("cannot read `{}`: {}", path.display(), super::plain(&error)));
    if std::fs::metadata(path).map_err(failed)?.is_dir() {
        return Err(Error::job(format!("`{}` is a folder; name one of its files", path.display())));
    }
    // As any file but one of binary records, so that a compressed one is known by how it begins.
    let source = SourceSpec::new("sample", SourceKind::File { path: path.into() }, Format::Text);
    let mut stream =
        Stream::of(&source, path, millstream_base::regular::open(path).map_err(failed)?).map_err(failed)?;
    let mut bytes = Vec::new();
    stream.fill(&mut bytes, bytes_max).map_err(failed)?;
    if bytes.is_empty() {
        let why =
            stream.damage().map_err(failed)?.unwrap_or_else(|| "it is empty, and nothing tells its columns".into());
        return Err(Error::job(format!("`{}`: {why}", path.display())));
    }
    let whole = (bytes.len() as u64) < bytes_max;
    let damage = if whole { stream.damage().map_err(failed)? } else { None };
    Ok((bytes, whole, damage))
}

/// The format, and what is not certain about it.
fn format_of(
    path: &Path,
    bytes: &[u8],
    whole: bool,
    sample: &Sample,
) -> std::result::Result<(Format, Vec<String>), String> {
    let csv = |separator| Format::Csv { header: true, separator };
    match sample.format.as_deref() {
        Some("avro") => return Err("it does not begin as Avro files do".into()),
        Some("json") => return Ok((Format::Json, Vec::new())),
        Some("text") => return Ok((Format::Text, Vec::new())),
        Some("csv") => {
            let found = sample.separator.or_else(|| separator(bytes, whole));
            return Ok((csv(found.unwrap_or(b',')), Vec::new()));
        }
        _ => {}
    }
    if bytes.starts_with(parquet::MAGIC) {
        return Err("it is Parquet, which is read from a file alone; write it into one".into());
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() && !whole => "",
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
            return Err("it is a JSON object over several lines, and a record is a line; write each object into a line, as `jq -c .` does".into());
        }
        return Ok((Format::Json, Vec::new()));
    }
    if first.first() == Some(&b'[')
        && serde_json::from_str::<Vec<serde_json::Value>>(text).is_ok_and(|all| !all.is_empty())
    {
        return Err(
            "it is a JSON array, and a record is a line; write each element into a line, as `jq -c '.[]'` does".into(),
        );
    }
    let file = path.to_string_lossy().to_ascii_lowercase();
    let plain = file.strip_suffix(".gz").or_else(|| file.strip_suffix(".zst")).unwrap_or(&file);
    let named = plain.ends_with(".csv") || plain.ends_with(".tsv");
    match sample.separator.or_else(|| separator(bytes, whole)) {
        Some(found) => Ok((csv(found), Vec::new())),
        None if named => Ok((csv(b','), Vec::new())),
        None => Ok((
            Format::Text,
            vec!["it looks like neither JSON nor csv: each line is one text; say --format if it is another".into()],
        )),
    }
}

/// The bytes without what is blank in front.
fn trim(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(mark::UTF_8).unwrap_or(bytes).trim_ascii_start()
}

/// What stands between cells: what cuts the first records into most cells, as many in each.
fn separator(bytes: &[u8], whole: bool) -> Option<u8> {
    let cells_of = |separator: u8| {
        let format = Format::Csv { header: false, separator };
        let source = SourceSpec::new("sample", SourceKind::File { path: "sample".into() }, format);
        let records = records(&source, bytes, whole, SEPARATOR_RECORDS as u64);
        let mut counts = records.iter().filter(|record| !record.is_empty()).map(|record| {
            std::str::from_utf8(record)
                .ok()
                .and_then(|record| csv::cells(record, separator).ok())
                .map_or(0, |cells| cells.len())
        });
        let first = counts.next().filter(|count| *count > 1)?;
        counts.all(|count| count == first).then_some((first, separator))
    };
    // Of those that cut into as many cells the first one.
    let found =
        SEPARATORS.into_iter().filter_map(cells_of).reduce(|best, next| if next.0 > best.0 { next } else { best });
    found.map(|(_, separator)| separator)
}

/// The first records, without their line ends; of csv the header is one of them.
fn records(source: &SourceSpec, bytes: &[u8], whole: bool, rows_max: u64) -> Vec<Vec<u8>> {
    let format = match source.format {
        Format::Csv { separator, .. } => Format::Csv { header: false, separator },
        ref other => other.clone(),
    };
    let is_csv = matches!(format, Format::Csv { .. });
    let mut found = Vec::new();
    let mut framer = framer(&SourceSpec { format, ..source.clone() });
    framer.buffer(bytes.len()).extend_from_slice(bytes);
    if whole {
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

/// Columns, and what there is to say of all.
type Columns = (Vec<GuessedColumn>, Vec<String>);

fn json(records: &[Vec<u8>]) -> Columns {
    let mut guess = Guess::new(true);
    for record in records {
        // What is no object is told when the decoder refuses it.
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
        notes.push(format!("the first record is taken {what}; --header true or --header false decides otherwise"));
    }
    let header = header.unwrap_or(looks);
    let names: Vec<String> = match header {
        true => first.iter().map(|name| name.clone().unwrap_or_default().trim().to_owned()).collect(),
        false => (1..=first.len()).map(|number| format!("column_{number}")).collect(),
    };
    let cells = names.len();
    // Several columns of one name are one; what has no name is passed over.
    let mut columns: Vec<(String, Vec<usize>)> = Vec::new();
    for (place, name) in names.into_iter().enumerate() {
        if name.is_empty() || name.chars().any(char::is_control) {
            notes.push(format!("cell {} of the header is no name for a column; its values are left out", place + 1));
            continue;
        }
        match columns.iter_mut().find(|(known, _)| *known == name) {
            Some((_, places)) => {
                notes.push(format!("two columns are named `{name}`, and the last one counts"));
                places.push(place);
            }
            None => columns.push((name, vec![place])),
        }
    }
    let mut guess = Guess::new(false);
    let places: Vec<usize> = columns.iter().flat_map(|(_, places)| places.last().copied()).collect();
    let all: Vec<Vec<usize>> = columns.iter().map(|(_, places)| places.clone()).collect();
    guess.names(columns.into_iter().map(|(name, _)| name));
    for row in rows.iter().skip(usize::from(header)).filter(|row| row.len() == cells) {
        guess.cells(&places.iter().map(|place| row.get(*place).cloned().flatten()).collect::<Vec<_>>());
        // What stands in the first ones of a name is read, too.
        if all.iter().any(|places| places.len() > 1) {
            let firsts = all.iter().map(|places| match places.as_slice() {
                [first, _, ..] => row.get(*first).cloned().flatten(),
                _ => None,
            });
            guess.cells(&firsts.collect::<Vec<_>>());
        }
    }
    notes.extend(guess.notes());
    Ok((header, guess.columns(), notes))
}

/// Whether the first record names the columns: all of its cells are words that differ, and are unlike the values below
/// them, or look like names.
fn looks_like_header(first: &[Option<String>], rest: &[Vec<Option<String>>]) -> bool {
    let mut guess = Guess::new(false);
    guess.names((0..first.len()).map(|place| place.to_string()));
    guess.cells(first);
    let words = guess.columns().iter().zip(first).all(|(column, cell)| {
        let cell = cell.as_deref().unwrap_or_default().trim();
        // A column without a name, as spreadsheets write in front of row numbers, is nothing against it.
        cell.is_empty() || (column.spec.type_word() == "text" && !cell.contains(['@', '/', ':', '\\', '=']))
    });
    let names: Vec<&str> = first.iter().flatten().map(|name| name.trim()).filter(|name| !name.is_empty()).collect();
    let mut differing = names.clone();
    differing.sort_unstable();
    differing.dedup();
    if !words || names.is_empty() || differing.len() < names.len() {
        return false;
    }
    let again =
        rest.iter().filter(|row| row.iter().zip(first).any(|(cell, name)| cell.is_some() && cell == name)).count();
    let mut below = Guess::new(false);
    below.names((0..first.len()).map(|place| place.to_string()));
    rest.iter().for_each(|row| below.cells(row));
    let typed = below.columns().iter().any(|column| column.spec.type_word() != "text");
    let like_names = names
        .iter()
        .all(|name| name.len() <= 64 && name.chars().all(|c| c.is_alphanumeric() || "_-. ()%#".contains(c)));
    typed || (like_names && again == 0)
}

/// What the source makes of the records.
#[derive(Default)]
struct Tried {
    /// How many there are. What is blank is none, where the format has it so.
    records: u64,
    /// How many of them it refuses.
    rejected: u64,
    /// The first reasons.
    notes: Vec<String>,
}

/// Decodes the records as the source does.
fn tried(source: &SourceSpec, bytes: &[u8], (whole, damage): (bool, Option<&str>), rows_max: u64) -> Tried {
    let mut framer = framer(source);
    framer.buffer(bytes.len()).extend_from_slice(bytes);
    match damage {
        Some(why) => {
            framer.break_off(why);
            framer.refuse_rest(why.to_owned());
        }
        None if whole => framer.end(),
        None => {}
    }
    let mut decoder = Decoder::new(source);
    let mut tried = Tried::default();
    while tried.records < rows_max
        && let Some(mut chunk) = framer.next(true)
    {
        while tried.records < rows_max && chunk.rows() > 0 {
            let left = usize::try_from(rows_max - tried.records).unwrap_or(usize::MAX);
            let decoded = decoder.decode(&chunk.cut_front(left));
            tried.records += decoded.rows.num_rows() as u64;
            if let Some(rejected) = &decoded.rejected {
                tried.add(rejected);
            }
        }
    }
    if tried.rejected > tried.notes.len() as u64 {
        tried.notes.push(format!("{} records would be rejected in all", tried.rejected));
    }
    tried
}

impl Tried {
    fn add(&mut self, rejected: &RecordBatch) {
        let rows = rejected.num_rows() as u64;
        (self.records, self.rejected) = (self.records + rows, self.rejected + rows);
        let texts = |column: usize| rejected.column(column).as_string_opt::<i32>();
        let (Some(values), Some(why)) = (texts(0), texts(1)) else { return };
        for (value, reason) in values.iter().zip(why).take(REASONS_MAX - self.notes.len().min(REASONS_MAX)) {
            let value: String = value.unwrap_or_default().chars().take(60).collect();
            self.notes.push(format!("a record would be rejected: {} (`{value}`)", reason.unwrap_or_default()));
        }
    }
}

#[cfg(test)]
mod tests;
