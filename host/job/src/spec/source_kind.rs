//! What the engine needs to know about a source, whatever its kind.

use super::{EnrichSpec, InputPath, SourceConfig, SourceKind};
use std::path::Path;

impl SourceKind {
    /// Returns whether the graph adds it: it is not in the job file.
    pub fn is_hidden(&self) -> bool {
        self.table().is_some() || self.retry_dir().is_some()
    }

    /// Returns the lookup table, if the source is one of a stage.
    pub fn table(&self) -> Option<&EnrichSpec> {
        match self {
            SourceKind::Table(enrich) => Some(enrich),
            _ => None,
        }
    }

    /// Returns the directory of retried rows, if it reads those of a stage.
    pub fn retry_dir(&self) -> Option<&Path> {
        self.declared().and_then(SourceConfig::retry_dir)
    }

    /// See [`SourceConfig::input`].
    pub fn input(&self) -> Option<InputPath<'_>> {
        self.declared().and_then(SourceConfig::input)
    }

    /// Returns the local file that it reads.
    pub fn file(&self) -> Option<&Path> {
        match self.input() {
            Some(InputPath::File(path) | InputPath::Log(path)) => Some(path),
            _ => None,
        }
    }

    /// Returns the local log that it follows; [`SourceKind::file`] returns it, too.
    pub fn log(&self) -> Option<&Path> {
        match self.input() {
            Some(InputPath::Log(path)) => Some(path),
            _ => None,
        }
    }

    /// Returns the local directory in the job file whose files it reads.
    pub fn dir(&self) -> Option<&Path> {
        match self.input() {
            Some(InputPath::Dir { path, .. }) => Some(path),
            _ => None,
        }
    }

    /// Returns the URL of the bucket and prefix that it reads.
    pub fn bucket(&self) -> Option<&str> {
        match self.input() {
            Some(InputPath::Bucket(url)) => Some(url),
            _ => None,
        }
    }

    /// Returns the local file or directory that must exist to be read.
    pub fn path(&self) -> Option<&Path> {
        match self.input()? {
            InputPath::File(path) | InputPath::Dir { path, .. } => Some(path),
            // The log itself may be created later.
            InputPath::Log(path) => path.parent(),
            InputPath::Bucket(_) => None,
        }
    }

    /// Returns its kind in a job file.
    pub fn keyword(&self) -> &'static str {
        match self {
            SourceKind::Plugin(_) => "plugin",
            SourceKind::Declared(config) => config.kind(),
            SourceKind::Table(_) => "table",
        }
    }

    /// Returns the guarantee that `millstream validate` shows, if it depends on the server.
    pub fn promise(&self) -> Option<&'static str> {
        match self {
            SourceKind::Declared(config) => config.promise(),
            SourceKind::Plugin(_) => Some(
                "exactly once if its plugin resumes at a position, with [checkpoint]; rows that it cannot send \
                again are lost at a crash",
            ),
            _ => None,
        }
    }

    /// Returns the identity of its positions in a checkpoint, see [`SourceConfig::identity`]. It has the path or address as written in the job file:
    /// values of variables are not stored, and another value does not make it another source.
    pub fn identity<'a>(&'a self, written: &dyn Fn(&str) -> Option<&'a str>) -> String {
        match self {
            SourceKind::Declared(config) => config.identity(written),
            // Another version resumes where the previous one stopped.
            SourceKind::Plugin(source) => match source.plugin.package() {
                Some(Ok((name, _))) => format!("plugin {name}"),
                _ => format!("plugin {}", written("plugin").unwrap_or(&source.plugin.path.display().to_string())),
            },
            // The location does not matter: rows are compared with those in effect.
            SourceKind::Table(_) => "table".to_owned(),
        }
    }

    /// Returns whether received rows that are in no batch must be kept for the next startup. A table is read again instead.
    pub fn keeps_leftovers(&self) -> bool {
        self.keeps_rows() && self.table().is_none()
    }

    /// Returns whether its rows cannot be read again, so that plans must keep them.
    pub fn keeps_rows(&self) -> bool {
        match self {
            SourceKind::Declared(config) => config.keeps_rows(),
            _ => matches!(self, SourceKind::Plugin(_) | SourceKind::Table(_)),
        }
    }

    /// Restricts it to a look at the first rows, see [`SourceConfig::sampled`].
    pub fn sample(&mut self) {
        if let Some(sampled) = self.declared().and_then(SourceConfig::sampled) {
            *self = SourceKind::Declared(sampled);
        }
    }
}
