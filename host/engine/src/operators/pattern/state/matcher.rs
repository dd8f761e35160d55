//! The matches of one key. Each row may begin a match: an *attempt*, which has its partial matches in the order in which they are
//! preferred. A row moves all of them on. The attempt is decided when its first partial match is complete, or none is left; then
//! `skip` says which of the others still count.
//!
//! Conditions that look at the rows of a match are computed for many at once: `wanted` tells what a row will ask, `row` takes the
//! answers in the same order.

use super::plan::{Condition, ForbiddenRows, Plan, Skip, Target};
use super::taken::MatchedRow;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

/// The attempts of one key, in the order of the rows that they begin with.
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
    /// It waits for a row.
    Open {
        /// What it has; `None` before its first row.
        taken: Option<Rc<MatchedRow>>,
        /// What comes next.
        target: Target,
        /// No row has come since its last one.
        is_fresh: bool,
    },
    /// It is complete. What is less preferred has been dropped.
    Done(Rc<MatchedRow>),
}

/// Matches that were found or can no longer be.
#[derive(Default)]
pub struct DecidedMatches {
    /// Matches, in the order of their first rows.
    pub found: Vec<Rc<MatchedRow>>,
    /// Rows at which no match begins any more.
    pub closed: Vec<u64>,
}

const NO_NOTS: &ForbiddenRows = &ForbiddenRows { next: Vec::new(), between: Vec::new() };

impl Partial {
    fn nots<'p>(&self, plan: &'p Plan) -> &'p ForbiddenRows {
        match self {
            Partial::Open { taken: Some(taken), target, .. } => plan.nots(taken.step, *target).unwrap_or(NO_NOTS),
            _ => NO_NOTS,
        }
    }

    /// The conditions that the next row is asked: that of the step to come, those of what must not be the next row, those of what must
    /// not be between.
    fn asks<'p>(&self, plan: &'p Plan) -> (Option<Condition>, &'p [Condition], &'p [Condition]) {
        let Partial::Open { target, is_fresh, .. } = self else { return (None, &[], &[]) };
        let nots = self.nots(plan);
        let next = if *is_fresh { nots.next.as_slice() } else { &[] };
        (plan.steps.get(*target).and_then(|step| step.condition), next, &nots.between)
    }
}

impl Matcher {
    /// A row begins an attempt, unless it can be no first row; `own`: the conditions that it fulfils by itself.
    pub fn begin(&mut self, plan: &Plan, row: u64, time: i64, own: u64) -> bool {
        let may_be = |target: &Target| match plan.steps.get(*target).and_then(|step| step.condition) {
            Some(Condition::OfRow(bit)) => own >> bit & 1 == 1,
            _ => true,
        };
        let open = |target| Partial::Open { taken: None, target, is_fresh: true };
        let partials: Vec<Partial> = plan.first().into_iter().filter(may_be).map(open).collect();
        if partials.is_empty() {
            return false;
        }
        self.attempts.push_back(Attempt { start: row, start_us: time, partials });
        true
    }

    /// Tells which conditions over the rows of matches the next row is asked, and for which match.
    pub fn wanted(&self, plan: &Plan, mut ask: impl FnMut(usize, Option<&Rc<MatchedRow>>)) {
        if plan.is_simple {
            return;
        }
        for partial in self.attempts.iter().flat_map(|attempt| &attempt.partials) {
            let Partial::Open { taken, .. } = partial else { continue };
            let (target, next, between) = partial.asks(plan);
            for condition in target.iter().chain(next).chain(between) {
                if let Condition::OfMatch(place) = condition {
                    ask(*place, taken.as_ref());
                }
            }
        }
    }

    /// The next row comes. `answer` gives what was asked, in that order by condition.
    pub fn row(&mut self, plan: &Plan, row: u64, own: u64, mut answer: impl FnMut(usize) -> bool) {
        let mut holds = |condition: &Condition| match condition {
            Condition::OfRow(bit) => own >> *bit & 1 == 1,
            Condition::OfMatch(place) => answer(*place),
        };
        for attempt in &mut self.attempts {
            let partials = std::mem::take(&mut attempt.partials);
            let mut next = NextPartials { plan, partials: Vec::with_capacity(partials.len()), is_cut: false };
            for partial in partials {
                let (target, not_next, between) = partial.asks(plan);
                let takes = target.map(|condition| holds(&condition));
                // All are asked, as others stand behind these among the answers.
                let mut some =
                    |conditions: &[Condition]| conditions.iter().filter(|condition| holds(condition)).count() > 0;
                let (is_next, is_between) = (some(not_next), some(between));
                next.add(partial, row, (takes, is_next, is_between));
            }
            attempt.partials = next.distinct();
        }
    }

    /// Nothing comes any more that is older than `time`; `is_end`: nothing comes at all.
    pub fn expire(&mut self, plan: &Plan, time: i64, is_end: bool) {
        let over = |attempt: &&mut Attempt| is_end || plan.is_over(attempt.start_us, time);
        // Those behind began later.
        for attempt in self.attempts.iter_mut().take_while(over) {
            let partials = std::mem::take(&mut attempt.partials);
            // What was to come does not, and what was not to come did not.
            let done = partials.into_iter().find_map(|partial| match partial {
                Partial::Done(taken) => Some(taken),
                Partial::Open { taken, target, .. } => taken.filter(|_| target == plan.end()),
            });
            attempt.partials.extend(done.map(Partial::Done));
        }
    }

    /// Takes out what is decided.
    pub fn decide(&mut self, plan: &Plan, decided: &mut DecidedMatches) {
        if plan.skip != Skip::ToNextRow {
            self.decide_first(plan, decided);
        }
        self.attempts.retain(|attempt| {
            let found = match attempt.partials.first() {
                None => None,
                Some(Partial::Done(taken)) if plan.skip == Skip::ToNextRow => Some(taken.clone()),
                Some(_) => return true,
            };
            decided.found.extend(found);
            decided.closed.push(attempt.start);
            false
        });
    }

    /// Where a match leaves out rows behind it, an attempt waits for those before.
    fn decide_first(&mut self, plan: &Plan, decided: &mut DecidedMatches) {
        while let Some(first) = self.attempts.pop_front() {
            let found = match first.partials.first() {
                Some(Partial::Open { .. }) => return self.attempts.push_front(first),
                Some(Partial::Done(taken)) => Some(taken.clone()),
                None => None,
            };
            decided.closed.push(first.start);
            let Some(taken) = found else { continue };
            let of_step = |step| taken.of_step(step).unwrap_or((0, 0));
            let on = match plan.skip {
                Skip::PastLastRow => taken.row + 1,
                Skip::ToNextRow => 0,
                Skip::ToFirst(step) => of_step(step).0,
                Skip::ToLast(step) => of_step(step).1,
            };
            while let Some(skipped) = self.attempts.pop_front_if(|attempt| attempt.start < on) {
                decided.closed.push(skipped.start);
            }
            decided.found.push(taken);
        }
    }

    /// The first row of the first attempt, and its time.
    pub fn first(&self) -> Option<(u64, i64)> {
        self.attempts.front().map(|attempt| (attempt.start, attempt.start_us))
    }

    /// How many partial matches there are.
    pub fn partials(&self) -> usize {
        self.attempts.iter().map(|attempt| attempt.partials.len()).sum()
    }
}

/// The partial matches of an attempt after a row.
struct NextPartials<'p> {
    plan: &'p Plan,
    partials: Vec<Partial>,
    /// One is complete, so those behind it do not count.
    is_cut: bool,
}

impl NextPartials<'_> {
    /// What becomes of a partial match. `takes`: whether the step to come takes the row, if there is one; then whether the row is one
    /// that must not be next, and one that must not be between.
    fn add(&mut self, partial: Partial, row: u64, (takes, is_next, is_between): (Option<bool>, bool, bool)) {
        if self.is_cut {
            return;
        }
        let (taken, target) = match partial {
            Partial::Open { taken, target, .. } => (taken, target),
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
            return self.take(Rc::new(MatchedRow::new(row, target, taken)));
        }
        let Some(taken) = taken.filter(|_| !is_between) else { return };
        let stays = self.plan.is_relaxed(taken.step, target);
        if stays {
            self.partials.push(Partial::Open { taken: Some(taken), target, is_fresh: false });
        } else if is_end {
            self.partials.push(Partial::Done(taken));
            self.is_cut = true;
        }
    }

    /// A match has one row more.
    fn take(&mut self, taken: Rc<MatchedRow>) {
        for target in self.plan.behind(taken.step, taken.count) {
            let nots = self.plan.nots(taken.step, target).unwrap_or(NO_NOTS);
            let taken = taken.clone();
            if target == self.plan.end() && nots == NO_NOTS {
                self.partials.push(Partial::Done(taken));
                self.is_cut = true;
                return;
            }
            self.partials.push(Partial::Open { taken: Some(taken), target, is_fresh: true });
        }
    }

    /// The partial matches, without those that can only become what a preferred one becomes as well: where no condition looks at the
    /// rows of the match, all that counts is how far they have come.
    fn distinct(self) -> Vec<Partial> {
        let NextPartials { plan, mut partials, .. } = self;
        if !plan.is_simple || partials.len() < 2 {
            return partials;
        }
        let mut seen = BTreeSet::new();
        partials.retain(|partial| match partial {
            Partial::Open { taken: Some(taken), target, is_fresh } => {
                seen.insert((taken.step, plan.count_that_matters(taken.step, taken.count), *target, *is_fresh))
            }
            _ => true,
        });
        partials
    }
}
