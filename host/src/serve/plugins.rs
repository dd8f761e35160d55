//! The loaded plugins. All connections with the same settings share one, for as long as one of them is open.

use super::message::Hello;
use millstream_base::error::Result;
use millstream_hosting::LoadedPlugin;
use millstream_plugins::plugin::PluginHost;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The loaded plugins.
pub struct Plugins {
    host: PluginHost,
    loaded: Mutex<BTreeMap<String, Weak<LoadedPlugin>>>,
}

impl Plugins {
    /// Creates it without plugins.
    pub fn new() -> Result<Plugins> {
        Ok(Plugins { host: PluginHost::new()?, loaded: Mutex::default() })
    }

    /// Returns the requested plugin.
    pub fn get(&self, hello: &Hello) -> Result<Arc<LoadedPlugin>> {
        let identity = hello.identity()?;
        let known = || self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known().get(&identity).and_then(Weak::upgrade) {
            return Ok(found);
        }
        // Concurrent loads of one plugin load it twice, but loading never blocks clients of other plugins.
        let new = Arc::new(LoadedPlugin::load(&self.host, &hello.settings()?)?);
        let mut known = known();
        known.retain(|_, loaded| loaded.strong_count() > 0);
        known.insert(identity, Arc::downgrade(&new));
        Ok(new)
    }
}
