//! The state of the view, and how keys change it. Pure.

use super::keys::Key;
use super::rates::{Cost, CostRates};
use super::tree::{self, Branch};
use crate::page::part::{self, PartNow};
use crate::page::view::{JobState, JobView};
use millstream_metrics::batch_facts::BatchFacts;
use millstream_metrics::rejected_rows::RejectedRow;

/// What the screen currently knows about the job.
#[derive(Clone, Debug, Default)]
pub struct ShownJob {
    /// The view of the job.
    pub view: JobView,
    /// The last committed batch.
    pub last: Option<BatchFacts>,
    /// The last rejected and late rows, the oldest first.
    pub rejects: Vec<RejectedRow>,
}

/// The order of the parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    #[default]
    Graph,
    Work,
    Rate,
    Guest,
    Memory,
    Rejects,
    Name,
}

impl Sort {
    const ALL: [(Sort, &str); 7] = [
        (Sort::Graph, "graph"),
        (Sort::Work, "work"),
        (Sort::Rate, "rows/s"),
        (Sort::Guest, "guest"),
        (Sort::Memory, "memory"),
        (Sort::Rejects, "rejects"),
        (Sort::Name, "name"),
    ];

    /// Returns the name of the order.
    pub fn keyword(self) -> &'static str {
        Sort::ALL.iter().find(|(sort, _)| *sort == self).map_or("", |(_, word)| word)
    }

    fn next(self, steps: usize) -> Sort {
        let at = Sort::ALL.iter().position(|(sort, _)| *sort == self).unwrap_or(0);
        Sort::ALL[(at + steps) % Sort::ALL.len()].0
    }
}

/// The content of the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScreenView {
    #[default]
    Parts,
    /// One part, from this line on.
    Details(usize),
    Help(usize),
}

/// The job on the screen, and the selection.
#[derive(Default)]
pub struct ViewState {
    pub job: ShownJob,
    pub shown: ScreenView,
    pub sort: Sort,
    /// The name and role of the selected part. Its index may change when the job restarts.
    chosen: Option<(String, String)>,
    /// The first visible line of the parts.
    first: usize,
    pub costs: CostRates,
    pids: Vec<u32>,
    /// How often the job has restarted since the view began, and when last.
    pub restarts: u64,
    pub restarted_us: i64,
}

/// A line of the table of parts.
pub struct Line<'a> {
    pub branch: Branch,
    pub now: PartNow<'a>,
    pub cost: Cost,
}

impl ViewState {
    /// Updates the state with the current job.
    pub fn take(&mut self, job: ShownJob) {
        if job.view.state == JobState::Running {
            let mut pids = job.view.pids.clone();
            pids.sort_unstable();
            if !self.pids.is_empty() && !pids.iter().any(|pid| self.pids.contains(pid)) {
                self.restarts += 1;
                self.restarted_us = job.view.now_us;
                self.costs = CostRates::default();
            }
            self.pids = pids;
            self.costs.take(&job.view);
        }
        self.job = job;
    }

    /// Returns the parts in their order.
    pub fn lines(&self) -> Vec<Line<'_>> {
        let view = &self.job.view;
        let parts = part::all(view);
        let branches = tree::branches(&view.graph.parts);
        let mut lines: Vec<Line<'_>> = branches
            .into_iter()
            .filter_map(|branch| {
                let now = *parts.get(branch.index)?;
                Some(Line { cost: self.costs.cost(view, branch.index), now, branch })
            })
            .collect();
        if self.sort != Sort::Graph {
            lines.iter_mut().for_each(|line| line.branch.lines.clear());
            lines.sort_by(|one, other| self.order(one, other).then(one.branch.index.cmp(&other.branch.index)));
        }
        lines
    }

    fn order(&self, one: &Line<'_>, other: &Line<'_>) -> std::cmp::Ordering {
        // The largest first, except for names.
        match self.sort {
            Sort::Graph => std::cmp::Ordering::Equal,
            Sort::Work => other.now.busy.total_cmp(&one.now.busy),
            Sort::Rate => other.now.counted.counts.rows_per_second.cmp(&one.now.counted.counts.rows_per_second),
            Sort::Guest => other.cost.guest.total_cmp(&one.cost.guest),
            Sort::Memory => other.cost.memory_bytes_max.cmp(&one.cost.memory_bytes_max),
            Sort::Rejects => rejects(&other.now).cmp(&rejects(&one.now)),
            Sort::Name => one.now.part.name.cmp(&other.now.part.name),
        }
    }

    /// Returns the index of the selected line. The first one is selected by default.
    pub fn chosen(&self, lines: &[Line<'_>]) -> usize {
        let is = |line: &Line<'_>| {
            let part = line.now.part;
            self.chosen.as_ref().is_some_and(|(name, role)| *name == part.name && *role == part.role)
        };
        lines.iter().position(is).unwrap_or(0)
    }

    /// Returns the first visible line if there is room for `room` lines.
    pub fn first(&mut self, chosen: usize, count: usize, room: usize) -> usize {
        let room = room.max(1);
        self.first = self.first.clamp((chosen + 1).saturating_sub(room), chosen).min(count.saturating_sub(room));
        self.first
    }

    fn choose(&mut self, step: isize) {
        let lines = self.lines();
        let index = self.chosen(&lines).saturating_add_signed(step).min(lines.len().saturating_sub(1));
        let chosen = lines.get(index).map(|line| (line.now.part.name.clone(), line.now.part.role.clone()));
        self.chosen = chosen;
    }

    /// Handles a key. Returns whether to continue.
    pub fn press(&mut self, key: Key) -> bool {
        let step = match key {
            Key::Interrupt | Key::Char('q' | 'Q') => return false,
            Key::Escape => match self.shown {
                ScreenView::Parts => return false,
                _ => {
                    self.shown = ScreenView::Parts;
                    return true;
                }
            },
            Key::Up | Key::Char('k') => -1,
            Key::Down | Key::Char('j') => 1,
            Key::PageUp => -10,
            Key::PageDown => 10,
            Key::Home | Key::Char('g') => isize::MIN,
            Key::End | Key::Char('G') => isize::MAX,
            Key::Enter => {
                self.shown = if self.shown == ScreenView::Parts { ScreenView::Details(0) } else { ScreenView::Parts };
                return true;
            }
            Key::Help | Key::Char('?' | 'h') => {
                self.shown =
                    if matches!(self.shown, ScreenView::Help(_)) { ScreenView::Parts } else { ScreenView::Help(0) };
                return true;
            }
            Key::Char('s') => {
                self.sort = self.sort.next(1);
                return true;
            }
            Key::Char('S') => {
                self.sort = self.sort.next(Sort::ALL.len() - 1);
                return true;
            }
            Key::Char(_) => return true,
        };
        match &mut self.shown {
            ScreenView::Parts => self.choose(step),
            ScreenView::Details(line) | ScreenView::Help(line) => *line = line.saturating_add_signed(step),
        }
        true
    }
}

/// Returns the number of rows that a part rejected or found late.
pub fn rejects(now: &PartNow<'_>) -> u64 {
    now.counted.counts.rejected.saturating_add(now.counted.counts.late)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_runtime::control::{GraphPart, PartFacts, PartStatus};

    fn job(pids: &[u32], rows: [u64; 3]) -> ShownJob {
        let names = [("in", "source", ""), ("words", "stage", "in"), ("out", "sink", "words")];
        let mut view = JobView { state: JobState::Running, pids: pids.to_vec(), now_us: 7, ..JobView::default() };
        for ((name, role, from), rows) in names.into_iter().zip(rows) {
            let from = if from.is_empty() { vec![] } else { vec![from.to_owned()] };
            view.graph.parts.push(GraphPart { name: name.into(), role: role.into(), from, ..GraphPart::default() });
            view.parts.push(PartFacts::default());
            let mut counted = PartStatus { name: name.into(), ..PartStatus::default() };
            counted.counts.rows_per_second = rows;
            match role {
                "source" => view.status.sources.push(counted),
                "stage" => view.status.stages.push(counted),
                _ => view.status.sinks.push(counted),
            }
        }
        ShownJob { view, ..ShownJob::default() }
    }

    fn names(state: &ViewState) -> Vec<String> {
        state.lines().iter().map(|line| format!("{}{}", line.branch.lines, line.now.part.name)).collect()
    }

    #[test]
    fn keys_choose_sort_open_and_end() {
        let mut state = ViewState::default();
        assert!(state.press(Key::Down) && state.press(Key::End), "also where there is nothing yet");
        state.take(job(&[1], [5, 20, 10]));
        assert_eq!(names(&state), ["in", "└ words", "  └ out"]);
        state.press(Key::Char('j'));
        assert_eq!(state.chosen(&state.lines()), 1);
        state.press(Key::Char('s'));
        state.press(Key::Char('s'));
        assert_eq!((names(&state), state.sort.keyword()), (vec!["words".into(), "out".into(), "in".into()], "rows/s"));
        assert_eq!(state.chosen(&state.lines()), 0, "what is chosen stays chosen");
        state.press(Key::Enter);
        state.press(Key::Down);
        assert_eq!(state.shown, ScreenView::Details(1));
        assert!(state.press(Key::Escape));
        assert_eq!(state.shown, ScreenView::Parts);
        state.press(Key::Char('?'));
        assert_eq!(state.shown, ScreenView::Help(0));
        assert!(state.press(Key::Escape) && !state.press(Key::Escape));
        assert!(!state.press(Key::Char('q')));
        assert!(!state.press(Key::Interrupt));
    }

    #[test]
    fn what_is_chosen_is_seen() {
        let mut state = ViewState::default();
        assert_eq!(state.first(0, 0, 0), 0);
        assert_eq!((state.first(9, 20, 5), state.first(7, 20, 5), state.first(2, 20, 5)), (5, 5, 2));
        assert_eq!(state.first(2, 3, 5), 0, "there is room for all");
    }

    #[test]
    fn a_job_that_came_back_is_noticed() {
        let mut state = ViewState::default();
        state.take(job(&[1, 2], [0; 3]));
        state.take(job(&[2, 3], [0; 3]));
        assert_eq!(state.restarts, 0, "one of two processes is another run of the same job");
        state.take(job(&[4, 5], [0; 3]));
        assert_eq!((state.restarts, state.restarted_us), (1, 7));
    }
}
