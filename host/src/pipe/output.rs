//! Writes rows to standard output in one of the formats, without delay.

use super::options::PipeFormat;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::StreamWriter;
use millstream_base::error::{Error, Result};
use millstream_base::{shown, terminal};
use millstream_connect::sink;
use millstream_rows::batch::types::describe;
use millstream_rows::formats::FileFormat;
use std::io::{self, IsTerminal, Write};

/// Standard output.
pub struct Output {
    form: PipeFormat,
    /// The Arrow IPC stream, for that format.
    stream: Option<StreamWriter<Vec<u8>>>,
    is_terminal: bool,
}

/// Encoded rows.
pub enum OutputRows {
    /// The bytes to write.
    Lines(Vec<u8>),
    /// The rows of a message of the stream.
    Rows(RecordBatch),
}

impl PipeFormat {
    /// Returns the file format with the same lines, or `None` if there is none.
    fn lines(self) -> Option<FileFormat> {
        match self {
            PipeFormat::Text => Some(FileFormat::Text),
            PipeFormat::Json => Some(FileFormat::Json),
            PipeFormat::Csv => Some(FileFormat::Csv),
            PipeFormat::Arrow => None,
        }
    }

    /// Returns its name.
    pub fn keyword(self) -> &'static str {
        match self {
            PipeFormat::Text => "text",
            PipeFormat::Json => "json",
            PipeFormat::Csv => "csv",
            PipeFormat::Arrow => "arrow",
        }
    }

    /// Encodes these rows, as far as that does not depend on earlier rows.
    pub fn encode(self, rows: RecordBatch) -> Result<OutputRows> {
        match self.lines() {
            None => Ok(OutputRows::Rows(rows)),
            Some(format) => sink::lines(format, &rows).map(OutputRows::Lines).map_err(|error| write_error(&error)),
        }
    }
}

impl Output {
    /// Creates the output for rows with these columns, and writes what precedes the first row.
    pub fn new(form: PipeFormat, columns: &SchemaRef) -> Result<Output> {
        let is_terminal = io::stdout().is_terminal();
        let mut output = Output { form, stream: None, is_terminal };
        match form.lines() {
            Some(format) => {
                sink::check_format(format, columns).map_err(|cause| unsupported(form, columns, &cause))?;
                output.write(&sink::head(format, columns).map_err(|error| write_error(&error))?)?;
            }
            None if is_terminal => {
                let what = "--to arrow: a terminal cannot show it; redirect it to a program or a file";
                return Err(Error::job(what));
            }
            None => {
                output.stream = Some(StreamWriter::try_new(Vec::new(), columns).map_err(Error::arrow)?);
                output.flush_stream()?;
            }
        }
        Ok(output)
    }

    /// Returns the format.
    pub fn form(&self) -> PipeFormat {
        self.form
    }

    /// Writes rows.
    pub fn put(&mut self, written: OutputRows) -> Result<()> {
        match (written, &mut self.stream) {
            (OutputRows::Lines(lines), _) => self.write(&lines),
            (OutputRows::Rows(rows), Some(stream)) => {
                stream.write(&rows).map_err(Error::arrow)?;
                self.flush_stream()
            }
            (OutputRows::Rows(_), None) => Err(Error::bug("rows for a stream that does not exist")),
        }
    }

    /// Writes what follows the last row.
    pub fn end(&mut self) -> Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        stream.finish().map_err(Error::arrow)?;
        self.flush_stream()
    }

    fn flush_stream(&mut self) -> Result<()> {
        let bytes = self.stream.as_mut().map(|stream| std::mem::take(stream.get_mut())).unwrap_or_default();
        self.write(&bytes)
    }

    fn write(&self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        // Row data must not contain terminal sequences.
        let written = match self.is_terminal {
            false => terminal::Output.write_all(bytes),
            true => terminal::Output.write_all(shown::text(&String::from_utf8_lossy(bytes)).as_bytes()),
        };
        written.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => exit_by_sigpipe(),
            _ => Error::environment(format!("standard output: {error}")),
        })
    }
}

/// Returns the error for columns without such a format, with alternatives. `cause` is the error of a file sink.
fn unsupported(form: PipeFormat, columns: &SchemaRef, cause: &str) -> Error {
    let have = describe(columns);
    Error::job(match form {
        PipeFormat::Text => format!(
            "--to text: needs one column of type text, but the rows have {have}; write --to json, or make one column with --sql, \
             for example --sql 'select cast(n as text) as value from rows'"
        ),
        PipeFormat::Csv => format!("--to csv: needs plain values, but the rows have {have}; write --to json"),
        PipeFormat::Json | PipeFormat::Arrow => format!("--to {}: {cause}", form.keyword()),
    })
}

fn write_error(error: &io::Error) -> Error {
    Error::plugin(format!("rows cannot be written: {error}"))
}

/// The reader of the output has exited, like `head`. Ends like other programs in a shell: by the signal, without a
/// message.
fn exit_by_sigpipe() -> ! {
    // SAFETY: both take numbers. The signal's default action, which Rust disables at startup, ends the process here. No
    // cleanup is needed.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::raise(libc::SIGPIPE);
    }
    // Reached if the signal is blocked.
    std::process::exit(128 + libc::SIGPIPE)
}
