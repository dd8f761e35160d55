//! What changes for a job when a package takes the place of another one.

use super::facts::Facts;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// In words, as `it now asks over HTTP`.
    pub words: String,
    /// Whether somebody must accept it: it needs more, or its columns, its state or its world are others.
    pub needs_accept: bool,
}

/// All changes from one package to the next.
pub fn between(old: &Facts, new: &Facts) -> Vec<Difference> {
    let _ = (old, new);
    Vec::new()
}
