//! What those who connect a plugin to other systems cost and count together.

use super::account::Account;
use super::counters::Counters;

/// What all readers of a source plugin, or all writers of a sink plugin, cost and count. They come and go while the job runs.
#[derive(Clone, Debug, Default)]
pub struct ConnectorTally {
    /// What their calls cost.
    pub account: Account,
    /// What they count.
    pub counters: Counters,
}
