//! The line that says where the page is. It comes when the job runs, so that the errors of a job that is refused do not stand behind it; a
//! job that takes long to start shows it while it starts.

use crate::page::{Jobs, Page};
use millstream_base::error::Result;
use millstream_base::threads;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Most jobs that are refused are refused within this time: it takes longer if plugins are compiled, or a server is unreachable.
const SHOWN_AFTER: Duration = Duration::from_secs(5);

/// The page about the job, which this process serves.
pub struct ServedPage {
    /// Dropped at the end, which lets whoever asked for something have the answer.
    pub(super) _page: Page,
    /// The jobs that it shows.
    pub jobs: Arc<Jobs>,
    /// Shows where it is.
    pub notice: PageNotice,
}

/// Shows the address of a page once. Dropped before that, it never does.
pub struct PageNotice {
    address: Arc<str>,
    shown: Arc<AtomicBool>,
    _dropped: Sender<()>,
}

impl PageNotice {
    /// For a page at this address, which includes its token.
    pub fn new(address: &str) -> Result<PageNotice> {
        let (sender, dropped) = channel::<()>();
        let notice = PageNotice { address: address.into(), shown: Arc::default(), _dropped: sender };
        let (address, shown) = (notice.address.clone(), notice.shown.clone());
        let work = move || {
            if dropped.recv_timeout(SHOWN_AFTER) == Err(RecvTimeoutError::Timeout) {
                show(&address, &shown);
            }
        };
        threads::start("millstream-page-notice", "the thread that shows where the page is", drop, work)?;
        Ok(notice)
    }

    /// The job runs.
    pub fn show(&self) {
        show(&self.address, &self.shown);
    }
}

fn show(address: &str, shown: &AtomicBool) {
    if !shown.swap(true, Ordering::AcqRel) {
        tracing::info!("page: {address}");
    }
}
