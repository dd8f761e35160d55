//! The formats in which rows are written.

/// The content of files of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// The single text column, one line per row.
    Text,
    /// JSON lines.
    Json,
    /// CSV with a header.
    Csv,
    /// Parquet, with this compression of pages.
    Parquet(Compression),
    /// Avro container files.
    Avro,
}

/// The content of a record's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFormat {
    /// A JSON object of the row.
    Json,
    /// The text column unchanged.
    Text,
    /// A line of CSV, without a header.
    Csv,
    /// The binary column unchanged.
    Binary,
    /// Avro after the ID of its schema, as Confluent's serializers write it.
    Avro,
    /// A Protobuf message; with a registry after the ID of its schema, as Confluent's serializers write it.
    Protobuf,
}

impl RecordFormat {
    /// Returns whether rows are written as text.
    pub fn is_text(self) -> bool {
        matches!(self, RecordFormat::Json | RecordFormat::Text | RecordFormat::Csv)
    }
}

/// How records are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// None.
    None,
    /// Gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// All methods, with their names in Kafka and job files.
    pub const ALL: [(&'static str, Compression); 5] = [
        ("none", Compression::None),
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
    ];

    /// Returns its name.
    pub fn keyword(self) -> &'static str {
        Compression::ALL.iter().find(|(_, one)| *one == self).map_or("none", |(word, _)| word)
    }
}
