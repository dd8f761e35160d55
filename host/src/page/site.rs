//! What is served.

use super::access::Access;
use super::poll::Jobs;
use super::unanswered::Unanswered;
use std::sync::Arc;

/// What is served.
pub struct Site {
    /// Who may look.
    pub access: Access,
    /// What there is to see.
    pub jobs: Arc<Jobs>,
    /// Whether the page may do something to jobs.
    pub actions: bool,
    /// Who asked for that.
    pub unanswered: Unanswered,
}
