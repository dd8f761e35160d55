//! What is known of the columns of the input before it is worked on: what the command line says, or what the input begins with.

use super::input::{Cutter, Input, lines, unreadable};
use super::options::{Options, PipeFormat};
use crate::program_limits::{PIPE_SAMPLE_BYTES_MAX, PIPE_SAMPLE_ROWS};
use millstream_base::batch::column::ColumnSpec;
use millstream_base::error::{Error, Result};
use millstream_base::job::spec::{SourceSpec, TimeForm};
use millstream_base::terminal;
use millstream_connectors::receiver::arrow_stream::ArrowStream;
use millstream_connectors::receiver::{framer, infer};
use std::path::Path;
use std::time::Duration;
use toml::Table;

/// After so long without what is needed somebody is told what is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// The columns of the input, and where it is read on.
pub struct Sample {
    /// As `schema` of a source; empty: the form needs none.
    pub schema: Table,
    /// The stream, as far as it was read.
    stream: Option<ArrowStream>,
}

impl Sample {
    /// Finds the columns. All that was read of the input to that end is read again. `None`: the input has no rows, and neither it nor
    /// the command line says which columns they would have.
    pub fn of(input: &mut Input, options: &Options) -> Result<Option<Sample>> {
        let named = options.schema.as_deref().map(named).transpose()?;
        let schema = match (options.from, named) {
            (PipeFormat::Arrow, named) => return arrow(input, named.unwrap_or_default()),
            (_, Some(schema)) => Some(schema),
            (PipeFormat::Text, None) => Some(Table::new()),
            (from, None) => found(input, from)?,
        };
        Ok(schema.map(|schema| Sample { schema, stream: None }))
    }

    /// What cuts the input from its beginning on, or from where the stream was left off.
    pub fn cutter(self, source: &SourceSpec) -> Cutter {
        match self.stream {
            Some(stream) => Cutter::Arrow(Box::new(stream)),
            None => Cutter::Lines(Box::new(framer(source))),
        }
    }
}

/// The columns that `--schema` names: `name=type`, with commas between. Types may have commas within brackets.
fn named(text: &str) -> Result<Table> {
    let mut columns = Table::new();
    let (mut depth, mut start) = (0_usize, 0);
    let mut parts = Vec::new();
    for (at, letter) in text.char_indices() {
        match letter {
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

/// The columns of a stream of Arrow IPC, which it tells first.
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
            stream.give(bytes.get(given..).unwrap_or_default());
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
    // All that was read is in it.
    input.forget_ahead();
    Ok(Some(Sample { schema: schema.unwrap_or_default(), stream: Some(stream) }))
}

/// The columns of the first records; `None`: the input has nothing but white space.
fn found(input: &mut Input, from: PipeFormat) -> Result<Option<Table>> {
    let late = || waiting(&format!("the first {PIPE_SAMPLE_ROWS} lines, to infer the columns; --schema names them"));
    let mut counted = (0, 0);
    let wanted = |bytes: &[u8]| {
        let (at, count) = counted;
        counted = (bytes.len(), count + lines(bytes.get(at..).unwrap_or_default()));
        Ok(counted.1 < PIPE_SAMPLE_ROWS + 1 && (bytes.len() as u64) < PIPE_SAMPLE_BYTES_MAX)
    };
    let whole = input.look_ahead(wanted, (PATIENCE, late))?;
    // What is read with the last of them depends on who writes, and must not decide.
    let bytes = input.ahead();
    let bytes = bytes.get(..PIPE_SAMPLE_BYTES_MAX as usize).unwrap_or(bytes);
    let whole = whole && bytes.len() == input.ahead().len();
    if whole && bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let sample = infer::Sample {
        format: Some(from.word().to_owned()),
        header: Some(true),
        separator: Some(b','),
        rows_max: PIPE_SAMPLE_ROWS,
        bytes_max: PIPE_SAMPLE_BYTES_MAX,
    };
    let inferred = infer::of_bytes("input", Path::new("standard input"), bytes, whole, &sample)?;
    Ok(Some(table(&inferred.source.schema)))
}

/// Columns as `schema` of a source.
fn table(columns: &[ColumnSpec]) -> Table {
    columns.iter().map(|column| (column.name.clone(), column.toml())).collect()
}

fn waiting(what: &str) {
    // Where nobody reads that, it is lost.
    let _ = terminal::write_error(format!("waiting for {what}\n").as_bytes());
}
