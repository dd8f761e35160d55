//! What a match is: the steps of a pattern, and in which order of preference a match may go on.

/// What a row must fulfil.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It is about the row alone, and known when the row comes: a bit of [`own`](super::rows::KeptRow::own).
    OfRow(usize),
    /// It is about the rows of the match as well: the place of its expression.
    OfMatch(usize),
}

/// The conditions of rows that must not come within a match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForbiddenRows {
    /// As the row directly behind.
    pub next: Vec<Condition>,
    /// As one of the rows behind, until the match goes on.
    pub between: Vec<Condition>,
}

/// A step that takes rows.
#[derive(Clone, Debug)]
pub struct Step {
    /// What its rows fulfil; `None`: it takes any row.
    pub condition: Option<Condition>,
    /// Other rows may stand before its first row.
    pub relaxed: bool,
    /// What must not stand before its first row.
    pub nots: ForbiddenRows,
    /// How many rows at least.
    pub least: u32,
    /// How many rows at most.
    pub most: Option<u32>,
    /// As few as possible.
    pub reluctant: bool,
    /// Other rows may stand between its rows.
    pub gaps: bool,
    /// What must not stand there.
    pub gap_nots: Vec<Condition>,
}

/// Where the search goes on behind a match. Steps are told by their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// Behind its last row.
    PastLastRow,
    /// At the row behind its first one.
    ToNextRow,
    /// At the first row of a step.
    ToFirst(usize),
    /// At the last row of a step.
    ToLast(usize),
}

/// A pattern.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// How long after its first row the last row of a match may be.
    pub within_us: Option<i64>,
    /// Where the search goes on.
    pub skip: Skip,
    /// What must not come between the last row of a step and whatever comes next: by the step, then by what comes next.
    nots: Vec<Vec<ForbiddenRows>>,
    /// No condition looks at the rows of the match.
    pub is_simple: bool,
}

/// What comes next in a match: a step by its place, or the end, which is the place behind the last step.
pub type Target = usize;

impl Plan {
    /// Of steps and what must not come behind the last of them.
    pub fn new(steps: Vec<Step>, end: ForbiddenRows, within_us: Option<i64>, skip: Skip) -> Plan {
        let count = steps.len();
        // What was said of a step that took no row holds for what comes in its place.
        let of = |from: usize, to: Target| {
            if from == to {
                let between = steps.get(from).map(|step| step.gap_nots.clone()).unwrap_or_default();
                return ForbiddenRows { next: Vec::new(), between };
            }
            let said = steps.iter().map(|step| &step.nots).chain([&end]).take(to + 1).skip(from + 1);
            said.fold(ForbiddenRows::default(), |mut all, nots| {
                all.next.extend(&nots.next);
                all.between.extend(&nots.between);
                all
            })
        };
        let nots: Vec<Vec<ForbiddenRows>> =
            (0..count).map(|from| (0..=count).map(|to| of(from, to)).collect()).collect();
        let of_match = |condition: &Condition| matches!(condition, Condition::OfMatch(_));
        let all_nots = nots.iter().flatten().flat_map(|nots| nots.next.iter().chain(&nots.between));
        let is_simple = !steps.iter().filter_map(|step| step.condition.as_ref()).chain(all_nots).any(of_match);
        Plan { steps, within_us, skip, nots, is_simple }
    }

    /// The end of a match.
    pub fn end(&self) -> Target {
        self.steps.len()
    }

    /// What must not come between the last row of a step and what comes next.
    pub fn nots(&self, from: usize, to: Target) -> Option<&ForbiddenRows> {
        self.nots.get(from)?.get(to)
    }

    /// Whether other rows may stand between the last row of a step and what comes next.
    pub fn is_relaxed(&self, from: usize, to: Target) -> bool {
        match self.steps.get(to) {
            Some(step) if from == to => step.gaps,
            Some(step) => step.relaxed,
            None => self.nots(from, to).is_some_and(|nots| !nots.between.is_empty()),
        }
    }

    /// What may come first, the preferred first.
    pub fn first(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        self.leave(0, &mut targets);
        targets.retain(|target| *target != self.end());
        targets
    }

    /// What may come behind a row of a step which has taken so many, the preferred first.
    pub fn behind(&self, step: usize, count: u32) -> Vec<Target> {
        let Some(of) = self.steps.get(step) else { return Vec::new() };
        let again = of.most.is_none_or(|most| count < most);
        let mut targets = Vec::new();
        if again && (count < of.least || !of.reluctant) {
            targets.push(step);
        }
        if count >= of.least {
            self.leave(step + 1, &mut targets);
            if again && of.reluctant {
                targets.push(step);
            }
        }
        targets
    }

    /// What may come from this step on.
    fn leave(&self, step: usize, targets: &mut Vec<Target>) {
        match self.steps.get(step) {
            None => targets.push(self.end()),
            Some(of) if of.least > 0 => targets.push(step),
            Some(of) if of.reluctant => {
                self.leave(step + 1, targets);
                targets.push(step);
            }
            Some(_) => {
                targets.push(step);
                self.leave(step + 1, targets);
            }
        }
    }

    /// How many rows of a step make a difference to what may follow.
    pub fn count_that_matters(&self, step: usize, count: u32) -> u32 {
        self.steps.get(step).map_or(count, |of| count.min(of.most.unwrap_or(of.least)))
    }

    /// Whether the last row of a match that began at this time may not be at `time` or later any more.
    pub fn is_over(&self, start_us: i64, time: i64) -> bool {
        self.within_us.is_some_and(|within| start_us.saturating_add(within) < time)
    }
}
