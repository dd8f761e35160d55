//! The matches of a pattern by brute force: every assignment of rows to steps is tried, and those that are not a match by the
//! rules of `docs/reference/stages/pattern.md` are dropped. It does not know partial matches, watermarks, or the program's
//! algorithm.

use std::cmp::Ordering;

/// A row of one key.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// In seconds.
    pub at: i64,
    pub v: Option<i64>,
}

/// A condition of a step.
#[derive(Clone, Copy, Debug)]
pub enum Ask {
    Any,
    Below(i64),
    AtLeast(i64),
    Even,
    /// More than the row that was taken before.
    Rises,
    /// Equal to the last row of this step.
    LikeLast(usize),
    /// More than the first row of this step.
    AboveFirst(usize),
    /// With all rows of this step, the sum is greater.
    WithSum(usize, i64),
    /// At most this many rows have been taken.
    AtMostRows(i64),
}

#[derive(Clone, Debug, Default)]
pub struct Nots {
    pub next: Vec<Ask>,
    pub between: Vec<Ask>,
}

#[derive(Clone, Debug)]
pub struct Step {
    pub ask: Ask,
    pub relaxed: bool,
    pub nots: Nots,
    pub least: usize,
    pub most: Option<usize>,
    pub reluctant: bool,
    pub gaps: bool,
    pub gap_nots: Vec<Ask>,
}

#[derive(Clone, Copy, Debug)]
pub enum Skip {
    PastLastRow,
    ToNextRow,
    ToFirst(usize),
    ToLast(usize),
}

#[derive(Clone, Debug)]
pub struct Pattern {
    pub steps: Vec<Step>,
    pub end: Nots,
    pub within: Option<i64>,
    pub skip: Skip,
}

/// Rows by their indexes, with the steps that take them.
pub type Match = Vec<(usize, usize)>;

fn holds(ask: Ask, row: &Row, rows: &[Row], taken: &[(usize, usize)]) -> bool {
    let of = |step: usize| taken.iter().filter(move |(_, by)| *by == step).map(|(place, _)| rows[*place].v);
    // A null makes a condition null, which is not true.
    let held = || {
        Some(match ask {
            Ask::Any => true,
            Ask::Below(n) => row.v? < n,
            Ask::AtLeast(n) => row.v? >= n,
            Ask::Even => row.v? % 2 == 0,
            Ask::Rises => row.v? > rows[taken.last()?.0].v?,
            Ask::LikeLast(step) => row.v? == of(step).next_back()??,
            Ask::AboveFirst(step) => row.v? > of(step).next()??,
            Ask::WithSum(step, n) => {
                let values: Vec<i64> = of(step).flatten().collect();
                let sum = if values.is_empty() { return None } else { values.iter().sum::<i64>() };
                row.v? + sum > n
            }
            Ask::AtMostRows(n) => taken.len() as i64 <= n,
        })
    };
    held().unwrap_or(false)
}

impl Pattern {
    /// Rows that must not occur between a row of one step and the next match: the negated steps between them.
    fn nots(&self, from: usize, to: usize) -> Nots {
        let mut all = Nots::default();
        for place in from + 1..=to {
            let nots = if place < self.steps.len() { &self.steps[place].nots } else { &self.end };
            all.next.extend(&nots.next);
            all.between.extend(&nots.between);
        }
        all
    }

    /// Whether rows given to steps are a match: by the counts of the steps, then from each row to the next.
    fn is_match(&self, rows: &[Row], taken: &[(usize, usize)]) -> bool {
        let Some((first, _)) = taken.first() else { return false };
        let in_time = |place: usize| self.within.is_none_or(|within| rows[place].at - rows[*first].at <= within);
        if !taken.iter().all(|(place, _)| in_time(*place)) {
            return false;
        }
        for (step, of) in self.steps.iter().enumerate() {
            let count = taken.iter().filter(|(_, by)| *by == step).count();
            if count < of.least || of.most.is_some_and(|most| count > most) {
                return false;
            }
        }
        for (number, (place, step)) in taken.iter().enumerate() {
            let before = &taken[..number];
            if !holds(self.steps[*step].ask, &rows[*place], rows, before) {
                return false;
            }
            let Some((last, by)) = before.last() else { continue };
            let relaxed = if by == step { self.steps[*step].gaps } else { self.steps[*step].relaxed };
            let between = last + 1..*place;
            if !relaxed && !between.is_empty() {
                return false;
            }
            // The first row that fits is taken.
            if between.clone().any(|other| holds(self.steps[*step].ask, &rows[other], rows, before)) {
                return false;
            }
            let nots = match by == step {
                true => Nots { next: Vec::new(), between: self.steps[*step].gap_nots.clone() },
                false => self.nots(*by, *step),
            };
            if nots.next.iter().any(|ask| holds(*ask, &rows[last + 1], rows, before))
                || between.clone().any(|other| nots.between.iter().any(|ask| holds(*ask, &rows[other], rows, before)))
            {
                return false;
            }
        }
        let (last, by) = taken[taken.len() - 1];
        let nots = self.nots(by, self.steps.len());
        let behind = || (last + 1..rows.len()).filter(|place| in_time(*place));
        let is_next = |ask: &Ask| behind().take(1).any(|place| holds(*ask, &rows[place], rows, taken));
        let is_behind = |ask: &Ask| behind().any(|place| holds(*ask, &rows[place], rows, taken));
        !nots.next.iter().any(is_next) && !nots.between.iter().any(is_behind)
    }

    /// Which of two continuations is preferred after the same rows; the end is the index after the last step.
    fn prefer(&self, a: usize, b: usize) -> Ordering {
        let (less, more) = (a.min(b), a.max(b));
        if less == more {
            return Ordering::Equal;
        }
        // The same step again, or an optional step.
        let first = if self.steps[less].reluctant { more } else { less };
        if a == first { Ordering::Less } else { Ordering::Greater }
    }

    fn compare(&self, a: &Match, b: &Match) -> Ordering {
        let end = self.steps.len();
        for number in 0.. {
            let step = |of: &Match| of.get(number).map_or(end, |(_, step)| *step);
            let order = self.prefer(step(a), step(b));
            if order != Ordering::Equal || number >= a.len().max(b.len()) {
                return order;
            }
        }
        Ordering::Equal
    }

    /// All matches that begin with this row.
    fn all_from(&self, rows: &[Row], start: usize) -> Vec<Match> {
        fn go_on(pattern: &Pattern, rows: &[Row], taken: &mut Match, next: usize, found: &mut Vec<Match>) {
            if pattern.is_match(rows, taken) {
                found.push(taken.clone());
            }
            let from = taken.last().map_or(0, |(_, step)| *step);
            for place in next..rows.len() {
                for step in from..pattern.steps.len() {
                    taken.push((place, step));
                    go_on(pattern, rows, taken, place + 1, found);
                    taken.pop();
                }
            }
        }
        let mut found = Vec::new();
        for step in 0..self.steps.len() {
            go_on(self, rows, &mut vec![(start, step)], start + 1, &mut found);
        }
        found
    }

    /// The emitted matches of the rows of a key, which are in order.
    pub fn matches(&self, rows: &[Row]) -> Vec<Match> {
        let (mut matches, mut start) = (Vec::new(), 0);
        while start < rows.len() {
            let Some(best) = self.all_from(rows, start).into_iter().min_by(|a, b| self.compare(a, b)) else {
                start += 1;
                continue;
            };
            let of = |step: usize| best.iter().filter(move |(_, by)| *by == step).map(|(place, _)| *place);
            let on = match self.skip {
                Skip::PastLastRow => best[best.len() - 1].0 + 1,
                Skip::ToNextRow => start + 1,
                Skip::ToFirst(step) => of(step).next().unwrap_or(0),
                Skip::ToLast(step) => of(step).next_back().unwrap_or(0),
            };
            start = on.max(start + 1);
            matches.push(best);
        }
        matches
    }
}
