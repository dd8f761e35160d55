//! The plugins that are called: loaded once for all connections that name the same, for as long as one of them is open.

use super::message::Hello;
use millstream_base::error::Result;
use millstream_hosting::Loaded;
use millstream_plugins::plugin::PluginHost;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// They.
pub struct Plugins {
    host: PluginHost,
    loaded: Mutex<BTreeMap<String, Weak<Loaded>>>,
}

impl Plugins {
    /// None yet.
    pub fn new() -> Result<Plugins> {
        Ok(Plugins { host: PluginHost::new()?, loaded: Mutex::default() })
    }

    /// The one that is meant.
    pub fn get(&self, hello: &Hello) -> Result<Arc<Loaded>> {
        let identity = hello.identity()?;
        let known = || self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known().get(&identity).and_then(Weak::upgrade) {
            return Ok(found);
        }
        // Two that load it at once do so twice, and whoever waits for one plugin holds up nobody who wants another.
        let new = Arc::new(Loaded::load(&self.host, &hello.settings()?)?);
        let mut known = known();
        known.retain(|_, loaded| loaded.strong_count() > 0);
        known.insert(identity, Arc::downgrade(&new));
        Ok(new)
    }
}
