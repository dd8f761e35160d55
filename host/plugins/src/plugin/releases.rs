//! The released versions of `millstream:plugin`, and what a component of each may have.
//!
//! A component built for one of them runs on every later host. A release never loses anything or changes a type, and later releases only
//! add interfaces. So an adapter is a row of this table, and the linker offers today's functions under the older names. `wit/released/` has
//! the same as WIT, `tests/compat/` a component of each world of each release.

use super::world::World;
use millstream_base::limits::NAME_BYTES_MAX;
use millstream_base::shown::printable;

/// The version of `millstream:plugin` that this host speaks. Plugins of all [`RELEASES`] run here.
pub const VERSION: &str = "0.1.3";

/// The interfaces that every plugin may import; `timers` in world `update` only, `net` in world `source`.
pub const OFFERED: [&str; 6] = ["log", "metrics", "files", "stage", TIMERS, NET];

/// The interface with which plugins of world `source` connect to others.
pub const NET: &str = "net";

/// The interface with which plugins of world `update` request calls at a time.
pub const TIMERS: &str = "timers";

/// One release.
#[derive(Debug)]
pub struct Release {
    /// The version of the interface.
    pub version: &'static str,
    /// The interfaces that make a component a plugin of some world.
    pub worlds: &'static [&'static str],
    /// Interfaces that a component may export in addition to its world.
    pub additional: &'static [&'static str],
    /// Interfaces that components may import; `timers` in world `update` only, `net` in worlds `source` and `sink`.
    pub imports: &'static [&'static str],
}

/// All releases, oldest first.
pub const RELEASES: [Release; 4] = [
    Release {
        version: "0.1.0",
        worlds: &["transformer", "updater", "aggregator"],
        additional: &[],
        imports: &["log", "metrics", "files", "stage"],
    },
    Release {
        version: "0.1.1",
        worlds: &["transformer", "updater", "aggregator", "cogrouper"],
        additional: &[],
        imports: &["log", "metrics", "files", "stage", TIMERS],
    },
    Release {
        version: "0.1.2",
        worlds: &["transformer", "updater", "aggregator", "cogrouper"],
        additional: &[MIGRATOR],
        imports: &["log", "metrics", "files", "stage", TIMERS],
    },
    Release {
        version: "0.1.3",
        worlds: &["transformer", "updater", "aggregator", "cogrouper", "reader", "writer"],
        additional: &[MIGRATOR],
        imports: &["log", "metrics", "files", "stage", TIMERS, NET],
    },
];

/// The interface with which plugins of world `update` take over states of other versions of themselves.
pub const MIGRATOR: &str = "migrator";

/// Returns the release of this version; `None` if it is a later one, or not one of ours.
pub fn release(version: &str) -> Option<&'static Release> {
    RELEASES.iter().find(|release| release.version == version)
}

/// Returns the world whose functions an interface of ours has.
pub fn world_of(interface: &str) -> Option<World> {
    Some(match interface {
        "transformer" => World::Transform,
        "updater" => World::Update,
        "aggregator" => World::Aggregate,
        "cogrouper" => World::Cogroup,
        "reader" => World::Source,
        "writer" => World::Sink,
        _ => return None,
    })
}

/// Returns the world of a component with these exports.
pub fn world_among(exports: &[String]) -> Option<World> {
    exports.iter().find_map(|name| world_of(parse_interface(name)?.0))
}

/// Splits interface and version of a name of our package: `millstream:plugin/log@0.1.0` is `log` and `0.1.0`.
pub fn parse_interface(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("millstream:plugin/")?.split_once('@')
}

/// Returns the error of a component with an unreleased version; it continues after the plugin's name.
pub fn needs_other(version: &str) -> String {
    format!(
        "needs millstream:plugin@{}, and this host supports {VERSION}: install a Millstream that supports it, or \
         build the plugin with an SDK for {VERSION}",
        printable(version, NAME_BYTES_MAX)
    )
}
