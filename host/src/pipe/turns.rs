//! Several threads process numbered portions, and emit the results in the order of the numbers.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The target of the results, and the number of the next turn.
pub struct Turns<T> {
    state: Mutex<State<T>>,
    moved: Condvar,
}

struct State<T> {
    /// The number of the next portion.
    next: u64,
    /// Whether no more turns are given.
    closed: bool,
    target: T,
}

impl<T> Turns<T> {
    /// Creates it. Portion 0 is next.
    pub fn new(target: T) -> Turns<T> {
        Turns { state: Mutex::new(State { next: 0, closed: false, target }), moved: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the target, out of turn.
    pub fn look<L>(&self, look: impl FnOnce(&T) -> L) -> L {
        look(&self.lock().target)
    }

    /// Waits for the turn of this portion, and works. An error closes it for later portions. Returns `None` if it is
    /// closed.
    pub fn take<W, E>(&self, number: u64, work: impl FnOnce(&mut T) -> Result<W, E>) -> Option<Result<W, E>> {
        let mut state = self.lock();
        while state.next != number && !state.closed {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return None;
        }
        let worked = work(&mut state.target);
        (state.next, state.closed) = (number.saturating_add(1), worked.is_err());
        drop(state);
        self.moved.notify_all();
        Some(worked)
    }

    /// Ends all later turns, and works.
    pub fn close(&self, work: impl FnOnce(&mut T)) {
        let mut state = self.lock();
        state.closed = true;
        work(&mut state.target);
        drop(state);
        self.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;

    #[test]
    fn portions_are_put_out_in_order_up_to_the_first_error() {
        let turns = Arc::new(Turns::new(Vec::new()));
        let threads = [7, 3, 0, 5, 1, 6, 2, 4].map(|number| {
            let turns = turns.clone();
            let work = move |out: &mut Vec<u64>| {
                out.push(number);
                if number == 5 { Err("five") } else { Ok(number) }
            };
            thread::spawn(move || (number, turns.take(number, work)))
        });
        for thread in threads {
            let (number, taken) = thread.join().unwrap();
            let expected = match number {
                0..5 => Some(Ok(number)),
                5 => Some(Err("five")),
                _ => None,
            };
            assert_eq!(taken, expected);
        }
        assert_eq!(turns.look(Vec::clone), [0, 1, 2, 3, 4, 5]);
    }
}
