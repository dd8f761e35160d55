//! The page about a job, which the process serves that was told to run it.

use super::page_notice::PageNotice;
use crate::page::{Jobs, Page};
use std::sync::Arc;

/// The page about the job, which this process serves.
pub struct ServedPage {
    /// Dropped at the end, which lets whoever asked for something have the answer.
    pub(super) _page: Page,
    /// The jobs that it shows.
    pub jobs: Arc<Jobs>,
    /// Shows where it is.
    pub notice: PageNotice,
}
