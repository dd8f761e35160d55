//! A file or folder of a source that cannot be read for a while: the source waits and says so, up to `away_max`.

use super::plain;
use millstream_base::error::Error;
use millstream_base::job::spec::SourceSpec;
use millstream_base::patience::{StoreError, StoreErrorKind};
use millstream_base::units;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// How often to look whether it is there again.
pub const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long something cannot be read.
pub struct Outage {
    source: String,
    path: PathBuf,
    max: Duration,
    since: Option<Instant>,
}

impl Outage {
    /// Of a file or folder that can be read so far.
    pub fn new(source: &SourceSpec, path: &Path) -> Outage {
        Outage { source: source.name.clone(), path: path.to_owned(), max: source.away_max, since: None }
    }

    /// It cannot be read now, which is told once; an error when that has lasted for too long.
    ///
    /// What a server refuses does not pass by itself, and is an error at once.
    pub fn failed(&mut self, error: &io::Error) -> Result<(), Error> {
        let Outage { source, path, max, .. } = self;
        if let Some(told) = error.get_ref().and_then(|why| why.downcast_ref::<Error>()) {
            return Err(told.clone());
        }
        let answer = error.get_ref().and_then(|why| why.downcast_ref::<StoreError>());
        if let Some(refused) = answer.filter(|answer| answer.kind != StoreErrorKind::Passing) {
            return Err(Error::job(format!("source `{source}`: {refused}")));
        }
        // What was to be done, and to what, is told here.
        let reason = answer.map_or_else(|| plain(error), |why| why.reason.clone());
        let (path, shown) = (path.display(), units::show_time(*max));
        let Some(since) = self.since else {
            self.since = Some(Instant::now());
            if max.is_zero() {
                return Err(Error::environment(format!("source `{source}`: cannot read `{path}`: {reason}")));
            }
            warn!("source `{source}`: cannot read `{path}`: {reason}; it waits for up to {shown} (`away_max`)");
            return Ok(());
        };
        if since.elapsed() < *max {
            return Ok(());
        }
        Err(Error::environment(format!(
            "source `{source}`: cannot read `{path}`: {reason}; it could not be read for {shown} (`away_max`)"
        )))
    }

    /// It can be read.
    pub fn back(&mut self) {
        if let Some(since) = self.since.take() {
            let (source, path, pause) = (&self.source, self.path.display(), since.elapsed().as_secs_f32());
            info!("source `{source}`: `{path}` can be read again, after {pause:.1} s");
        }
    }

    /// Tries again until it can be read. `pause` waits for so long, and says whether to go on; `None` where it does not.
    pub fn wait_out<T>(
        &mut self,
        mut attempt: impl FnMut() -> io::Result<T>,
        mut pause: impl FnMut(Duration) -> bool,
    ) -> Result<Option<T>, Error> {
        loop {
            match attempt() {
                Ok(done) => {
                    self.back();
                    return Ok(Some(done));
                }
                Err(error) => self.failed(&error)?,
            }
            if !pause(LOOK_EVERY) {
                return Ok(None);
            }
        }
    }
}

/// Waits until what the sources of a job that goes on read is there, or has been away for too long: what is then said of it
/// is said by whoever reads it. A job that begins does not wait, since a path that was never there is a mistake.
pub fn until_there<'a>(sources: impl Iterator<Item = &'a SourceSpec>, folder: &Path) {
    for source in sources {
        let Some(path) = source.kind.path().map(|path| folder.join(path)) else { continue };
        let pause = |time| {
            std::thread::sleep(time);
            true
        };
        let _ = Outage::new(source, &path).wait_out(|| std::fs::metadata(&path), pause);
    }
}
