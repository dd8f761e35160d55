//! A directory whose files are shared among the processes of a job: one process lists it, and each reads the files that it owns, see `inbox/files`.

use super::listing::Listing;
use super::{DirFiles, FileRead, WatchedFiles, os_name, stored_name};
use crate::files::source::settings::WatchTimes;
use crate::limits::FILES_ORDERED_MAX;
use millstream_base::error::Error;
use millstream_connect::receiver::outage::{LOOK_EVERY, Outage};
use millstream_connect::receiver::{failed, on_thread};
use millstream_job::spec::SourceSpec;
use millstream_rows::batch::partition::{FILE_CLOCK_PREFIX, Share};
use millstream_rows::batch::position::{Position, Positions};
use millstream_rows::inbox::{FileReports, Inbox};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tracing::warn;

/// Interval of checking what other processes have reported.
const REPORTS_INTERVAL: Duration = Duration::from_millis(20);
/// Maximum names per order to drop names.
const DROPPED_NAMES_MAX: usize = 1000;
/// Maximum names of missing files that are tracked, so that each is reported once.
const MISSING_REPORTED_MAX: usize = 1000;

/// Reads the files of this share until the inbox is closed. If the share says so, it also lists the directory for all `processes`.
pub fn start(
    (source, watched): (SourceSpec, WatchedFiles),
    from: &Positions,
    inbox: Arc<Inbox>,
    runtime: &Handle,
    (share, processes): (Share, usize),
) {
    if share.reports_clocks() {
        let (source, watched, from, listing) = (source.clone(), watched.clone(), from.clone(), inbox.clone());
        let name = format!("the thread that lists the directory of source `{}`", source.name);
        on_thread(listing, runtime, &name, move |inbox, runtime| {
            let listed = DirFiles::open(source, &watched, inbox, runtime)
                .and_then(|files| DirLister::new(files, watched.times, &from, processes).list(inbox, runtime));
            listed.unwrap_or_else(|error| inbox.fail(error));
        });
    }
    let begun = from.iter().filter(|(name, at)| !name.starts_with(FILE_CLOCK_PREFIX) && !at.ended());
    let begun: HashMap<String, Position> = begun.map(|(name, at)| (name.clone(), *at)).collect();
    let name = format!("the receiver of source `{}`", source.name);
    on_thread(inbox, runtime, &name, move |inbox, runtime| {
        let opened = DirFiles::open(source, &watched, inbox, runtime);
        let reader = |files| DirReader { files, begun, reported: BTreeSet::new(), lists: share.reports_clocks() };
        let read = opened.and_then(|files| reader(files).read(inbox, runtime));
        read.unwrap_or_else(|error| inbox.fail(error));
    });
}

/// Reads the files that one process owns.
struct DirReader {
    files: DirFiles,
    /// Positions of files that an earlier startup has read in part.
    begun: HashMap<String, Position>,
    /// Missing files that were reported.
    reported: BTreeSet<String>,
    /// Whether the lister is in this process; it reports when there is nothing to read.
    lists: bool,
}

impl DirReader {
    /// Reads the ordered files, until the inbox is closed.
    fn read(&mut self, inbox: &Inbox, runtime: &Handle) -> Result<(), Error> {
        let mut waiting = VecDeque::new();
        loop {
            let orders = inbox.file_orders();
            if !orders.to_forget.is_empty() && !inbox.drop_files(orders.to_forget) {
                return Ok(());
            }
            waiting.extend(orders.to_read);
            if !self.lists {
                inbox.idle(waiting.is_empty());
            }
            let is_open = match waiting.pop_front() {
                Some(name) => self.read_file(name, inbox, runtime)?,
                None => !inbox.closed_within(runtime, REPORTS_INTERVAL),
            };
            if !is_open {
                return Ok(());
            }
        }
    }

    /// Reads a file to its end. `false`: the inbox is closed.
    fn read_file(&mut self, name: String, inbox: &Inbox, runtime: &Handle) -> Result<bool, Error> {
        let begun = self.begun.remove(&name);
        if !inbox.begin_file(&name, begun.unwrap_or_default()) {
            return Ok(false);
        }
        let read = match begun {
            Some(from) => self.files.read_on(name.clone(), from, inbox, runtime)?,
            None => self.files.read_new(name.clone(), inbox, runtime)?,
        };
        match read {
            FileRead::Ended(_) => Ok(true),
            FileRead::Missing => {
                self.report_missing(&name);
                Ok(inbox.report_missing_file(name))
            }
            FileRead::Closed => Ok(false),
        }
    }

    /// Logs a missing file once. It is tried again whenever it is listed.
    fn report_missing(&mut self, name: &str) {
        if self.reported.len() >= MISSING_REPORTED_MAX {
            self.reported.clear();
        }
        if self.reported.insert(name.to_owned()) {
            let (source, path) = (&self.files.source.name, self.files.path.join(os_name(name).unwrap_or_default()));
            let path = path.display();
            warn!(
                "source `{source}`: `{path}` vanished before it was read. If process 0, which lists the directory, still has it, let \
                 all processes see the same files"
            );
        }
    }
}

/// Lists a directory for all processes.
struct DirLister {
    files: DirFiles,
    listing: Listing,
    outage: Outage,
    /// The share of each process.
    shares: Vec<Share>,
    /// Files that no process was ordered to read, by process, the oldest first.
    waiting: Vec<VecDeque<String>>,
    /// How many files each process was ordered to read and has not finished.
    ordered: Vec<usize>,
    /// Files that were found and are not read to their ends.
    pending: HashSet<String>,
    /// Those of them that were ordered and are not yet begun.
    not_begun: HashSet<String>,
    /// Whether the clock of files that are not yet begun exists.
    holds: bool,
    /// Names to drop.
    dropped_names: Vec<String>,
    /// Whether nothing may still be written, as of the last scan; `None`: there was none.
    settled: Option<bool>,
}

impl DirLister {
    fn new(files: DirFiles, times: WatchTimes, from: &Positions, processes: usize) -> DirLister {
        let holds = from.contains_key(FILE_CLOCK_PREFIX);
        let (file_names, from): (Positions, Positions) =
            from.clone().into_iter().partition(|(name, _)| name.starts_with(FILE_CLOCK_PREFIX));
        let (ended, begun): (Vec<_>, Vec<_>) = from.into_iter().partition(|(_, position)| position.ended());
        let listing = Listing::new(&files.source, files.path.clone(), times, ended);
        let outage = Outage::new(&files.source, &files.path);
        let mut lister = DirLister {
            listing,
            outage,
            files,
            shares: (0..processes.max(1)).map(|process| Share::new(process, processes.max(1))).collect(),
            waiting: vec![VecDeque::new(); processes.max(1)],
            ordered: vec![0; processes.max(1)],
            pending: HashSet::new(),
            not_begun: HashSet::new(),
            holds,
            dropped_names: Vec::new(),
            settled: None,
        };
        begun.into_iter().for_each(|(name, _)| lister.found(name));
        // Files that had a clock and no rows: their owner sees whether they still exist.
        let file_names =
            file_names.into_keys().filter_map(|name| name.strip_prefix(FILE_CLOCK_PREFIX).map(str::to_owned));
        file_names.filter(|name| !name.is_empty()).for_each(|name| lister.found(name));
        lister
    }

    /// Lists the directory until the inbox is closed.
    fn list(&mut self, inbox: &Inbox, runtime: &Handle) -> Result<(), Error> {
        let mut next = Instant::now();
        loop {
            self.apply_reports(inbox.file_reports());
            let now = Instant::now();
            if next <= now {
                next = now + self.look()?;
            }
            if self.settled.is_some() && !self.order(inbox) {
                return Ok(());
            }
            inbox.idle(self.settled == Some(true) && self.pending.is_empty());
            let pause = REPORTS_INTERVAL.min(next.saturating_duration_since(Instant::now())).max(super::POLL_MIN);
            if inbox.closed_within(runtime, pause) {
                return Ok(());
            }
        }
    }

    /// Scans the directory, and returns the pause before the next scan.
    fn look(&mut self) -> Result<Duration, Error> {
        match self.listing.look(self.files.dir.as_mut()) {
            Ok(look) => {
                self.outage.recovered();
                self.settled = Some(!look.settling);
                self.dropped_names.extend(look.dropped_names);
                look.new.iter().for_each(|name| self.found(stored_name(name)));
                Ok(look.pause)
            }
            Err((path, error)) if path != self.files.path => Err(failed(&self.files.source, &path, &error)),
            Err((_, error)) => {
                self.settled = self.settled.map(|_| false);
                self.outage.failed(&error)?;
                Ok(LOOK_EVERY)
            }
        }
    }

    /// Notes a file to read.
    fn found(&mut self, name: String) {
        if self.pending.insert(name.clone()) {
            let owner = self.owner(&name);
            self.waiting.get_mut(owner).into_iter().for_each(|waiting| waiting.push_back(name.clone()));
        }
    }

    /// Returns the process that reads a file.
    fn owner(&self, name: &str) -> usize {
        self.shares.iter().position(|share| share.owns(name)).unwrap_or_default()
    }

    /// Handles the reports about ordered files.
    fn apply_reports(&mut self, reports: FileReports) {
        for name in &reports.begun {
            self.not_begun.remove(name);
        }
        for (name, end) in reports.ended {
            os_name(&name).into_iter().for_each(|name| self.listing.was_read(name, end));
            self.is_done(&name);
        }
        // If it exists again, a scan finds it again.
        reports.missing.iter().for_each(|name| self.is_done(name));
    }

    fn is_done(&mut self, name: &str) {
        self.not_begun.remove(name);
        if self.pending.remove(name) {
            let owner = self.owner(name);
            self.ordered.get_mut(owner).into_iter().for_each(|ordered| *ordered = ordered.saturating_sub(1));
        }
    }

    /// Sends orders to the processes. `false`: the inbox is closed.
    fn order(&mut self, inbox: &Inbox) -> bool {
        if !self.dropped_names.is_empty() {
            let count = self.dropped_names.len().min(DROPPED_NAMES_MAX);
            if !inbox.drop_peer_files(self.dropped_names.drain(..count).collect()) {
                return false;
            }
        }
        let mut names = Vec::new();
        for (waiting, ordered) in self.waiting.iter_mut().zip(&mut self.ordered) {
            let count = waiting.len().min(FILES_ORDERED_MAX.saturating_sub(*ordered));
            *ordered += count;
            names.extend(waiting.drain(..count));
        }
        if !names.is_empty() {
            self.holds = true;
            self.not_begun.extend(names.iter().cloned());
            return inbox.order_files(names);
        }
        let all_are_begun = self.not_begun.is_empty() && self.waiting.iter().all(VecDeque::is_empty);
        if all_are_begun && std::mem::take(&mut self.holds) {
            return inbox.report_all_files_begun();
        }
        true
    }
}
