//! Components that exceeded the limits of compilation are recorded for a while: a restarted job would only fail again, slowly.

use super::{Cache, CacheFileKind};
use crate::limits::COMPILE_REFUSED_S;
use crate::plugin::compile::CompileFailure;
use millstream_base::error::Kind;
use std::io::Read;
use std::time::Duration;

impl Cache {
    /// Records that a component could not be compiled in this time.
    pub fn store_failure(&self, name: &str, failure: &CompileFailure, time_max: Duration) {
        let text = format!("{}\n{}", time_max.as_millis(), failure.message);
        if let Err(e) = self.keep(name, CacheFileKind::Failure, text.as_bytes()) {
            tracing::debug!("the compile failure is not cached in {}: {e}", self.dir.display());
        }
    }

    /// Returns why a component was rejected recently, if it had at least this much time.
    pub fn stored_failure(&self, name: &str, time_max: Duration) -> Option<CompileFailure> {
        let file = self.authentic(name, CacheFileKind::Failure).ok()?;
        let age = file.metadata().ok()?.modified().ok()?.elapsed().ok()?;
        let mut text = String::new();
        file.take(1 << 16).read_to_string(&mut text).ok()?;
        let (tried_ms, message) = text.split_once('\n')?;
        let tried_ms: u128 = tried_ms.parse().ok()?;
        let left = COMPILE_REFUSED_S.checked_sub(age.as_secs())?;
        if time_max.as_millis() > tried_ms {
            return None;
        }
        let message = format!(
            "{message}\n  (This is the result of an earlier attempt; the next one is in {} minutes.)",
            left.div_ceil(60).max(1)
        );
        Some(CompileFailure { kind: Kind::Plugin, message, permanent: true })
    }
}
