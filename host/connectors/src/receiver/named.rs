//! A position whose name says where a source goes on: for words of others, for which there is no number.

use millstream_base::batch::position::{Position, Positions};

/// The names under which such a position stands.
#[derive(Default)]
pub struct NamedPosition {
    /// The last one is the one that counts.
    names: Vec<String>,
    /// Larger with each move, so that of several names the newest is known.
    count: u64,
}

impl NamedPosition {
    /// As positions tell, by those names that are ones.
    pub fn of(from: &Positions, is_one: impl Fn(&str) -> bool) -> NamedPosition {
        let found = from.iter().filter(|(name, _)| is_one(name));
        let mut found: Vec<(u64, &String)> = found.map(|(name, at)| (at.offset, name)).collect();
        found.sort_unstable();
        let count = found.last().map_or(0, |(count, _)| *count);
        NamedPosition { names: found.into_iter().map(|(_, name)| name.clone()).collect(), count }
    }

    /// All names that there may be.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// It has this name from now on; `None`: there is none any more. What that moves.
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
