//! Determines the columns of the input before it is processed: from the command line, or from the start of the input.

use super::input::{Cutter, Input, lines, unreadable};
use super::options::{Options, PipeFormat};
use crate::program_limits::{PIPE_SAMPLE_BYTES_MAX, PIPE_SAMPLE_ROWS};
use millstream_base::error::{Error, Result};
use millstream_base::terminal;
use millstream_connect::receiver::arrow_stream::ArrowStream;
use millstream_connect::receiver::framer;
use millstream_connectors::files::source::infer;
use millstream_job::spec::SourceSpec;
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::batch::column::TimeForm;
use std::path::Path;
use std::time::Duration;
use toml::Table;

/// After this time without the needed input, the user is shown what it waits for.
const PATIENCE: Duration = Duration::from_secs(1);

/// The columns of the input, and the stream that was begun.
pub struct Sample {
    /// `schema` of a source. Empty if the format needs none.
    pub schema: Table,
    /// The stream, as far as it was read.
    stream: Option<ArrowStream>,
}

impl Sample {
    /// Determines the columns. Input that was read for this is read again. `None`: the input has no rows, and its
    /// columns are not defined.
    pub fn read(input: &mut Input, options: &Options) -> Result<Option<Sample>> {
        let named = options.schema.as_deref().map(named).transpose()?;
        let schema = match (options.from, named) {
            (PipeFormat::Arrow, named) => return arrow(input, named.unwrap_or_default()),
            (_, Some(schema)) => Some(schema),
            (PipeFormat::Text, None) => Some(Table::new()),
            (from, None) => infer_columns(input, from)?,
        };
        Ok(schema.map(|schema| Sample { schema, stream: None }))
    }

    /// Returns what cuts the input from its start, or from the current position of the stream.
    pub fn cutter(self, source: &SourceSpec) -> Cutter {
        match self.stream {
            Some(stream) => Cutter::Arrow(Box::new(stream)),
            None => Cutter::Lines(Box::new(framer(source))),
        }
    }
}

/// Parses `--schema`: `name=type`, separated by commas. Types may contain commas within brackets.
fn named(text: &str) -> Result<Table> {
    let mut columns = Table::new();
    let (mut depth, mut start) = (0_usize, 0);
    let mut parts = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            '(' | '<' => depth += 1,
            ')' | '>' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    for part in parts {
        let column = part.split_once('=').map(|(name, kind)| (name.trim(), kind.trim()));
        let Some((name, kind)) = column.filter(|(name, kind)| !name.is_empty() && !kind.is_empty()) else {
            return Err(Error::job(format!(
                "--schema: `{part}` is not a column; write names and types, for example --schema user=text,amount=float64"
            )));
        };
        if columns.insert(name.to_owned(), kind.into()).is_some() {
            return Err(Error::job(format!("--schema: two columns are named `{name}`")));
        }
    }
    Ok(columns)
}

/// Reads the columns of an Arrow IPC stream, which are its first message.
fn arrow(input: &mut Input, wanted: Table) -> Result<Option<Sample>> {
    let column = |(name, kind): (String, toml::Value)| {
        let word = kind.as_str().unwrap_or_default();
        match ColumnSpec::type_of(word) {
            Some((kind, TimeForm::Text)) => Ok(ColumnSpec::new(name, kind)),
            Some(_) => Err(Error::job(format!(
                "--schema: column `{name}`: an Arrow stream defines how its times are written; write timestamp"
            ))),
            None => Err(Error::job(format!("--schema: column `{name}`: unknown type `{word}`"))),
        }
    };
    let mut stream = ArrowStream::new(wanted.into_iter().map(column).collect::<Result<_>>()?);
    let mut given = 0;
    let mut schema = None;
    let late = || waiting("the columns of the stream");
    let ended = input.look_ahead(
        |bytes| {
            stream.add(bytes.get(given..).unwrap_or_default());
            given = bytes.len();
            schema = stream.columns().map_err(unreadable)?.map(table);
            Ok(schema.is_none())
        },
        (PATIENCE, late),
    )?;
    if ended && given == 0 {
        return Ok(None);
    }
    if ended {
        stream.end().map_err(unreadable)?;
    }
    // The stream contains everything that was read.
    input.drop_ahead();
    Ok(Some(Sample { schema: schema.unwrap_or_default(), stream: Some(stream) }))
}

/// Infers the columns from the first records. `None` if the input contains only white space.
fn infer_columns(input: &mut Input, from: PipeFormat) -> Result<Option<Table>> {
    let late = || waiting(&format!("the first {PIPE_SAMPLE_ROWS} lines, to infer the columns; --schema names them"));
    let mut counted = (0, 0);
    let wanted = |bytes: &[u8]| {
        let (at, count) = counted;
        counted = (bytes.len(), count + lines(bytes.get(at..).unwrap_or_default()));
        Ok(counted.1 < PIPE_SAMPLE_ROWS + 1 && (bytes.len() as u64) < PIPE_SAMPLE_BYTES_MAX)
    };
    let complete = input.look_ahead(wanted, (PATIENCE, late))?;
    // How much was read beyond the limit depends on the writer, and must not affect the result.
    let bytes = input.ahead();
    let bytes = bytes.get(..PIPE_SAMPLE_BYTES_MAX as usize).unwrap_or(bytes);
    let complete = complete && bytes.len() == input.ahead().len();
    if complete && bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let sample = infer::Sample {
        format: Some(from.keyword().to_owned()),
        header: Some(true),
        separator: Some(b','),
        rows_max: PIPE_SAMPLE_ROWS,
        bytes_max: PIPE_SAMPLE_BYTES_MAX,
    };
    let inferred = infer::of_bytes("input", Path::new("standard input"), bytes, complete, &sample)?;
    Ok(Some(table(&inferred.source.schema)))
}

/// Returns columns as `schema` of a source.
fn table(columns: &[ColumnSpec]) -> Table {
    columns.iter().map(|column| (column.name.clone(), column.toml())).collect()
}

fn waiting(what: &str) {
    // If standard error has no reader, the message is lost.
    let _ = terminal::write_error(format!("waiting for {what}\n").as_bytes());
}
