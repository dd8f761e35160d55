//! Where a job begins with what a server keeps.

/// Where a job begins to read that has not read yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerStart {
    /// At the oldest messages that are there.
    #[default]
    Earliest,
    /// Behind the newest ones.
    Latest,
}

/// Where a job begins to read partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamStart {
    /// At the oldest records that are there.
    #[default]
    Earliest,
    /// Behind the newest ones. Partitions that come later are read from their beginning.
    Latest,
    /// At the first records of this time, in milliseconds since 1970.
    At(i64),
}
