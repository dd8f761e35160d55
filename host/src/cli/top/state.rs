//! What somebody looks at, and what keys change of it. Pure.

use super::keys::Key;
use super::rates::{Cost, CostRates};
use super::tree::{self, Branch};
use crate::page::part::{self, PartNow};
use crate::page::view::{JobState, JobView};
use millstream_metrics::batch_facts::BatchFacts;
use millstream_metrics::refused::RefusedRow;

/// What the screen knows of the job now.
#[derive(Clone, Debug, Default)]
pub struct ShownJob {
    /// How it stands.
    pub view: JobView,
    /// The last batch that is committed.
    pub last: Option<BatchFacts>,
    /// The last rejected and late rows, the oldest first.
    pub refused: Vec<RefusedRow>,
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
    Refused,
    Name,
}

impl Sort {
    const ALL: [(Sort, &str); 7] = [
        (Sort::Graph, "graph"),
        (Sort::Work, "work"),
        (Sort::Rate, "rows/s"),
        (Sort::Guest, "guest"),
        (Sort::Memory, "memory"),
        (Sort::Refused, "refused"),
        (Sort::Name, "name"),
    ];

    /// In a word.
    pub fn word(self) -> &'static str {
        Sort::ALL.iter().find(|(sort, _)| *sort == self).map_or("", |(_, word)| word)
    }

    fn next(self, steps: usize) -> Sort {
        let at = Sort::ALL.iter().position(|(sort, _)| *sort == self).unwrap_or(0);
        Sort::ALL[(at + steps) % Sort::ALL.len()].0
    }
}

/// What is on the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScreenView {
    #[default]
    Parts,
    /// One part, from this line on.
    Details(usize),
    Help(usize),
}

/// The job on the screen, and what of it is looked at.
#[derive(Default)]
pub struct ViewState {
    pub told: ShownJob,
    pub shown: ScreenView,
    pub sort: Sort,
    /// The part that is chosen, by its name and role: it may have another place when the job comes back.
    chosen: Option<(String, String)>,
    /// The first line of the parts that is seen.
    first: usize,
    pub costs: CostRates,
    pids: Vec<u32>,
    /// How often the job was started again since somebody looks, and when last.
    pub comebacks: u64,
    pub came_back_us: i64,
}

/// A line of the parts.
pub struct Line<'a> {
    pub branch: Branch,
    pub now: PartNow<'a>,
    pub cost: Cost,
}

impl ViewState {
    /// Takes over what is told now.
    pub fn take(&mut self, told: ShownJob) {
        if told.view.state == JobState::Running {
            let mut pids = told.view.pids.clone();
            pids.sort_unstable();
            if !self.pids.is_empty() && !pids.iter().any(|pid| self.pids.contains(pid)) {
                self.comebacks += 1;
                self.came_back_us = told.view.now_us;
                self.costs = CostRates::default();
            }
            self.pids = pids;
            self.costs.take(&told.view);
        }
        self.told = told;
    }

    /// The parts in their order.
    pub fn lines(&self) -> Vec<Line<'_>> {
        let view = &self.told.view;
        let parts = part::all(view);
        let branches = tree::of(&view.graph.parts);
        let mut lines: Vec<Line<'_>> = branches
            .into_iter()
            .filter_map(|branch| {
                let now = *parts.get(branch.place)?;
                Some(Line { cost: self.costs.of(view, branch.place), now, branch })
            })
            .collect();
        if self.sort != Sort::Graph {
            lines.iter_mut().for_each(|line| line.branch.lines.clear());
            lines.sort_by(|one, other| self.order(one, other).then(one.branch.place.cmp(&other.branch.place)));
        }
        lines
    }

    fn order(&self, one: &Line<'_>, other: &Line<'_>) -> std::cmp::Ordering {
        // The largest first, but for names.
        match self.sort {
            Sort::Graph => std::cmp::Ordering::Equal,
            Sort::Work => other.now.busy.total_cmp(&one.now.busy),
            Sort::Rate => other.now.counted.counts.rows_per_second.cmp(&one.now.counted.counts.rows_per_second),
            Sort::Guest => other.cost.guest.total_cmp(&one.cost.guest),
            Sort::Memory => other.cost.memory_bytes_max.cmp(&one.cost.memory_bytes_max),
            Sort::Refused => refused(&other.now).cmp(&refused(&one.now)),
            Sort::Name => one.now.part.name.cmp(&other.now.part.name),
        }
    }

    /// Which of these lines is chosen: the first one as long as nobody has chosen another.
    pub fn chosen(&self, lines: &[Line<'_>]) -> usize {
        let is = |line: &Line<'_>| {
            let part = line.now.part;
            self.chosen.as_ref().is_some_and(|(name, role)| *name == part.name && *role == part.role)
        };
        lines.iter().position(is).unwrap_or(0)
    }

    /// The first line that is seen where there is room for so many.
    pub fn first(&mut self, chosen: usize, count: usize, room: usize) -> usize {
        let room = room.max(1);
        self.first = self.first.clamp((chosen + 1).saturating_sub(room), chosen).min(count.saturating_sub(room));
        self.first
    }

    fn choose(&mut self, step: isize) {
        let lines = self.lines();
        let place = self.chosen(&lines).saturating_add_signed(step).min(lines.len().saturating_sub(1));
        let chosen = lines.get(place).map(|line| (line.now.part.name.clone(), line.now.part.role.clone()));
        self.chosen = chosen;
    }

    /// Does what a key says; whether to go on.
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

/// Rows that a part refused or found late.
pub fn refused(now: &PartNow<'_>) -> u64 {
    now.counted.counts.rejected.saturating_add(now.counted.counts.late)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_runtime::control::{GraphPart, PartFacts, PartStatus};

    fn told(pids: &[u32], rows: [u64; 3]) -> ShownJob {
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

    fn names(look: &ViewState) -> Vec<String> {
        look.lines().iter().map(|line| format!("{}{}", line.branch.lines, line.now.part.name)).collect()
    }

    #[test]
    fn keys_choose_sort_open_and_end() {
        let mut look = ViewState::default();
        assert!(look.press(Key::Down) && look.press(Key::End), "also where there is nothing yet");
        look.take(told(&[1], [5, 20, 10]));
        assert_eq!(names(&look), ["in", "└ words", "  └ out"]);
        look.press(Key::Char('j'));
        assert_eq!(look.chosen(&look.lines()), 1);
        look.press(Key::Char('s'));
        look.press(Key::Char('s'));
        assert_eq!((names(&look), look.sort.word()), (vec!["words".into(), "out".into(), "in".into()], "rows/s"));
        assert_eq!(look.chosen(&look.lines()), 0, "what is chosen stays chosen");
        look.press(Key::Enter);
        look.press(Key::Down);
        assert_eq!(look.shown, ScreenView::Details(1));
        assert!(look.press(Key::Escape));
        assert_eq!(look.shown, ScreenView::Parts);
        look.press(Key::Char('?'));
        assert_eq!(look.shown, ScreenView::Help(0));
        assert!(look.press(Key::Escape) && !look.press(Key::Escape));
        assert!(!look.press(Key::Char('q')));
        assert!(!look.press(Key::Interrupt));
    }

    #[test]
    fn what_is_chosen_is_seen() {
        let mut look = ViewState::default();
        assert_eq!(look.first(0, 0, 0), 0);
        assert_eq!((look.first(9, 20, 5), look.first(7, 20, 5), look.first(2, 20, 5)), (5, 5, 2));
        assert_eq!(look.first(2, 3, 5), 0, "there is room for all");
    }

    #[test]
    fn a_job_that_came_back_is_noticed() {
        let mut look = ViewState::default();
        look.take(told(&[1, 2], [0; 3]));
        look.take(told(&[2, 3], [0; 3]));
        assert_eq!(look.comebacks, 0, "one of two processes is another run of the same job");
        look.take(told(&[4, 5], [0; 3]));
        assert_eq!((look.comebacks, look.came_back_us), (1, 7));
    }
}
