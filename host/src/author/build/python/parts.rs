//! The parts of a CPython component.

use millstream_plugins::plugin::World;
use std::path::{Path, PathBuf};

/// The directory of an SDK with worlds that have HTTP. Older SDKs lack it.
pub const WIT_WITH_HTTP: &str = "wit-http";

/// The parts of a CPython component.
pub struct BaseParts<'a> {
    /// The project for which it is created.
    pub project: &'a Path,
    /// The directory of the SDK.
    pub sdk: &'a Path,
    /// The world that it exports.
    pub world: World,
    /// The name of that world in WIT.
    pub wit: &'a str,
    /// Whether it makes HTTP requests.
    pub http: bool,
    /// Whether it migrates states of other versions.
    pub migrates: bool,
}

impl BaseParts<'_> {
    /// Returns the directory with its WIT. Only plugins with HTTP import it, as a job must grant that.
    pub fn wit_dir(&self) -> PathBuf {
        self.sdk.join(if self.http { WIT_WITH_HTTP } else { "wit" })
    }

    /// Returns the class that componentize-py looks for.
    pub fn class(&self) -> &'static str {
        match self.world {
            World::Transform => "Transformer",
            World::Update => "Updater",
            World::Aggregate => "Aggregator",
            World::Cogroup => "Cogrouper",
            World::Source => "Reader",
            World::Sink => "Writer",
        }
    }
}
