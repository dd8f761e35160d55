//! The formats of records and files.

mod written;

pub use written::{Compression, FileFormat, RecordFormat};

use bytes::Bytes;
use std::path::PathBuf;
use std::time::Duration;

/// Format of the records of a source.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    /// A line is a row of one text column (`value` unless the schema names it).
    Text,
    /// A line or frame is a JSON object.
    Json,
    /// A line is a row; quoted as RFC 4180 says.
    Csv {
        /// Whether the first record (of each file or connection) names the columns.
        header: bool,
        /// The byte between cells.
        separator: u8,
    },
    /// Fixed-length records or frames: consecutive columns, little-endian, without nulls (bool 1 byte;
    /// int64, float64 and timestamp 8). A single text or binary column takes the complete record.
    Binary {
        /// Bytes of a record; `None` if frames determine them.
        record_bytes: Option<u32>,
    },
    /// Rows of Parquet files.
    Parquet,
    /// Avro: the records of files, or single ones.
    Avro(WriterSchema),
    /// Protobuf: a frame is a message; in files each has its length in front, as protobuf's own functions write it.
    Protobuf(ProtobufSpec),
}

impl Format {
    /// The format as a job file names it.
    pub fn keyword(&self) -> &'static str {
        match self {
            Format::Text => "text",
            Format::Json => "json",
            Format::Csv { .. } => "csv",
            Format::Binary { .. } => "binary",
            Format::Parquet => "parquet",
            Format::Avro(_) => "avro",
            Format::Protobuf(_) => "protobuf",
        }
    }
}

/// Location of the schemas that Avro records were written with.
#[derive(Clone, Debug, PartialEq)]
pub enum WriterSchema {
    /// In the files that the records are in.
    InFile,
    /// One schema for all records.
    Given(FileContent),
    /// Each record has the ID of its schema in a registry.
    Registry(Box<RegistrySpec>),
}

/// A file that is part of the job, as it was when the job was read.
#[derive(Clone, PartialEq, Eq)]
pub struct FileContent {
    /// Path of the file, as in the job file.
    pub path: PathBuf,
    /// The content of the file.
    pub content: Bytes,
}

impl std::fmt::Debug for FileContent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} bytes)", self.path.display(), self.content.len())
    }
}

/// A registry of schemas, as Confluent's is.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistrySpec {
    /// URL of the registry: `https://registry.example.org:8081`.
    pub url: String,
    /// Name and password; or a token, with an empty name.
    pub login: Option<(String, String)>,
    /// Certificates of trusted CAs, in PEM; `None`: the system trust store.
    pub ca: Option<PathBuf>,
    /// Time to wait for an unreachable registry.
    pub wait: Duration,
}

impl std::fmt::Debug for RegistrySpec {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistrySpec").field("url", &self.url).field("ca", &self.ca).finish_non_exhaustive()
    }
}

/// Which messages of Protobuf records are.
#[derive(Clone, Debug, PartialEq)]
pub struct ProtobufSpec {
    /// The output of `protoc --descriptor_set_out`.
    pub descriptor: FileContent,
    /// The full name of the message: `shop.Order`.
    pub message: String,
    /// Whether records have the header of a schema registry; the descriptor is used anyway.
    pub confluent: bool,
}
