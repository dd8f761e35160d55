//! What the engine asks of a source, whatever its kind.

use super::{EnrichSpec, SourceConfig, SourceKind};
use std::path::Path;

impl SourceKind {
    /// Whether the graph adds it, so that the author of the job does not know of it.
    pub fn is_hidden(&self) -> bool {
        matches!(self, SourceKind::Table(_) | SourceKind::Retry { .. })
    }

    /// The table of a stage that it is, if it is one.
    pub fn table(&self) -> Option<&EnrichSpec> {
        match self {
            SourceKind::Table(enrich) => Some(enrich),
            _ => None,
        }
    }

    /// The folder of rows that are given back to a stage, if it reads these.
    pub fn retry_dir(&self) -> Option<&Path> {
        match self {
            SourceKind::Retry { path, .. } => Some(path),
            _ => None,
        }
    }

    /// The file of this machine that it reads.
    pub fn file(&self) -> Option<&Path> {
        match self {
            SourceKind::File { path } | SourceKind::Follow { path, .. } => Some(path),
            SourceKind::Declared(config) => config.file(),
            _ => None,
        }
    }

    /// The same, of a log that grows.
    pub fn log(&self) -> Option<&Path> {
        match self {
            SourceKind::Follow { path, .. } => Some(path),
            _ => None,
        }
    }

    /// The folder of this machine whose files it reads, and which the author of the job has named.
    pub fn dir(&self) -> Option<&Path> {
        match self {
            SourceKind::Directory { path, .. } => Some(path),
            _ => None,
        }
    }

    /// The bucket and prefix that it reads, as a URL.
    pub fn bucket(&self) -> Option<&str> {
        match self {
            SourceKind::Objects { url, .. } => Some(url),
            _ => None,
        }
    }

    /// Which rows come how often, for `millstream validate`, where that depends on the other side.
    pub fn promise(&self) -> Option<&'static str> {
        match self {
            SourceKind::Declared(config) => config.promise(),
            SourceKind::Plugin(_) => Some(
                "exactly once if its plugin resumes at a position, with [checkpoint]; what it cannot send again is lost at a crash",
            ),
            _ => None,
        }
    }

    /// Whose positions they are, in a checkpoint, see [`SourceConfig::identity`]. It is known by path or address as they were written:
    /// values of variables are kept nowhere, and another value is no other source.
    pub fn identity<'a>(&'a self, written: &dyn Fn(&str) -> Option<&'a str>) -> String {
        let place = |path: &Path| written("path").map_or_else(|| path.display().to_string(), str::to_owned);
        match self {
            SourceKind::Directory { path, spread, .. } => format!("directory {}{}", place(path), spread_words(*spread)),
            SourceKind::Retry { path, .. } => format!("directory {}", place(path)),
            SourceKind::Objects { url, spread, .. } => {
                format!("directory {}{}", place(Path::new(url)), spread_words(*spread))
            }
            SourceKind::File { path } => format!("file {}", place(path)),
            SourceKind::Follow { path, .. } => format!("follow {}", place(path)),
            SourceKind::Declared(config) => config.identity(written),
            // Another version of it goes on where the one before was.
            SourceKind::Plugin(source) => match source.plugin.package() {
                Some(Ok((name, _))) => format!("plugin {name}"),
                _ => format!("plugin {}", written("plugin").unwrap_or(&source.plugin.path.display().to_string())),
            },
            // From wherever it comes: what counts is whether it differs from what is in effect.
            SourceKind::Table(_) => "table".to_owned(),
        }
    }

    /// Whether rows that were received and are in no batch must be taken over by the next start. A table is read again.
    pub fn keeps_leftovers(&self) -> bool {
        self.keeps_rows() && self.table().is_none()
    }

    /// Whether what it sent cannot be read again, so that plans must keep the rows themselves.
    pub fn keeps_rows(&self) -> bool {
        match self {
            SourceKind::Declared(config) => config.keeps_rows(),
            _ => matches!(self, SourceKind::Plugin(_) | SourceKind::Table(_)),
        }
    }

    /// Lets it only look at the first rows, see [`SourceConfig::sampled`].
    pub fn sample(&mut self) {
        if let Some(sampled) = self.declared().and_then(SourceConfig::sampled) {
            *self = SourceKind::Declared(sampled);
        }
    }
}

/// The clocks of a folder whose files are spread are others than those of one whose files are not, so neither goes on where the other was.
fn spread_words(spread: bool) -> &'static str {
    if spread { " with spread = true" } else { "" }
}
