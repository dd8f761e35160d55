//! How rows are written.

/// What is in files of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// The single text column, a line a row.
    Text,
    /// JSON lines.
    Json,
    /// CSV with a header.
    Csv,
    /// Parquet, whose pages are compressed so.
    Parquet(Compression),
    /// Container files of Avro.
    Avro,
}

/// What the value of a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFormat {
    /// A JSON object of the row.
    Json,
    /// The text column as it is.
    Text,
    /// A line of CSV, without a header.
    Csv,
    /// The binary column as it is.
    Binary,
    /// Avro behind the id of its schema, as Confluent's serializers write it.
    Avro,
    /// A message of Protobuf; where there is a registry behind the id of its schema, as Confluent's serializers write it.
    Protobuf,
}

impl RecordFormat {
    /// Whether rows are written as text.
    pub fn is_text(self) -> bool {
        matches!(self, RecordFormat::Json | RecordFormat::Text | RecordFormat::Csv)
    }
}

/// How records are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// As gzip does.
    Gzip,
    /// With Snappy.
    Snappy,
    /// With LZ4.
    Lz4,
    /// With Zstandard.
    Zstd,
}

impl Compression {
    /// All of them, with the names that Kafka and job files have for them.
    pub const ALL: [(&'static str, Compression); 5] = [
        ("none", Compression::None),
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
    ];

    /// Its name.
    pub fn word(self) -> &'static str {
        Compression::ALL.iter().find(|(_, one)| *one == self).map_or("none", |(word, _)| word)
    }
}
