//! What a component of CPython is made of.

use millstream_plugins::plugin::World;
use std::path::{Path, PathBuf};

/// The folder of an SDK with worlds that have HTTP; those of before had none.
pub const WIT_WITH_HTTP: &str = "wit-http";

/// What it is made of.
pub struct BaseParts<'a> {
    /// The project that it is for.
    pub project: &'a Path,
    /// The folder of the SDK.
    pub sdk: &'a Path,
    /// What it exports.
    pub world: World,
    /// The name of that world in WIT.
    pub wit: &'a str,
    /// Whether it makes requests over HTTP.
    pub http: bool,
    /// Whether it takes over states of other versions.
    pub migrates: bool,
}

impl BaseParts<'_> {
    /// The folder with its WIT. Only what wants HTTP imports it, as a job must grant that.
    pub fn wit_folder(&self) -> PathBuf {
        self.sdk.join(if self.http { WIT_WITH_HTTP } else { "wit" })
    }

    /// The class that componentize-py looks for.
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
