//! Rows that are refused: by the input's form, or by a plugin. They end the pipe, or are left out, counted, and told of.

use crate::program_limits::PIPE_REASONS_SHOWN;
use arrow::array::{AsArray, RecordBatch};
use millstream_base::batch::json;
use millstream_base::error::{Error, Result};
use millstream_base::{shown, terminal};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Letters of a row that are shown beside its reason.
const ROW_CHARS_SHOWN: usize = 200;

/// Refused rows of one portion.
pub struct PortionRefusals {
    /// Who refuses them: the name of a stage; `None`: they are lines of the input.
    pub stage: Option<String>,
    /// They, as `<stage>.rejected` has them in a job.
    pub rows: RecordBatch,
    /// The place of the reason among the columns.
    pub reason_at: usize,
}

impl PortionRefusals {
    /// The first of them with its reason.
    fn story(&self, row: usize) -> String {
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

    /// The error that the first of them is. `line`: the line of the input that it is, where it is one.
    pub fn error(&self, line: Option<u64>) -> Error {
        let story = self.story(0);
        let what = match line {
            Some(line) => format!("line {line} of standard input is not a row: {story}"),
            None => format!("a row was rejected: {story}"),
        };
        Error::plugin(format!("{what}\n  With --on-error reject such rows are skipped and reported at the end."))
    }
}

/// All refused rows.
pub struct Refusals {
    file: Option<(PathBuf, File)>,
    count: u64,
    /// The first ones.
    stories: Vec<String>,
}

impl Refusals {
    /// None yet. They are written to this file, which is made or emptied.
    pub fn new(file: Option<&Path>) -> Result<Refusals> {
        let file = match file {
            None => None,
            Some(path) => Some((path.to_owned(), File::create(path).map_err(|error| unwritten(path, &error))?)),
        };
        Ok(Refusals { file, count: 0, stories: Vec::new() })
    }

    /// Takes some more.
    pub fn take(&mut self, refused: &PortionRefusals) -> Result<()> {
        let rows = refused.rows.num_rows();
        self.count = self.count.saturating_add(rows as u64);
        let wanted = PIPE_REASONS_SHOWN.saturating_sub(self.stories.len()).min(rows);
        self.stories.extend((0..wanted).map(|row| refused.story(row)));
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        let mut lines = Vec::new();
        let written =
            json::write(std::slice::from_ref(&refused.rows), &mut lines).and_then(|()| file.write_all(&lines));
        written.map_err(|error| unwritten(path, &error))
    }

    /// Says on standard error how many there were, with the first reasons.
    pub fn tell(&self) {
        let plural = if self.count == 1 { " was" } else { "s were" };
        let mut words = format!("{} row{plural} refused and left out", self.count);
        match &self.file {
            _ if self.count == 0 => return,
            Some((path, _)) => words.push_str(&format!("; see {}", path.display())),
            None => words.push_str("; --rejected FILE keeps them"),
        }
        for story in &self.stories {
            words.push_str("\n  ");
            words.push_str(story);
        }
        if self.count > self.stories.len() as u64 {
            words.push_str("\n  …");
        }
        // Where nobody reads that, it is lost.
        let _ = terminal::write_error(format!("{}\n", shown::message(&words)).as_bytes());
    }
}

fn unwritten(path: &Path, error: &std::io::Error) -> Error {
    Error::environment(format!("--rejected: {} cannot be written: {error}", path.display()))
}
