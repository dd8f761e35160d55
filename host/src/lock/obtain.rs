//! From a reference to a package in the store: found, allowed, fetched, checked. Nothing is compiled or run for it.

use super::Pin;
use super::store::Store;
use crate::error::{Error, Result};
use crate::package::facts::Facts;
use crate::package::name::Wanted;
use crate::registry::Registry;
use crate::trust::policy::Policy;

/// A package that may be used.
#[derive(Clone, Debug)]
pub struct Obtained {
    /// What a lock file says of it.
    pub pin: Pin,
    /// What it is.
    pub facts: Facts,
    /// Those who signed it and are trusted.
    pub signers: Vec<String>,
}

/// Gets a package. `pinned`: the digest that it must have. A version that has another one by now is an error: its tag was
/// moved. What is in the store already is not fetched again.
pub fn obtain(
    registry: &Registry,
    wanted: &Wanted,
    pinned: Option<&Pin>,
    policy: &Policy,
    store: &Store,
) -> Result<Obtained> {
    let _ = (pinned, policy, store);
    Err(Error::bug(format!("{wanted} of {registry}: packages are not obtained yet")))
}
