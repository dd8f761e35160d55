//! Waits for a file or directory of a source that is temporarily unreadable, up to `away_max`, and logs it.

use super::plain;
use millstream_base::error::Error;
use millstream_base::retry::{StoreError, StoreErrorKind};
use millstream_base::units;
use millstream_job::spec::SourceSpec;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// How often to check whether it is readable again.
pub const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The outage of one file or directory.
pub struct Outage {
    source: String,
    path: PathBuf,
    max: Duration,
    since: Option<Instant>,
}

impl Outage {
    /// Creates the state for a file or directory that is readable so far.
    pub fn new(source: &SourceSpec, path: &Path) -> Outage {
        Outage { source: source.name.clone(), path: path.to_owned(), max: source.away_max, since: None }
    }

    /// Notes that it is unreadable, which is logged once. Fails if that has lasted too long.
    ///
    /// Fails immediately if a server rejects the request, as that does not pass by itself.
    pub fn failed(&mut self, error: &io::Error) -> Result<(), Error> {
        let Outage { source, path, max, .. } = self;
        if let Some(reported) = error.get_ref().and_then(|why| why.downcast_ref::<Error>()) {
            return Err(reported.clone());
        }
        let store_error = error.get_ref().and_then(|why| why.downcast_ref::<StoreError>());
        if let Some(permanent) = store_error.filter(|store_error| store_error.kind != StoreErrorKind::Transient) {
            return Err(Error::job(format!("source `{source}`: {permanent}")));
        }
        // The message below says what failed and for which path.
        let reason = store_error.map_or_else(|| plain(error), |why| why.reason.clone());
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

    /// Notes that it is readable, and logs the recovery.
    pub fn recovered(&mut self) {
        if let Some(since) = self.since.take() {
            let (source, path, pause) = (&self.source, self.path.display(), since.elapsed().as_secs_f32());
            info!("source `{source}`: `{path}` can be read again, after {pause:.1} s");
        }
    }

    /// Retries until it is readable. `pause` waits and returns whether to continue; if not, the result is `None`.
    pub fn wait_out<T>(
        &mut self,
        mut attempt: impl FnMut() -> io::Result<T>,
        mut pause: impl FnMut(Duration) -> bool,
    ) -> Result<Option<T>, Error> {
        loop {
            match attempt() {
                Ok(done) => {
                    self.recovered();
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

/// Waits until the paths that the sources of a resumed job read exist, or have been missing for too long. The reader reports a missing path. A new
/// job does not wait, since a path that never existed is an error.
pub fn wait_until_readable<'a>(sources: impl Iterator<Item = &'a SourceSpec>, dir: &Path) {
    for source in sources {
        let Some(path) = source.kind.path().map(|path| dir.join(path)) else { continue };
        let pause = |time| {
            std::thread::sleep(time);
            true
        };
        let _ = Outage::new(source, &path).wait_out(|| std::fs::metadata(&path), pause);
    }
}
