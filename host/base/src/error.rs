//! Errors, in kinds that say who can fix them.

use crate::shown;
use arrow::error::ArrowError;
use std::fmt;

/// Who can fix an error, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The job file or the command line: fix it and restart. Exit code 2.
    Job,
    /// A plugin failed or misbehaved, or an expression cannot be computed for some rows: its author can fix it, and a retry does not help.
    Plugin,
    /// A column would hold more text or binary than possible. It becomes [`Kind::Plugin`] once the message names the stage, which the code that
    /// processes the rows does not know.
    TooLarge,
    /// Something outside failed: a file, a server, a disk. Retry after it is fixed.
    Environment,
    /// Another process of the job has exited or is unreachable. It will say why; all resume together from the last checkpoint.
    Peer,
    /// Another start of the job has taken over, so that this process must not write any longer. Exit code 2: run the job once only.
    TakenOver,
    /// The job needs more memory than its limit: raise the limit or reduce the need; a retry does not help. Exit code 3.
    Memory,
    /// A bug in Millstream.
    Bug,
}

/// An error with its complete message: what it is about, what failed and what to do.
#[derive(Clone, Debug)]
pub struct Error {
    /// Who can fix it.
    pub kind: Kind,
    /// For people; may span several lines. It may contain any text from outside: display it with [`Display`](fmt::Display), which sanitizes it.
    pub message: String,
}

/// The exit code of a job that needs more memory than its limit.
pub const MEMORY_EXIT_CODE: u8 = 3;

/// The result of most fallible functions here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Creates an error in the job file or on the command line.
    pub fn job(message: impl fmt::Display) -> Error {
        Error { kind: Kind::Job, message: message.to_string() }
    }

    /// Creates an error of a failing or misbehaving plugin.
    pub fn plugin(message: impl fmt::Display) -> Error {
        Error { kind: Kind::Plugin, message: message.to_string() }
    }

    /// Creates an error of something outside.
    pub fn environment(message: impl fmt::Display) -> Error {
        Error { kind: Kind::Environment, message: message.to_string() }
    }

    /// Creates the error of a process whose job another start has taken over.
    pub fn taken_over(message: impl fmt::Display) -> Error {
        Error { kind: Kind::TakenOver, message: message.to_string() }
    }

    /// Creates an error of too little memory for the job.
    pub fn memory(message: impl fmt::Display) -> Error {
        Error { kind: Kind::Memory, message: message.to_string() }
    }

    /// Converts an error of Arrow: a batch too large for its offsets, otherwise a bug in Millstream.
    pub fn arrow(error: ArrowError) -> Error {
        match error {
            ArrowError::OffsetOverflowError(_) => {
                let message = format!(
                    "more than 2 GiB of text or binary would be in one column of the rows that one worker processes \
                     together ({error}); shorten that column, make batches or windows smaller (`rows_per_batch_max` \
                     and `bytes_per_batch_max` of a source, `window` of a stage), or run more workers"
                );
                Error { kind: Kind::TooLarge, message }
            }
            other => Error::bug(other),
        }
    }

    /// Creates an error of a bug in Millstream.
    pub fn bug(message: impl fmt::Display) -> Error {
        Error { kind: Kind::Bug, message: message.to_string() }
    }

    /// Prefixes the message, for example with `"stage `x`: …"`.
    #[must_use]
    pub fn within(self, context: impl fmt::Display) -> Error {
        let kind = if self.kind == Kind::TooLarge { Kind::Plugin } else { self.kind };
        Error { kind, message: format!("{context}: {}", self.message) }
    }

    /// Adds the stage of an operator, whose name begins with that of its stage, if the message could not know it.
    #[must_use]
    pub fn in_operator(self, name: &str) -> Error {
        let stage = name.split(' ').next().unwrap_or(name);
        if self.kind == Kind::TooLarge { self.within(format!("stage `{stage}`")) } else { self }
    }

    /// Returns the exit code of this kind: 2 for wrong usage, a wrong job file or a job that runs elsewhere, 3 for too little memory, 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Job | Kind::TakenOver => 2,
            Kind::Memory => MEMORY_EXIT_CODE,
            Kind::Plugin | Kind::TooLarge | Kind::Environment | Kind::Peer | Kind::Bug => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The message may contain text from anywhere.
        f.write_str(&shown::message(&self.message))?;
        if self.kind == Kind::Bug {
            f.write_str("\n  (a bug in Millstream: please report it)")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_that_is_too_large_names_its_stage() {
        let error = Error::arrow(ArrowError::OffsetOverflowError(1 << 31)).in_operator("words by key");
        assert!(error.message.starts_with("stage `words`: more than 2 GiB of text or binary"), "{error}");
        assert_eq!(error.kind, Kind::Plugin);
        let error = Error::arrow(ArrowError::OffsetOverflowError(1 << 31)).within("stage `words`: batch 3");
        assert_eq!(error.clone().in_operator("words").message, error.message, "the stage is named once");
        assert_eq!(Error::job("no").in_operator("words").message, "no");
    }
}
