//! Sources that read messages of a server, partition by partition: how each names its server, and what is read there.

use crate::batch::column::ColumnSource;
use std::fmt;

/// Such a source.
#[derive(Clone, PartialEq)]
pub struct ServerSourceSpec {
    /// Where the server is, and who the job is there.
    pub url: String,
    /// What is read.
    pub reads: ServerReads,
}

impl fmt::Debug for ServerSourceSpec {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSourceSpec").field("reads", &self.reads).finish_non_exhaustive()
    }
}

/// What is read of which kind of server.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerReads {
    /// Streams of Redis.
    Redis(RedisReads),
    /// Changes of tables of PostgreSQL.
    Changes(ChangesReads),
}

/// Which streams of Redis are read.
#[derive(Clone, Debug, PartialEq)]
pub struct RedisReads {
    /// Their keys.
    pub streams: Vec<String>,
    /// The field that holds a record; `None`: all fields are one.
    pub field: Option<String>,
    /// Where a job begins.
    pub start: ServerStart,
}

/// Which tables of PostgreSQL are followed.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangesReads {
    /// They, as `table` or `schema.table`.
    pub tables: Vec<String>,
    /// The publication that has them; `None`: the job makes one.
    pub publication: Option<String>,
    /// Whether the rows that are there come before the changes.
    pub start: ServerStart,
}

/// Where a job begins to read that has not read yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerStart {
    /// At the oldest messages that are there.
    #[default]
    Earliest,
    /// Behind the newest ones.
    Latest,
}

impl ServerReads {
    /// The kind of the source as a job file names it.
    pub fn word(&self) -> &'static str {
        match self {
            ServerReads::Redis(_) => "redis",
            ServerReads::Changes(_) => "postgres-changes",
        }
    }

    /// Whether a message is made of fields with names, and no bytes of any format.
    pub fn are_fields(&self) -> bool {
        match self {
            ServerReads::Redis(reads) => reads.field.is_none(),
            ServerReads::Changes(_) => true,
        }
    }

    /// Whether this comes with each message.
    pub fn gives(&self, part: &ColumnSource) -> bool {
        match self {
            ServerReads::Redis(_) => {
                matches!(part, ColumnSource::Id | ColumnSource::Timestamp | ColumnSource::Topic)
            }
            ServerReads::Changes(_) => matches!(
                part,
                ColumnSource::Op
                    | ColumnSource::Table
                    | ColumnSource::Timestamp
                    | ColumnSource::Offset
                    | ColumnSource::Id
            ),
        }
    }
    /// Whether binary values in its records are hexadecimal digits.
    pub fn writes_hex(&self) -> bool {
        matches!(self, ServerReads::Changes(_))
    }
}
