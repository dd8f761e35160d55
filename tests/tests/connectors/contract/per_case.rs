//! What each case of a connector has of its own.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Servers, clients or ports, by the location of their case.
pub struct PerCase<T>(Mutex<BTreeMap<String, T>>);

impl<T> Default for PerCase<T> {
    fn default() -> PerCase<T> {
        PerCase(Mutex::default())
    }
}

impl<T: Clone> PerCase<T> {
    /// Returns what the case has; if it has nothing yet, it gets what `make` returns.
    pub fn of(&self, location: &str, make: impl FnOnce() -> T) -> T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(location.to_owned()).or_insert_with(make).clone()
    }

    /// Returns what the case has.
    #[track_caller]
    pub fn existing(&self, location: &str) -> T {
        self.of(location, || panic!("the case `{location}` was not created"))
    }

    /// Replaces what the case has.
    pub fn set(&self, location: &str, value: T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(location.to_owned(), value);
    }
}
