//! The directory of the user's settings.

use millstream_base::error::{Error, Result};
use std::path::PathBuf;

/// The directory of the user's settings: `$MILLSTREAM_CONFIG`, or `millstream` in `$XDG_CONFIG_HOME` or `~/.config`.
pub fn config_dir() -> Result<PathBuf> {
    let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = of("XDG_CONFIG_HOME").or_else(|| of("HOME").map(|home| home.join(".config")));
    of("MILLSTREAM_CONFIG")
        .or_else(|| config.map(|config| config.join("millstream")))
        .ok_or_else(|| Error::environment("no directory for settings: set HOME or MILLSTREAM_CONFIG"))
}
