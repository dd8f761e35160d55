//! Keeps the newest items, with numbers.

use serde::Serialize;
use std::collections::VecDeque;

/// An item with its number in this record, from 1, so that no item is sent twice.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Numbered<T> {
    /// The number.
    pub number: u64,
    /// The process that reported it.
    pub process: u32,
    /// The item.
    #[serde(flatten)]
    pub what: T,
}

/// The newest items.
#[derive(Debug)]
pub struct Newest<T> {
    count: u64,
    max: usize,
    all: VecDeque<Numbered<T>>,
}

impl<T: Clone> Newest<T> {
    pub fn new(max: usize) -> Newest<T> {
        Newest { count: 0, max, all: VecDeque::new() }
    }

    /// Adds an item.
    pub fn add(&mut self, process: u32, what: T) {
        self.count += 1;
        self.all.push_back(Numbered { number: self.count, process, what });
        if self.all.len() > self.max {
            self.all.pop_front();
        }
    }

    /// Returns the last number.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns the last item.
    pub fn last(&self) -> Option<&T> {
        self.all.back().map(|last| &last.what)
    }

    /// Returns the items after this number: at most `max`, the newest ones.
    pub fn after(&self, number: u64, max: usize) -> Vec<Numbered<T>> {
        let newer = self.all.iter().filter(|one| one.number > number).count().min(max);
        self.all.iter().skip(self.all.len() - newer).cloned().collect()
    }
}
