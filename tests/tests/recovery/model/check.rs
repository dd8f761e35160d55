//! What may happen when, and what must hold.

use super::state::{BATCHES, Content, Job, Medium, Protocol, Starter, State, Store, Wrong};
use super::steps::{Action, Step, next};
use stateright::{Model, Property};

impl Model for Protocol {
    type State = State;
    type Action = Action;

    /// With a checkpoint after every batch of which only the newest is kept, and either of the two crashes survived; with a
    /// checkpoint after the first and the third, both of which are kept. With three crashes, none is survived.
    fn init_states(&self) -> Vec<State> {
        if self.crashes > 2 {
            return vec![initial(0b1110, 1, 0), initial(0b1010, 3, 0)];
        }
        vec![initial(0b1110, 1, 1), initial(0b1110, 1, 2), initial(0b1010, 3, 1)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.wrong.is_some() {
            return;
        }
        if state.crashes < self.crashes && (state.job.is_some() || state.starter.is_some()) {
            actions.push(Action::Crash);
        }
        if state.starter.is_some() {
            actions.push(Action::Start);
        }
        if let Some(job) = &state.job {
            // Its own steps in all orders unless that is covered elsewhere; see the bounds.
            let one_order = state.crashes == self.crashes || state.crashes + 1 < state.survived || state.old.is_some();
            let orders = if one_order { 1 } else { usize::MAX };
            actions.extend(self.steps(state, job).take(orders).map(Action::Job));
        }
        if let Some(job) = &state.old {
            actions.extend(self.steps(state, job).map(Action::Old));
            actions.push(Action::OldEnds);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        Some(next(self, last, action))
    }

    fn properties(&self) -> Vec<Property<Protocol>> {
        fn not(state: &State, wrong: Wrong) -> bool {
            state.wrong != Some(wrong)
        }
        vec![
            Property::always("no row is lost, none is committed twice", |_, state| not(state, Wrong::Rows)),
            Property::always("state is that of all earlier input", |_, state| not(state, Wrong::State)),
            Property::always("a start is never refused", |_, state| not(state, Wrong::Refused)),
            Property::always("what is named or needed is never deleted", |_, state| not(state, Wrong::Deleted)),
            Property::always("who lost the job changes nothing", |_, state| not(state, Wrong::Fenced)),
            Property::always("the job ends when all is committed", |protocol: &Protocol, state: &State| {
                let mut actions = Vec::new();
                state.wrong.is_some() || complete(state) || {
                    protocol.actions(state, &mut actions);
                    !actions.is_empty()
                }
            }),
            Property::sometimes("all is committed after all crashes", |protocol: &Protocol, state: &State| {
                complete(state) && state.crashes == protocol.crashes
            }),
            Property::sometimes("received rows are taken over", |_, state| {
                let took = |content: &Content| content.found > content.ends[1][usize::from(content.after)];
                complete(state) && state.store.contents.iter().any(took)
            }),
            Property::sometimes("a process learns that it lost its job", |protocol: &Protocol, state: &State| {
                let tries = |job: &Job, step| protocol.steps(state, job).any(|next| next == step);
                // If no crash is survived, there is no older process.
                state.survived == 0 && complete(state)
                    || state.old.as_ref().is_some_and(|job| {
                        tries(job, Step::Commit(0)) && state.sinks[0].generation > job.generation
                            || tries(job, Step::Publish) && state.store.version > job.version
                    })
            }),
        ]
    }
}

/// Both sinks have all batches.
fn complete(state: &State) -> bool {
    state.sinks.iter().all(|sink| sink.marker == BATCHES)
}

/// An empty store, and the first start.
fn initial(barriers: u8, kept: u8, survived: u8) -> State {
    State {
        barriers,
        kept,
        survived,
        store: Store {
            manifest: None,
            version: 0,
            files: 0,
            pieces: 0,
            contents: Default::default(),
            received: Default::default(),
        },
        sinks: [Medium::default(); 2],
        job: None,
        old: None,
        starter: Some(Starter::new()),
        crashes: 0,
        wrong: None,
    }
}
