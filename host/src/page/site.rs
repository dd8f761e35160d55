//! The state of the web server.

use super::access::Access;
use super::poll::Jobs;
use super::unanswered::Unanswered;
use std::sync::Arc;

/// The state of the web server.
pub struct Site {
    /// The access rules.
    pub access: Access,
    /// The jobs that are shown.
    pub jobs: Arc<Jobs>,
    /// Whether actions on jobs are enabled.
    pub actions: bool,
    /// Action requests without a response.
    pub unanswered: Unanswered,
}
