//! The matches of one key. Each row may begin a match: an *attempt*, with its partial matches in the order of preference. A row advances all of them.
//! The attempt is decided when its first partial match is complete, or none is left. Then `skip` says which of the other attempts still count.
//!
//! Conditions over the rows of a match are computed for many at a time: `list_conditions` lists what a row needs, `row` takes the results in the same
//! order.

use super::matched_row::MatchedRow;
use super::plan::{Condition, ForbiddenRows, Plan, Skip, Target};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

/// The attempts of one key, ordered by their first rows.
#[derive(Default)]
pub struct Matcher {
    attempts: VecDeque<Attempt>,
}

struct Attempt {
    start: u64,
    start_us: i64,
    partials: Vec<Partial>,
}

/// A partial match.
enum Partial {
    /// Waits for a row.
    Open {
        /// Its rows; `None` before its first row.
        matched: Option<Rc<MatchedRow>>,
        /// What comes next.
        target: Target,
        /// Whether no row has come since its last one.
        is_fresh: bool,
    },
    /// Complete. Less preferred partial matches have been dropped.
    Done(Rc<MatchedRow>),
}

/// Matches that were found or became impossible.
#[derive(Default)]
pub struct DecidedMatches {
    /// Matches, ordered by their first rows.
    pub found: Vec<Rc<MatchedRow>>,
    /// Rows at which no match can begin.
    pub closed: Vec<u64>,
}

const NO_NOTS: &ForbiddenRows = &ForbiddenRows { next: Vec::new(), between: Vec::new() };

impl Partial {
    fn nots<'p>(&self, plan: &'p Plan) -> &'p ForbiddenRows {
        match self {
            Partial::Open { matched: Some(matched), target, .. } => plan.nots(matched.step, *target).unwrap_or(NO_NOTS),
            _ => NO_NOTS,
        }
    }

    /// Returns the conditions for the next row: that of the next step, those of what must not be next, and those of what must not be between.
    fn next_conditions<'p>(&self, plan: &'p Plan) -> (Option<Condition>, &'p [Condition], &'p [Condition]) {
        let Partial::Open { target, is_fresh, .. } = self else { return (None, &[], &[]) };
        let nots = self.nots(plan);
        let next = if *is_fresh { nots.next.as_slice() } else { &[] };
        (plan.steps.get(*target).and_then(|step| step.condition), next, &nots.between)
    }
}

impl Matcher {
    /// Begins an attempt with a row, unless it cannot be a first row. `own` has the row conditions that it satisfies.
    pub fn begin(&mut self, plan: &Plan, row: u64, time: i64, own: u64) -> bool {
        let may_be = |target: &Target| match plan.steps.get(*target).and_then(|step| step.condition) {
            Some(Condition::OfRow(bit)) => own >> bit & 1 == 1,
            _ => true,
        };
        let open = |target| Partial::Open { matched: None, target, is_fresh: true };
        let partials: Vec<Partial> = plan.first().into_iter().filter(may_be).map(open).collect();
        if partials.is_empty() {
            return false;
        }
        self.attempts.push_back(Attempt { start: row, start_us: time, partials });
        true
    }

    /// Lists the match conditions that the next row needs, and for which match.
    pub fn list_conditions(&self, plan: &Plan, mut request: impl FnMut(usize, Option<&Rc<MatchedRow>>)) {
        if plan.is_simple {
            return;
        }
        for partial in self.attempts.iter().flat_map(|attempt| &attempt.partials) {
            let Partial::Open { matched, .. } = partial else { continue };
            let (target, next, between) = partial.next_conditions(plan);
            for condition in target.iter().chain(next).chain(between) {
                if let Condition::OfMatch(index) = condition {
                    request(*index, matched.as_ref());
                }
            }
        }
    }

    /// Processes the next row. `result` gives the requested results, in order of request by condition.
    pub fn row(&mut self, plan: &Plan, row: u64, own: u64, mut result: impl FnMut(usize) -> bool) {
        let mut holds = |condition: &Condition| match condition {
            Condition::OfRow(bit) => own >> *bit & 1 == 1,
            Condition::OfMatch(index) => result(*index),
        };
        for attempt in &mut self.attempts {
            let partials = std::mem::take(&mut attempt.partials);
            let mut next = NextPartials { plan, partials: Vec::with_capacity(partials.len()), is_cut: false };
            for partial in partials {
                let (target, not_next, between) = partial.next_conditions(plan);
                let takes = target.map(|condition| holds(&condition));
                // All are evaluated, as results are consumed in order.
                let mut some =
                    |conditions: &[Condition]| conditions.iter().filter(|condition| holds(condition)).count() > 0;
                let (is_next, is_between) = (some(not_next), some(between));
                next.add(partial, row, (takes, is_next, is_between));
            }
            attempt.partials = next.distinct();
        }
    }

    /// Ends attempts: no more rows older than `time` will come; `is_end` means no more rows at all.
    pub fn expire(&mut self, plan: &Plan, time: i64, is_end: bool) {
        let over = |attempt: &&mut Attempt| is_end || plan.is_over(attempt.start_us, time);
        // Later attempts began later.
        for attempt in self.attempts.iter_mut().take_while(over) {
            let partials = std::mem::take(&mut attempt.partials);
            // The awaited row does not come, and neither does a forbidden one.
            let done = partials.into_iter().find_map(|partial| match partial {
                Partial::Done(matched) => Some(matched),
                Partial::Open { matched, target, .. } => matched.filter(|_| target == plan.end()),
            });
            attempt.partials.extend(done.map(Partial::Done));
        }
    }

    /// Takes what is decided.
    pub fn decide(&mut self, plan: &Plan, decided: &mut DecidedMatches) {
        if plan.skip != Skip::ToNextRow {
            self.decide_first(plan, decided);
        }
        self.attempts.retain(|attempt| {
            let found = match attempt.partials.first() {
                None => None,
                Some(Partial::Done(matched)) if plan.skip == Skip::ToNextRow => Some(matched.clone()),
                Some(_) => return true,
            };
            decided.found.extend(found);
            decided.closed.push(attempt.start);
            false
        });
    }

    /// If a match skips rows after it, an attempt waits for the earlier ones.
    fn decide_first(&mut self, plan: &Plan, decided: &mut DecidedMatches) {
        while let Some(first) = self.attempts.pop_front() {
            let found = match first.partials.first() {
                Some(Partial::Open { .. }) => return self.attempts.push_front(first),
                Some(Partial::Done(matched)) => Some(matched.clone()),
                None => None,
            };
            decided.closed.push(first.start);
            let Some(matched) = found else { continue };
            let of_step = |step| matched.of_step(step).unwrap_or((0, 0));
            let on = match plan.skip {
                Skip::PastLastRow => matched.row + 1,
                Skip::ToNextRow => 0,
                Skip::ToFirst(step) => of_step(step).0,
                Skip::ToLast(step) => of_step(step).1,
            };
            while let Some(skipped) = self.attempts.pop_front_if(|attempt| attempt.start < on) {
                decided.closed.push(skipped.start);
            }
            decided.found.push(matched);
        }
    }

    /// Returns the first row of the first attempt, and its time.
    pub fn first(&self) -> Option<(u64, i64)> {
        self.attempts.front().map(|attempt| (attempt.start, attempt.start_us))
    }

    /// Returns the number of partial matches.
    pub fn partials(&self) -> usize {
        self.attempts.iter().map(|attempt| attempt.partials.len()).sum()
    }
}

/// The partial matches of an attempt after a row.
struct NextPartials<'p> {
    plan: &'p Plan,
    partials: Vec<Partial>,
    /// Whether one is complete, so that later ones do not count.
    is_cut: bool,
}

impl NextPartials<'_> {
    /// Advances a partial match. `takes`: whether the next step takes the row, if there is one; then whether the row must not be next, and whether it
    /// must not be between.
    fn add(&mut self, partial: Partial, row: u64, (takes, is_next, is_between): (Option<bool>, bool, bool)) {
        if self.is_cut {
            return;
        }
        let (matched, target) = match partial {
            Partial::Open { matched, target, .. } => (matched, target),
            done @ Partial::Done(_) => {
                self.partials.push(done);
                self.is_cut = true;
                return;
            }
        };
        if is_next {
            return;
        }
        let is_end = target == self.plan.end();
        if !is_end && takes.unwrap_or(true) {
            return self.take(Rc::new(MatchedRow::new(row, target, matched)));
        }
        let Some(matched) = matched.filter(|_| !is_between) else { return };
        let stays = self.plan.is_relaxed(matched.step, target);
        if stays {
            self.partials.push(Partial::Open { matched: Some(matched), target, is_fresh: false });
        } else if is_end {
            self.partials.push(Partial::Done(matched));
            self.is_cut = true;
        }
    }

    /// Adds a partial match with one more row.
    fn take(&mut self, matched: Rc<MatchedRow>) {
        for target in self.plan.targets_after(matched.step, matched.count) {
            let nots = self.plan.nots(matched.step, target).unwrap_or(NO_NOTS);
            let matched = matched.clone();
            if target == self.plan.end() && nots == NO_NOTS {
                self.partials.push(Partial::Done(matched));
                self.is_cut = true;
                return;
            }
            self.partials.push(Partial::Open { matched: Some(matched), target, is_fresh: true });
        }
    }

    /// Removes redundant partial matches: those that can only become what a preferred one becomes. If no condition reads the rows of the match, only
    /// their progress matters.
    fn distinct(self) -> Vec<Partial> {
        let NextPartials { plan, mut partials, .. } = self;
        if !plan.is_simple || partials.len() < 2 {
            return partials;
        }
        let mut seen = BTreeSet::new();
        partials.retain(|partial| match partial {
            Partial::Open { matched: Some(matched), target, is_fresh } => {
                seen.insert((matched.step, plan.count_that_matters(matched.step, matched.count), *target, *is_fresh))
            }
            _ => true,
        });
        partials
    }
}
