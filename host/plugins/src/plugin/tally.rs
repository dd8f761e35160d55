//! Costs and counts of all instances that connect a plugin to other systems.

use super::account::Account;
use super::counters::Counters;

/// Costs and counts of all readers of a source plugin, or of all writers of a sink plugin, which change while the job runs.
#[derive(Clone, Debug, Default)]
pub struct ConnectorTally {
    /// Costs of their calls.
    pub account: Account,
    /// Their counters.
    pub counters: Counters,
}
