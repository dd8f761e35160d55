//! The line with the address of the page. It appears when the job runs, so that it does not precede the errors of a
//! rejected job. If a job takes long to start, the line appears during the startup.

use crate::page::{Jobs, Page};
use millstream_base::error::Result;
use millstream_base::threads;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Most rejected jobs are rejected within this time. It takes longer if plugins are compiled, or a server is
/// unreachable.
const SHOWN_AFTER: Duration = Duration::from_secs(5);

/// The page about the job, served by this process.
pub struct ServedPage {
    /// Dropping it waits for running requests to be answered.
    pub(super) _page: Page,
    /// The jobs that the page shows.
    pub jobs: Arc<Jobs>,
    /// Shows its address.
    pub notice: PageNotice,
}

/// Shows the address of a page once. If it is dropped earlier, the address is not shown.
pub struct PageNotice {
    address: Arc<str>,
    shown: Arc<AtomicBool>,
    _dropped: Sender<()>,
}

impl PageNotice {
    /// Creates the notice for a page at this address, which includes its token.
    pub fn new(address: &str) -> Result<PageNotice> {
        let (sender, dropped) = channel::<()>();
        let notice = PageNotice { address: address.into(), shown: Arc::default(), _dropped: sender };
        let (address, shown) = (notice.address.clone(), notice.shown.clone());
        let work = move || {
            if dropped.recv_timeout(SHOWN_AFTER) == Err(RecvTimeoutError::Timeout) {
                show(&address, &shown);
            }
        };
        threads::start("millstream-page-notice", "the thread that prints the page's address", drop, work)?;
        Ok(notice)
    }

    /// Shows the address, because the job runs.
    pub fn show(&self) {
        show(&self.address, &self.shown);
    }
}

fn show(address: &str, shown: &AtomicBool) {
    if !shown.swap(true, Ordering::AcqRel) {
        tracing::info!("page: {address}");
    }
}
