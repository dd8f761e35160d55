//! The rows that a match has so far. Matches that begin alike share what they have in common.

use std::rc::Rc;

/// A row that a match has taken, behind those that it took before.
#[derive(Debug)]
pub struct MatchedRow {
    /// The place of the row among those of its key.
    pub row: u64,
    /// The step that took it.
    pub step: usize,
    /// How many rows this step has taken, with this one.
    pub count: u32,
    /// The first row that this step has taken.
    pub first: u64,
    /// The row before.
    pub before: Option<Rc<MatchedRow>>,
    /// The last row that the step before has taken.
    step_before: Option<Rc<MatchedRow>>,
}

impl MatchedRow {
    /// A step takes a row, behind others.
    pub fn new(row: u64, step: usize, before: Option<Rc<MatchedRow>>) -> MatchedRow {
        match &before {
            Some(last) if last.step == step => {
                let (count, first, step_before) = (last.count + 1, last.first, last.step_before.clone());
                MatchedRow { row, step, count, first, before, step_before }
            }
            _ => MatchedRow { row, step, count: 1, first: row, step_before: before.clone(), before },
        }
    }

    /// The first row of the match.
    pub fn start(&self) -> u64 {
        let mut last = self;
        while let Some(before) = &last.step_before {
            last = before;
        }
        last.first
    }

    /// The first and the last row that a step has taken.
    pub fn of_step(&self, step: usize) -> Option<(u64, u64)> {
        let mut last = Some(self);
        while let Some(taken) = last.filter(|taken| taken.step >= step) {
            if taken.step == step {
                return Some((taken.first, taken.row));
            }
            last = taken.step_before.as_deref();
        }
        None
    }

    /// All rows with their steps, the last one first.
    pub fn rows(&self) -> impl Iterator<Item = (u64, usize)> + '_ {
        let mut next = Some(self);
        std::iter::from_fn(move || {
            let taken = next?;
            next = taken.before.as_deref();
            Some((taken.row, taken.step))
        })
    }
}

impl Drop for MatchedRow {
    /// One row after the other: a match may be longer than calls can be nested.
    fn drop(&mut self) {
        self.step_before = None;
        let mut next = self.before.take();
        while let Some(mut taken) = next.and_then(Rc::into_inner) {
            taken.step_before = None;
            next = taken.before.take();
        }
    }
}
