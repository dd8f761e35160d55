//! Definition of a match: the steps of a pattern, and the preferred order of continuations.

/// A condition on a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Depends on the row alone, and is evaluated when the row arrives: a bit of [`own`](super::rows::KeptRow::own).
    OfRow(usize),
    /// Depends on the rows of the match as well: the index of its expression.
    OfMatch(usize),
}

/// Conditions of rows that must not occur within a match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForbiddenRows {
    /// Directly after.
    pub next: Vec<Condition>,
    /// Anywhere after, until the match continues.
    pub between: Vec<Condition>,
}

/// A step that takes rows.
#[derive(Clone, Debug)]
pub struct Step {
    /// Condition of its rows; `None` takes any row.
    pub condition: Option<Condition>,
    /// Whether other rows may precede its first row.
    pub relaxed: bool,
    /// What must not precede its first row.
    pub nots: ForbiddenRows,
    /// Minimum number of rows.
    pub min: u32,
    /// Maximum number of rows.
    pub max: Option<u32>,
    /// Whether it takes as few rows as possible.
    pub reluctant: bool,
    /// Whether other rows may lie between its rows.
    pub gaps: bool,
    /// What must not lie there.
    pub gap_nots: Vec<Condition>,
}

/// Where the search continues after a match. Steps are identified by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// After its last row.
    PastLastRow,
    /// At the row after its first one.
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
    /// Where the search continues.
    pub skip: Skip,
    /// What must not come between the last row of a step and the next target: by step, then by target.
    nots: Vec<Vec<ForbiddenRows>>,
    /// Whether no condition reads the rows of the match.
    pub is_simple: bool,
}

/// The next target of a match: the index of a step, or the number of steps for the end.
pub type Target = usize;

impl Plan {
    /// Creates a plan of steps, and what must not follow the last of them.
    pub fn new(steps: Vec<Step>, end: ForbiddenRows, within_us: Option<i64>, skip: Skip) -> Plan {
        let count = steps.len();
        // The conditions of a step without rows apply to the next target.
        let of = |from: usize, to: Target| {
            if from == to {
                let between = steps.get(from).map(|step| step.gap_nots.clone()).unwrap_or_default();
                return ForbiddenRows { next: Vec::new(), between };
            }
            let forbidden = steps.iter().map(|step| &step.nots).chain([&end]).take(to + 1).skip(from + 1);
            forbidden.fold(ForbiddenRows::default(), |mut all, nots| {
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

    /// Returns the end of a match.
    pub fn end(&self) -> Target {
        self.steps.len()
    }

    /// Returns what must not come between the last row of a step and the next target.
    pub fn nots(&self, from: usize, to: Target) -> Option<&ForbiddenRows> {
        self.nots.get(from)?.get(to)
    }

    /// Returns whether other rows may lie between the last row of a step and the next target.
    pub fn is_relaxed(&self, from: usize, to: Target) -> bool {
        match self.steps.get(to) {
            Some(step) if from == to => step.gaps,
            Some(step) => step.relaxed,
            None => self.nots(from, to).is_some_and(|nots| !nots.between.is_empty()),
        }
    }

    /// Returns the possible first targets, in order of preference.
    pub fn first(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        self.add_targets(0, &mut targets);
        targets.retain(|target| *target != self.end());
        targets
    }

    /// Returns the possible targets after a row of a step that has taken `count` rows, in order of preference.
    pub fn targets_after(&self, step: usize, count: u32) -> Vec<Target> {
        let Some(of) = self.steps.get(step) else { return Vec::new() };
        let again = of.max.is_none_or(|max| count < max);
        let mut targets = Vec::new();
        if again && (count < of.min || !of.reluctant) {
            targets.push(step);
        }
        if count >= of.min {
            self.add_targets(step + 1, &mut targets);
            if again && of.reluctant {
                targets.push(step);
            }
        }
        targets
    }

    /// Adds the possible targets from this step on.
    fn add_targets(&self, step: usize, targets: &mut Vec<Target>) {
        match self.steps.get(step) {
            None => targets.push(self.end()),
            Some(of) if of.min > 0 => targets.push(step),
            Some(of) if of.reluctant => {
                self.add_targets(step + 1, targets);
                targets.push(step);
            }
            Some(_) => {
                targets.push(step);
                self.add_targets(step + 1, targets);
            }
        }
    }

    /// Caps the number of a step's rows at the number that matters for what may follow.
    pub fn count_that_matters(&self, step: usize, count: u32) -> u32 {
        self.steps.get(step).map_or(count, |of| count.min(of.max.unwrap_or(of.min)))
    }

    /// Returns whether the last row of a match that began at `start_us` can no longer be at `time` or later.
    pub fn is_over(&self, start_us: i64, time: i64) -> bool {
        self.within_us.is_some_and(|within| start_us.saturating_add(within) < time)
    }
}
