//! The newest of some things, with numbers.

use serde::Serialize;
use std::collections::VecDeque;

/// Something with a number of its own in this record, from 1: what was told before is not told again.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Numbered<T> {
    /// The number.
    pub number: u64,
    /// The process that told of it.
    pub process: u32,
    /// What it is.
    #[serde(flatten)]
    pub what: T,
}

/// The newest of some things.
#[derive(Debug)]
pub struct Newest<T> {
    count: u64,
    max: usize,
    all: VecDeque<Numbered<T>>,
}

impl<T: Clone> Newest<T> {
    pub fn of(max: usize) -> Newest<T> {
        Newest { count: 0, max, all: VecDeque::new() }
    }

    /// One more.
    pub fn add(&mut self, process: u32, what: T) {
        self.count += 1;
        self.all.push_back(Numbered { number: self.count, process, what });
        if self.all.len() > self.max {
            self.all.pop_front();
        }
    }

    /// The last number.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The last one.
    pub fn last(&self) -> Option<&T> {
        self.all.back().map(|last| &last.what)
    }

    /// Those after this number, no more than so many of the newest.
    pub fn after(&self, number: u64, max: usize) -> Vec<Numbered<T>> {
        let newer = self.all.iter().filter(|one| one.number > number).count().min(max);
        self.all.iter().skip(self.all.len() - newer).cloned().collect()
    }
}
