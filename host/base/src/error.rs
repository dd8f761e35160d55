//! Errors, in a few kinds that say who can mend them.

use crate::shown;
use arrow::error::ArrowError;
use std::fmt;

/// Who can mend an error, and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The job file or the command line: mend it and start again. Exit code 2.
    Job,
    /// A plugin failed or misbehaved, or an expression cannot be computed for some rows: its author can mend it, and trying
    /// again does not help.
    Plugin,
    /// More text or binary than one column can hold is worked on together. It becomes [`Kind::Plugin`] as soon as its words
    /// tell where: who works on the rows does not know the stage.
    TooLarge,
    /// Something outside failed: a file, an address, a disk. Try again when it is mended.
    Environment,
    /// Another process of the job is gone, or cannot be reached any more. It will say why; all go on together from the last checkpoint.
    Peer,
    /// Another start of the job has it, so that this process must not write any more. Exit code 2: the job is to run in one place.
    TakenOver,
    /// The job needs more memory than it may have: raise that or let it need less; trying again does not help. Exit code 3.
    Memory,
    /// Millstream itself is wrong.
    Bug,
}

/// An error with its whole story: what it is about, what is wrong and what to do.
#[derive(Clone, Debug)]
pub struct Error {
    /// Who can mend it.
    pub kind: Kind,
    /// For a person to read; may span several lines. It may hold anything that came from outside: what shows it uses
    /// [`Display`](fmt::Display), which makes it harmless.
    pub message: String,
}

/// The exit code of a job that needs more memory than it may have.
pub const MEMORY_EXIT_CODE: u8 = 3;

/// The result of most fallible functions here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A mistake in the job file or on the command line.
    pub fn job(message: impl fmt::Display) -> Error {
        Error { kind: Kind::Job, message: message.to_string() }
    }

    /// A failing or misbehaving plugin.
    pub fn plugin(message: impl fmt::Display) -> Error {
        Error { kind: Kind::Plugin, message: message.to_string() }
    }

    /// A failure of something outside.
    pub fn environment(message: impl fmt::Display) -> Error {
        Error { kind: Kind::Environment, message: message.to_string() }
    }

    /// What a process finds whose job another start has taken over.
    pub fn taken_over(message: impl fmt::Display) -> Error {
        Error { kind: Kind::TakenOver, message: message.to_string() }
    }

    /// Too little memory for the job.
    pub fn memory(message: impl fmt::Display) -> Error {
        Error { kind: Kind::Memory, message: message.to_string() }
    }

    /// A failure of Arrow's: a batch too large for its offsets, or else a mistake of Millstream's own.
    pub fn arrow(error: ArrowError) -> Error {
        match error {
            ArrowError::OffsetOverflowError(_) => {
                let message = format!(
                    "more than 2 GiB of text or binary would stand in one column of the rows that are worked on together on \
                     one worker ({error}); shorten that column, make batches or windows smaller (`rows_per_batch_max` and \
                     `bytes_per_batch_max` of a source, `window` of a stage), or run more workers"
                );
                Error { kind: Kind::TooLarge, message }
            }
            other => Error::bug(other),
        }
    }

    /// A mistake of Millstream's own.
    pub fn bug(message: impl fmt::Display) -> Error {
        Error { kind: Kind::Bug, message: message.to_string() }
    }

    /// The same error with words in front, as `"stage `x`: …"`.
    #[must_use]
    pub fn within(self, context: impl fmt::Display) -> Error {
        let kind = if self.kind == Kind::TooLarge { Kind::Plugin } else { self.kind };
        Error { kind, message: format!("{context}: {}", self.message) }
    }

    /// The same error, from an operator whose name begins with that of its stage: words that cannot know the stage get it.
    #[must_use]
    pub fn in_operator(self, name: &str) -> Error {
        let stage = name.split(' ').next().unwrap_or(name);
        if self.kind == Kind::TooLarge { self.within(format!("stage `{stage}`")) } else { self }
    }

    /// The exit code of this kind: 2 for wrong usage, a wrong job file or a job that runs elsewhere, 3 for too little memory, 1 otherwise.
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
        // All that was put into it, by whomever.
        f.write_str(&shown::message(&self.message))?;
        if self.kind == Kind::Bug {
            f.write_str("\n  (a mistake of Millstream itself: please report it)")?;
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
        let told = Error::arrow(ArrowError::OffsetOverflowError(1 << 31)).within("stage `words`: batch 3");
        assert_eq!(told.clone().in_operator("words").message, told.message, "the stage is named once");
        assert_eq!(Error::job("no").in_operator("words").message, "no");
    }
}
