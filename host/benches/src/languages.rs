//! Plugins in each language: the same three works beside a native loop and beside the same function in the language's own
//! runtime, and what a component of each language costs. `host/benches/languages/README.md` says what is compared.

mod costs;
mod own;
mod plugin;
mod speed;
mod work;

use crate::measure::folder;
use millstream::internals::plugin::PluginHost;
use std::path::PathBuf;

/// Rounds in which everything is measured in turn, after one to warm up.
const ROUNDS: usize = 7;
/// Rows of a batch.
const ROWS: usize = 10_000;

/// Runs this part.
pub fn run() {
    let folder = folder();
    let programs = own::Programs::build(folder.path());
    let host = PluginHost::new().expect("the plugin host");
    for work in work::Work::ALL {
        speed::run(&host, &programs, &work::Data::new(work, folder.path()));
    }
    costs::run(&host, folder.path());
}

/// The folder with the projects of this part.
fn sources() -> PathBuf {
    crate::measure::root().join("host/benches/languages")
}

/// How a function is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// For one row, or the rows of one key, as is usual in the language.
    Rows,
    /// For whole columns, as is fastest.
    Columns,
}

impl Style {
    const ALL: [Style; 2] = [Style::Rows, Style::Columns];

    /// The word for it.
    fn word(self) -> &'static str {
        match self {
            Style::Rows => "rows",
            Style::Columns => "columns",
        }
    }
}
