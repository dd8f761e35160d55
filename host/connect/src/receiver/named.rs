//! A position that is stored in a name: for positions of other systems that are not numbers.

use millstream_rows::batch::position::{Position, Positions};

/// The names under which such a position is stored.
#[derive(Default)]
pub struct NamedPosition {
    /// The last one is the current position.
    names: Vec<String>,
    /// Increases with each move, so that the newest of several names is known.
    count: u64,
}

impl NamedPosition {
    /// Restores the position from those names that match `matches`.
    pub fn restore(from: &Positions, matches: impl Fn(&str) -> bool) -> NamedPosition {
        let found = from.iter().filter(|(name, _)| matches(name));
        let mut found: Vec<(u64, &String)> = found.map(|(name, at)| (at.offset, name)).collect();
        found.sort_unstable();
        let count = found.last().map_or(0, |(count, _)| *count);
        NamedPosition { names: found.into_iter().map(|(_, name)| name.clone()).collect(), count }
    }

    /// Returns all names that may exist, the current one last.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Changes the name; `None` removes it. Returns the position changes to save.
    pub fn rename(&mut self, name: Option<String>) -> Vec<(String, Position)> {
        self.count += 1;
        let old = std::mem::take(&mut self.names).into_iter().filter(|old| Some(old) != name.as_ref());
        let mut moves: Vec<(String, Position)> = old.map(|old| (old, Position::GONE)).collect();
        if let Some(name) = name {
            moves.push((name.clone(), Position { offset: self.count, mark: -1 }));
            self.names.push(name);
        }
        moves
    }
}
