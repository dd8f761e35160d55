//! Rows on standard output, in one of the forms, as soon as they are there.

use super::options::PipeFormat;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::StreamWriter;
use millstream_base::batch::types::describe;
use millstream_base::error::{Error, Result};
use millstream_base::job::spec::FileFormat;
use millstream_base::{shown, terminal};
use millstream_connectors::sink;
use std::io::{self, IsTerminal, Write};

/// Standard output.
pub struct Output {
    form: PipeFormat,
    /// The stream of Arrow IPC, where it is one.
    stream: Option<StreamWriter<Vec<u8>>>,
    is_terminal: bool,
}

/// Rows as they are put out.
pub enum OutputRows {
    /// The very bytes.
    Lines(Vec<u8>),
    /// What a message of the stream is made of.
    Rows(RecordBatch),
}

impl PipeFormat {
    /// The format of files that has the same lines; `None`: of none.
    fn lines(self) -> Option<FileFormat> {
        match self {
            PipeFormat::Text => Some(FileFormat::Text),
            PipeFormat::Json => Some(FileFormat::Json),
            PipeFormat::Csv => Some(FileFormat::Csv),
            PipeFormat::Arrow => None,
        }
    }

    /// The word that names it.
    pub fn word(self) -> &'static str {
        match self {
            PipeFormat::Text => "text",
            PipeFormat::Json => "json",
            PipeFormat::Csv => "csv",
            PipeFormat::Arrow => "arrow",
        }
    }

    /// These rows as they are put out, as far as that can be done out of turn.
    pub fn written(self, rows: RecordBatch) -> Result<OutputRows> {
        match self.lines() {
            None => Ok(OutputRows::Rows(rows)),
            Some(format) => sink::lines(format, &rows).map(OutputRows::Lines).map_err(|error| unwritten(&error)),
        }
    }
}

impl Output {
    /// Standard output with rows of these columns; what stands before the first row is put out.
    pub fn new(form: PipeFormat, columns: &SchemaRef) -> Result<Output> {
        let is_terminal = io::stdout().is_terminal();
        let mut output = Output { form, stream: None, is_terminal };
        match form.lines() {
            Some(format) => {
                sink::check_format(format, columns).map_err(|cause| unfit(form, columns, &cause))?;
                output.write(&sink::head(format, columns).map_err(|error| unwritten(&error))?)?;
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

    /// In which form.
    pub fn form(&self) -> PipeFormat {
        self.form
    }

    /// Puts rows out.
    pub fn put(&mut self, written: OutputRows) -> Result<()> {
        match (written, &mut self.stream) {
            (OutputRows::Lines(lines), _) => self.write(&lines),
            (OutputRows::Rows(rows), Some(stream)) => {
                stream.write(&rows).map_err(Error::arrow)?;
                self.flush_stream()
            }
            (OutputRows::Rows(_), None) => Err(Error::bug("rows for a stream that there is not")),
        }
    }

    /// Puts out what stands behind the last row.
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
        // What rows hold must not tell a terminal what to do.
        let written = match self.is_terminal {
            false => terminal::Output.write_all(bytes),
            true => terminal::Output.write_all(shown::text(&String::from_utf8_lossy(bytes)).as_bytes()),
        };
        written.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => end_as_others_do(),
            _ => Error::environment(format!("standard output: {error}")),
        })
    }
}

/// Why rows of these columns have no such form, with what a pipe has instead; the cause is what a sink of files would say.
fn unfit(form: PipeFormat, columns: &SchemaRef, cause: &str) -> Error {
    let have = describe(columns);
    Error::job(match form {
        PipeFormat::Text => format!(
            "--to text: needs one column of type text, but the rows have {have}; write --to json, or make one column with --sql, \
             for example --sql 'select cast(n as text) as value from rows'"
        ),
        PipeFormat::Csv => format!("--to csv: needs plain values, but the rows have {have}; write --to json"),
        PipeFormat::Json | PipeFormat::Arrow => format!("--to {}: {cause}", form.word()),
    })
}

fn unwritten(error: &io::Error) -> Error {
    Error::plugin(format!("rows cannot be written: {error}"))
}

/// Whoever reads the output has gone, as `head` does when it has enough: ends as programs in a shell do then, by the signal, without
/// a word.
fn end_as_others_do() -> ! {
    // SAFETY: both take numbers. The signal's usual action, which Rust turns off when a program starts, ends the process here;
    // nothing of it needs to be tidied up.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::raise(libc::SIGPIPE);
    }
    // Where the signal is blocked.
    std::process::exit(128 + libc::SIGPIPE)
}
