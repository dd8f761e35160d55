//! Rows that are rejected by the input format or by a plugin. They end the pipe, or are skipped, counted and reported.

use crate::program_limits::PIPE_REASONS_SHOWN;
use arrow::array::{AsArray, RecordBatch};
use millstream_base::error::{Error, Result};
use millstream_base::{shown, terminal};
use millstream_rows::batch::json;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Maximum characters of a row that are shown with the reason.
const ROW_CHARS_SHOWN: usize = 200;

/// The rejected rows of one portion.
pub struct PortionRefusals {
    /// The name of the stage that rejected them, or `None` if they are lines of the input.
    pub stage: Option<String>,
    /// The rows, as in `<stage>.rejected` of a job.
    pub rows: RecordBatch,
    /// The index of the reason column.
    pub reason_at: usize,
}

impl PortionRefusals {
    /// Describes one of the rows with its reason.
    fn description(&self, row: usize) -> String {
        let reason = self.rows.column(self.reason_at).as_string_opt::<i32>().map(|reasons| reasons.value(row));
        let reason = shown::in_one_line(reason.unwrap_or_default());
        let own = self.rows.project(&(0..self.reason_at).collect::<Vec<_>>()).map(|own| own.slice(row, 1));
        let shown = match &self.stage {
            None => own.ok().and_then(|own| Some(own.column(0).as_string_opt::<i32>()?.value(0).to_owned())),
            Some(_) => own.ok().and_then(|own| json::objects(&own).ok()?.pop()),
        };
        let shown = shown::harmless(&shown.unwrap_or_default(), ROW_CHARS_SHOWN);
        match &self.stage {
            None => format!("{reason}: {shown}"),
            Some(stage) => format!("`{stage}`: {reason}: {shown}"),
        }
    }

    /// Returns the error for the first row. `line`: its line of the input, if it is one.
    pub fn error(&self, line: Option<u64>) -> Error {
        let description = self.description(0);
        let what = match line {
            Some(line) => format!("line {line} of standard input is not a row: {description}"),
            None => format!("a row was rejected: {description}"),
        };
        Error::plugin(format!("{what}\n  With --on-error reject such rows are skipped and reported at the end."))
    }
}

/// All rejected rows.
pub struct Refusals {
    file: Option<(PathBuf, File)>,
    count: u64,
    /// The descriptions of the first ones.
    descriptions: Vec<String>,
}

impl Refusals {
    /// Creates it empty. Rows are written to this file, which is created or truncated.
    pub fn new(file: Option<&Path>) -> Result<Refusals> {
        let file = match file {
            None => None,
            Some(path) => Some((path.to_owned(), File::create(path).map_err(|error| write_error(path, &error))?)),
        };
        Ok(Refusals { file, count: 0, descriptions: Vec::new() })
    }

    /// Adds rejected rows.
    pub fn take(&mut self, rejection: &PortionRefusals) -> Result<()> {
        let rows = rejection.rows.num_rows();
        self.count = self.count.saturating_add(rows as u64);
        let wanted = PIPE_REASONS_SHOWN.saturating_sub(self.descriptions.len()).min(rows);
        self.descriptions.extend((0..wanted).map(|row| rejection.description(row)));
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        let mut lines = Vec::new();
        let written =
            json::write(std::slice::from_ref(&rejection.rows), &mut lines).and_then(|()| file.write_all(&lines));
        written.map_err(|error| write_error(path, &error))
    }

    /// Prints the number of rows on standard error, with the first reasons.
    pub fn report(&self) {
        let plural = if self.count == 1 { " was" } else { "s were" };
        let mut message = format!("{} row{plural} rejected and skipped", self.count);
        match &self.file {
            _ if self.count == 0 => return,
            Some((path, _)) => message.push_str(&format!("; see {}", path.display())),
            None => message.push_str("; --rejected FILE keeps them"),
        }
        for description in &self.descriptions {
            message.push_str("\n  ");
            message.push_str(description);
        }
        if self.count > self.descriptions.len() as u64 {
            message.push_str("\n  …");
        }
        // If standard error has no reader, the message is lost.
        let _ = terminal::write_error(format!("{}\n", shown::message(&message)).as_bytes());
    }
}

fn write_error(path: &Path, error: &std::io::Error) -> Error {
    Error::environment(format!("--rejected: {} cannot be written: {error}", path.display()))
}
