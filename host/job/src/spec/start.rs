//! The position in stored records at which a new job starts to read.

/// Start position of a job that has not read before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerStart {
    /// At the oldest existing messages.
    #[default]
    Earliest,
    /// After the newest ones.
    Latest,
}

/// Start position in partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamStart {
    /// At the oldest existing records.
    #[default]
    Earliest,
    /// After the newest ones. Partitions that are created later are read from their beginning.
    Latest,
    /// At the first records with this time, in milliseconds since 1970.
    At(i64),
}
