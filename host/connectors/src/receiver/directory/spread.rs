//! A folder whose files are spread over the processes of a job: one lists it, and each reads the files that it owns, see `inbox/files`.

use super::listing::Listing;
use super::{DirFiles, FileRead, os_name, stored_name};
use crate::limits::FILES_ORDERED_MAX;
use crate::receiver::file::failed;
use crate::receiver::outage::{LOOK_EVERY, Outage};
use crate::receiver::{WatchTimes, on_thread};
use millstream_base::batch::partition::{FILE_CLOCK_PREFIX, Share};
use millstream_base::batch::position::{Position, Positions};
use millstream_base::error::Error;
use millstream_base::inbox::{FileReports, Inbox};
use millstream_base::job::spec::SourceSpec;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tracing::warn;

/// How often it is looked what others have told.
const HEARD_EVERY: Duration = Duration::from_millis(20);
/// How many names are told to be forgotten at a time.
const FORGOTTEN_AT_ONCE: usize = 1000;
/// How many names of missing files are remembered, so that each is told once.
const MISSING_TOLD_MAX: usize = 1000;

/// Reads the files of this share until the inbox is closed, and lists the folder for all `processes` where the share says so.
pub fn start(
    (source, path, times): (SourceSpec, PathBuf, WatchTimes),
    from: &Positions,
    inbox: Arc<Inbox>,
    runtime: &Handle,
    (share, processes): (Share, usize),
) {
    if share.reports_clocks() {
        let (source, path, from, listing) = (source.clone(), path.clone(), from.clone(), inbox.clone());
        let name = format!("the thread that lists the directory of source `{}`", source.name);
        on_thread(listing, runtime, &name, move |inbox, runtime| {
            let listed = DirFiles::open(source, path, inbox, runtime)
                .and_then(|files| DirLister::new(files, times, &from, processes).list(inbox, runtime));
            listed.unwrap_or_else(|error| inbox.fail(error));
        });
    }
    let begun = from.iter().filter(|(name, at)| !name.starts_with(FILE_CLOCK_PREFIX) && !at.ended());
    let begun: HashMap<String, Position> = begun.map(|(name, at)| (name.clone(), *at)).collect();
    let name = format!("the receiver of source `{}`", source.name);
    on_thread(inbox, runtime, &name, move |inbox, runtime| {
        let opened = DirFiles::open(source, path, inbox, runtime);
        let reader = |files| DirReader { files, begun, told: BTreeSet::new(), lists: share.reports_clocks() };
        let read = opened.and_then(|files| reader(files).read(inbox, runtime));
        read.unwrap_or_else(|error| inbox.fail(error));
    });
}

/// Who reads the files that one process owns.
struct DirReader {
    files: DirFiles,
    /// Where files are read on that an earlier start has read in part.
    begun: HashMap<String, Position>,
    /// Files that are not there, as was told.
    told: BTreeSet<String>,
    /// Who lists the folder is in this process, and says when there is nothing to read.
    lists: bool,
}

impl DirReader {
    /// Reads what is ordered, until the inbox is closed.
    fn read(&mut self, inbox: &Inbox, runtime: &Handle) -> Result<(), Error> {
        let mut waiting = VecDeque::new();
        loop {
            let orders = inbox.file_orders();
            if !orders.to_forget.is_empty() && !inbox.forget(orders.to_forget) {
                return Ok(());
            }
            waiting.extend(orders.to_read);
            if !self.lists {
                inbox.idle(waiting.is_empty());
            }
            let is_open = match waiting.pop_front() {
                Some(name) => self.read_file(name, inbox, runtime)?,
                None => !inbox.closed_within(runtime, HEARD_EVERY),
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
                self.tell_missing(&name);
                Ok(inbox.report_missing_file(name))
            }
            FileRead::Closed => Ok(false),
        }
    }

    /// It is tried again as often as the file is listed.
    fn tell_missing(&mut self, name: &str) {
        if self.told.len() >= MISSING_TOLD_MAX {
            self.told.clear();
        }
        if self.told.insert(name.to_owned()) {
            let (source, path) = (&self.files.source.name, self.files.path.join(os_name(name).unwrap_or_default()));
            let path = path.display();
            warn!(
                "source `{source}`: `{path}` vanished before it was read. If process 0, which lists the directory, still has it, let \
                 all processes see the same files"
            );
        }
    }
}

/// Who lists a folder for all processes.
struct DirLister {
    files: DirFiles,
    listing: Listing,
    away: Outage,
    /// What each process owns.
    shares: Vec<Share>,
    /// Files that no process was told of, by process, the oldest first.
    waiting: Vec<VecDeque<String>>,
    /// How many each process was told of and has not read.
    ordered: Vec<usize>,
    /// Files that were found and are not read to their ends.
    pending: HashSet<String>,
    /// Those of them that processes were told of, and that they have not begun.
    not_begun: HashSet<String>,
    /// The clock of files that nobody has begun is there.
    holds: bool,
    /// Names that are to be forgotten.
    forgotten: Vec<String>,
    /// There was a look, and nothing is there that may still be written.
    settled: Option<bool>,
}

impl DirLister {
    fn new(files: DirFiles, times: WatchTimes, from: &Positions, processes: usize) -> DirLister {
        let holds = from.contains_key(FILE_CLOCK_PREFIX);
        let (clocks, from): (Positions, Positions) =
            from.clone().into_iter().partition(|(name, _)| name.starts_with(FILE_CLOCK_PREFIX));
        let (ended, begun): (Vec<_>, Vec<_>) = from.into_iter().partition(|(_, position)| position.ended());
        let listing = Listing::new(&files.source, files.path.clone(), times, ended);
        let away = Outage::new(&files.source, &files.path);
        let mut lister = DirLister {
            listing,
            away,
            files,
            shares: (0..processes.max(1)).map(|process| Share::new(process, processes.max(1))).collect(),
            waiting: vec![VecDeque::new(); processes.max(1)],
            ordered: vec![0; processes.max(1)],
            pending: HashSet::new(),
            not_begun: HashSet::new(),
            holds,
            forgotten: Vec::new(),
            settled: None,
        };
        begun.into_iter().for_each(|(name, _)| lister.found(name));
        // Those that had a clock and no rows: who owns them sees whether they are still there.
        let clocks = clocks.into_keys().filter_map(|name| name.strip_prefix(FILE_CLOCK_PREFIX).map(str::to_owned));
        clocks.filter(|name| !name.is_empty()).for_each(|name| lister.found(name));
        lister
    }

    /// Lists until the inbox is closed.
    fn list(&mut self, inbox: &Inbox, runtime: &Handle) -> Result<(), Error> {
        let mut next = Instant::now();
        loop {
            self.hear(inbox.file_reports());
            let now = Instant::now();
            if next <= now {
                next = now + self.look()?;
            }
            if self.settled.is_some() && !self.order(inbox) {
                return Ok(());
            }
            inbox.idle(self.settled == Some(true) && self.pending.is_empty());
            let pause = HEARD_EVERY.min(next.saturating_duration_since(Instant::now())).max(super::POLL_MIN);
            if inbox.closed_within(runtime, pause) {
                return Ok(());
            }
        }
    }

    /// Looks at the folder, and says how long to wait before the next look.
    fn look(&mut self) -> Result<Duration, Error> {
        match self.listing.look(self.files.place.as_mut()) {
            Ok(look) => {
                self.away.recovered();
                self.settled = Some(!look.settling);
                self.forgotten.extend(look.forgotten);
                look.new.iter().for_each(|name| self.found(stored_name(name)));
                Ok(look.pause)
            }
            Err((path, error)) if path != self.files.path => Err(failed(&self.files.source, &path, &error)),
            Err((_, error)) => {
                self.settled = self.settled.map(|_| false);
                self.away.failed(&error)?;
                Ok(LOOK_EVERY)
            }
        }
    }

    /// A file is to be read.
    fn found(&mut self, name: String) {
        if self.pending.insert(name.clone()) {
            let owner = self.owner(&name);
            self.waiting.get_mut(owner).into_iter().for_each(|waiting| waiting.push_back(name.clone()));
        }
    }

    /// The process that reads a file.
    fn owner(&self, name: &str) -> usize {
        self.shares.iter().position(|share| share.owns(name)).unwrap_or_default()
    }

    /// What became of files that were to be read.
    fn hear(&mut self, reports: FileReports) {
        for name in &reports.begun {
            self.not_begun.remove(name);
        }
        for (name, end) in reports.ended {
            os_name(&name).into_iter().for_each(|name| self.listing.was_read(name, end));
            self.is_done(&name);
        }
        // Where it is there again it is found again.
        reports.missing.iter().for_each(|name| self.is_done(name));
    }

    fn is_done(&mut self, name: &str) {
        self.not_begun.remove(name);
        if self.pending.remove(name) {
            let owner = self.owner(name);
            self.ordered.get_mut(owner).into_iter().for_each(|ordered| *ordered = ordered.saturating_sub(1));
        }
    }

    /// Tells the processes what to do. `false`: the inbox is closed.
    fn order(&mut self, inbox: &Inbox) -> bool {
        if !self.forgotten.is_empty() {
            let count = self.forgotten.len().min(FORGOTTEN_AT_ONCE);
            if !inbox.forget_files(self.forgotten.drain(..count).collect()) {
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
