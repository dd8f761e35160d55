//! The rows of a partial match. Matches with a common beginning share it.

use std::rc::Rc;

/// A row taken by a match, linked to the previous rows.
#[derive(Debug)]
pub struct MatchedRow {
    /// The number of the row in its key.
    pub row: u64,
    /// The step that took it.
    pub step: usize,
    /// How many rows this step has taken, including this one.
    pub count: u32,
    /// The first row that this step has taken.
    pub first: u64,
    /// The previous row.
    pub before: Option<Rc<MatchedRow>>,
    /// The last row of the previous step.
    step_before: Option<Rc<MatchedRow>>,
}

impl MatchedRow {
    /// Creates the entry of a row taken by a step, after previous rows.
    pub fn new(row: u64, step: usize, before: Option<Rc<MatchedRow>>) -> MatchedRow {
        match &before {
            Some(last) if last.step == step => {
                let (count, first, step_before) = (last.count + 1, last.first, last.step_before.clone());
                MatchedRow { row, step, count, first, before, step_before }
            }
            _ => MatchedRow { row, step, count: 1, first: row, step_before: before.clone(), before },
        }
    }

    /// Returns the first row of the match.
    pub fn start(&self) -> u64 {
        let mut last = self;
        while let Some(before) = &last.step_before {
            last = before;
        }
        last.first
    }

    /// Returns the first and the last row of a step.
    pub fn of_step(&self, step: usize) -> Option<(u64, u64)> {
        let mut last = Some(self);
        while let Some(matched) = last.filter(|matched| matched.step >= step) {
            if matched.step == step {
                return Some((matched.first, matched.row));
            }
            last = matched.step_before.as_deref();
        }
        None
    }

    /// Returns all rows with their steps, from the last row on.
    pub fn rows(&self) -> impl Iterator<Item = (u64, usize)> + '_ {
        let mut next = Some(self);
        std::iter::from_fn(move || {
            let matched = next?;
            next = matched.before.as_deref();
            Some((matched.row, matched.step))
        })
    }
}

impl Drop for MatchedRow {
    /// Iterative: a match may be too long for recursion.
    fn drop(&mut self) {
        self.step_before = None;
        let mut next = self.before.take();
        while let Some(mut matched) = next.and_then(Rc::into_inner) {
            matched.step_before = None;
            next = matched.before.take();
        }
    }
}
