//! The released versions of `millstream:plugin`, and what a component of each may have.
//!
//! A component that was built for one of them runs on every later host. What a release has is never taken away and never
//! changes its type, and a later one only adds interfaces; so an adapter is a row of this table, and the linker offers
//! today's functions under the older names. `wit/released/` holds the same as WIT, `tests/compat/` a component of each
//! world of each release.

use super::World;
use super::imports::{NET, TIMERS};
use super::needs::ours;

/// One release.
#[derive(Debug)]
pub struct Release {
    /// Its version.
    pub version: &'static str,
    /// The interfaces that make a component a plugin of some world.
    pub worlds: &'static [&'static str],
    /// Those that a component may export beside it.
    pub beside: &'static [&'static str],
    /// What components may import; `timers` in world `update` only, `net` in worlds `source` and `sink`.
    pub imports: &'static [&'static str],
}

/// All of them, the oldest first.
pub const RELEASES: [Release; 4] = [
    Release {
        version: "0.1.0",
        worlds: &["transformer", "updater", "aggregator"],
        beside: &[],
        imports: &["log", "metrics", "files", "stage"],
    },
    Release {
        version: "0.1.1",
        worlds: &["transformer", "updater", "aggregator", "cogrouper"],
        beside: &[],
        imports: &["log", "metrics", "files", "stage", TIMERS],
    },
    Release {
        version: "0.1.2",
        worlds: &["transformer", "updater", "aggregator", "cogrouper"],
        beside: &[MIGRATOR],
        imports: &["log", "metrics", "files", "stage", TIMERS],
    },
    Release {
        version: "0.1.3",
        worlds: &["transformer", "updater", "aggregator", "cogrouper", "reader", "writer"],
        beside: &[MIGRATOR],
        imports: &["log", "metrics", "files", "stage", TIMERS, NET],
    },
];

/// The interface with which plugins of world `update` take over states of other versions of themselves.
pub const MIGRATOR: &str = "migrator";

/// The release of this version; `None`: it is a later one, or none of ours.
pub fn release(version: &str) -> Option<&'static Release> {
    RELEASES.iter().find(|release| release.version == version)
}

/// The world whose functions an interface of ours has.
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

/// The world of a component that exports these.
pub fn world_among(exports: &[String]) -> Option<World> {
    exports.iter().find_map(|name| world_of(ours(name)?.0))
}
