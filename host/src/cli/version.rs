//! `millstream --version`: the version, the features of the program, and the plugin interfaces it supports.

use millstream_plugins::plugin::RELEASES;
use std::sync::LazyLock;

/// The version of the program, as used by packages.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit, or what the environment named as such at build time (`build/commit.rs`).
const COMMIT: &str = env!("MILLSTREAM_BUILT_FROM");
const IS_CHANGED: bool = !env!("MILLSTREAM_BUILT_FROM_CHANGED").is_empty();
/// The optional parts, and whether each is included in this program.
const PARTS: [(&str, bool); 11] = [
    ("author", cfg!(feature = "author")),
    ("brokers", cfg!(feature = "brokers")),
    ("hdfs", cfg!(feature = "hdfs")),
    ("kafka", cfg!(feature = "kafka")),
    ("objects", cfg!(feature = "objects")),
    ("packages", cfg!(feature = "packages")),
    ("postgres", cfg!(feature = "postgres")),
    ("sql", cfg!(feature = "sql")),
    ("sqlite", cfg!(feature = "sqlite")),
    ("telemetry", cfg!(feature = "telemetry")),
    ("top", cfg!(feature = "top")),
];
/// Number of characters of a commit that identify it for people.
const COMMIT_CHARS: usize = 12;

/// Returns the line for `-V`.
pub fn short() -> &'static str {
    static SHORT: LazyLock<String> = LazyLock::new(|| {
        let commit = COMMIT.get(..COMMIT_CHARS).unwrap_or(COMMIT);
        format!("{VERSION} ({})", with_changes(commit, IS_CHANGED, ", changed"))
    });
    &SHORT
}

/// Returns the lines for `--version`, one per fact.
pub fn long() -> &'static str {
    static LONG: LazyLock<String> = LazyLock::new(|| {
        let commit = with_changes(COMMIT, IS_CHANGED, ", and changes that are not in it");
        let releases: Vec<&str> = RELEASES.iter().map(|release| release.version).collect();
        let without = match PARTS.iter().filter(|(_, is_built)| !is_built).map(|(name, _)| *name).collect::<Vec<_>>() {
            none if none.is_empty() => String::new(),
            names => format!("\nbuilt without: {} (`make build` builds everything)", names.join(", ")),
        };
        format!("{VERSION}\ncommit: {commit}\nplugin interface: millstream:plugin {}{without}", releases.join(", "))
    });
    &LONG
}

fn with_changes(commit: &str, is_changed: bool, suffix: &str) -> String {
    format!("{commit}{}", if is_changed { suffix } else { "" })
}
