//! Where a job begins to read what a server stores.

/// Where a job begins that has not read before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerStart {
    /// At the oldest existing messages.
    #[default]
    Earliest,
    /// After the newest ones.
    Latest,
}

/// Where a job begins to read partitions.
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
