//! Plugins in each language: the same three tasks, compared with a native loop and with the same function in the language's own runtime, and the
//! costs of a component of each language. `host/benches/languages/README.md` describes what is compared.

mod costs;
mod own;
mod plugin;
mod speed;
mod work;

use crate::measure::dir;
use millstream::internals::plugin::PluginHost;
use std::path::PathBuf;

/// Rounds in which everything is measured in turn, after one warm-up.
const ROUNDS: usize = 7;
/// Rows per batch.
const ROWS: usize = 10_000;

/// Runs this part.
pub fn run() {
    let dir = dir();
    let programs = own::Programs::build(dir.path());
    let host = PluginHost::new().expect("the plugin host");
    for work in work::Work::ALL {
        speed::run(&host, &programs, &work::Data::new(work, dir.path()));
    }
    costs::run(&host, dir.path());
}

/// Returns the directory with the projects of this part.
fn sources() -> PathBuf {
    crate::measure::root().join("host/benches/languages")
}

/// The style of a function.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// For one row, or the rows of one key, as is usual in the language.
    Rows,
    /// For complete columns, which is fastest.
    Columns,
}

impl Style {
    const ALL: [Style; 2] = [Style::Rows, Style::Columns];

    /// Returns its name.
    fn keyword(self) -> &'static str {
        match self {
            Style::Rows => "rows",
            Style::Columns => "columns",
        }
    }
}
