//! A pattern as its author means it.

use std::time::Duration;

/// Sequences of rows of a key, in the order of their event times.
#[derive(Clone, Debug, PartialEq)]
pub struct PatternSpec {
    /// The steps of a match, one behind the other.
    pub steps: PatternSteps,
    /// What a row must fulfil to be taken by a step, or for a step with `not`: SQL expressions by the step's name.
    pub define: Vec<(String, String)>,
    /// The columns of a match, behind its key and times: SQL expressions by the column's name.
    pub measures: Vec<(String, String)>,
    /// How long after its first row the last row of a match may be; `None`: as long as it takes.
    pub within: Option<Duration>,
    /// Where the search goes on behind a match.
    pub skip: PatternSkip,
    /// Rows that one key may keep.
    pub rows_max: u64,
    /// Partial matches that one key may keep.
    pub partials_max: u64,
}

/// The steps of a pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatternSteps {
    /// As it was written.
    pub text: String,
    /// The steps that take rows.
    pub steps: Vec<PatternStep>,
    /// What must not follow upon the last of them.
    pub end: PatternNots,
}

/// A step that takes rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternStep {
    /// Its name.
    pub name: String,
    /// Other rows may stand between the row before and the first row of this step.
    pub relaxed: bool,
    /// What must not stand between the row before and the first row of this step.
    pub nots: PatternNots,
    /// How many rows it takes at least.
    pub least: u32,
    /// How many rows it takes at most; `None`: any number.
    pub most: Option<u32>,
    /// As few rows as possible are taken, instead of as many.
    pub reluctant: bool,
    /// Other rows may stand between the rows of this step.
    pub gaps: bool,
    /// What must not stand there, by the names of its conditions.
    pub gap_nots: Vec<String>,
}

/// Steps with `not` between two that take rows, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatternNots {
    /// `next not`: what the row directly behind must not be.
    pub next: Vec<String>,
    /// `followed by not`: what none of the rows between must be.
    pub between: Vec<String>,
}

/// Where the search for the next match goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PatternSkip {
    /// Behind the last row of the match.
    #[default]
    PastLastRow,
    /// At the row behind the first one of the match.
    ToNextRow,
    /// At the first row that this step has taken.
    ToFirst(String),
    /// At the last row that this step has taken.
    ToLast(String),
}

impl PatternSteps {
    /// The names of what must not come, of which one may stand several times.
    pub fn negated(&self) -> impl Iterator<Item = &String> {
        let nots = self.steps.iter().map(|step| &step.nots).chain([&self.end]);
        let of_gaps = self.steps.iter().flat_map(|step| &step.gap_nots);
        nots.flat_map(|nots| nots.next.iter().chain(&nots.between)).chain(of_gaps)
    }

    /// Whether a step of this name takes rows.
    pub fn takes(&self, name: &str) -> bool {
        self.steps.iter().any(|step| step.name == name)
    }

    /// Whether a match may wait for nothing to come: a `followed by not` stands behind the last step that takes a row, in some match.
    pub fn waits_for_nothing(&self) -> bool {
        let optional = self.steps.iter().rev().take_while(|step| step.least == 0);
        !self.end.between.is_empty() || optional.into_iter().any(|step| !step.nots.between.is_empty())
    }
}
