//! How far a stream or a poll has come, in the server's own words: the name of a position holds them.

use crate::limits::HTTP_PLACE_BYTES_MAX;
use crate::receiver::named::NamedPosition;
use millstream_base::batch::position::{Position, Positions};
use serde::{Deserialize, Serialize};

/// What the name of such a position begins with.
const MARK: &str = "at:";

/// An id or a cursor as JSON, in which a byte may become six, with a version or a next page beside it.
const WORDS_BYTES_MAX: usize = 8 * HTTP_PLACE_BYTES_MAX;

/// Where a source that fetches from a URL goes on.
#[derive(Default)]
pub struct FetchPosition {
    now: String,
    named: NamedPosition,
}

impl FetchPosition {
    /// As positions tell.
    pub fn of(from: &Positions) -> FetchPosition {
        let named = NamedPosition::of(from, |name| name.starts_with(MARK));
        let now = named.names().last().and_then(|name| name.strip_prefix(MARK)).unwrap_or_default().to_owned();
        FetchPosition { now, named }
    }

    /// The words; empty at the beginning.
    pub fn now(&self) -> &str {
        &self.now
    }

    /// It is there from now on. `false`: the words are too long to be kept.
    pub fn set(&mut self, now: &str) -> bool {
        if now.len() > WORDS_BYTES_MAX {
            return false;
        }
        now.clone_into(&mut self.now);
        true
    }

    /// What the rows that brought it here move.
    pub fn moves(&mut self) -> Vec<(String, Position)> {
        let name = format!("{MARK}{}", self.now);
        let names = self.named.names();
        if names == std::slice::from_ref(&name) || (self.now.is_empty() && names.is_empty()) {
            return Vec::new();
        }
        self.named.rename(Some(name).filter(|_| !self.now.is_empty()))
    }
}

/// What a poll has kept of the answer before, to ask for what is new only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousAnswer {
    /// `ETag`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// `Last-Modified`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<String>,
    /// What the next request says of what came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Path and query of the page that follows, at the source's own server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl PreviousAnswer {
    /// As a position tells.
    pub fn of(place: &FetchPosition) -> PreviousAnswer {
        serde_json::from_str(place.now()).unwrap_or_default()
    }

    /// As a position keeps it.
    pub fn words(&self) -> String {
        if *self == PreviousAnswer::default() { String::new() } else { serde_json::to_string(self).unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_base::batch::position::move_all;

    #[test]
    fn the_newest_name_counts_and_old_ones_go() {
        let mut positions = Positions::from([(String::new(), Position { offset: 3, mark: 0 })]);
        let mut place = FetchPosition::of(&positions);
        assert_eq!(place.now(), "");
        assert_eq!(place.moves(), Vec::new());
        for id in ["a", "b", "b", "a", "ü", "c"] {
            assert!(place.set(id));
            move_all(&mut positions, place.moves());
            assert_eq!((FetchPosition::of(&positions).now(), positions.len()), (id, 2));
        }
        // As a start puts them together that found a batch which does not count.
        positions.insert("at:later".into(), Position { offset: 99, mark: -1 });
        let mut place = FetchPosition::of(&positions);
        assert_eq!(place.now(), "later");
        place.set("d");
        move_all(&mut positions, place.moves());
        assert_eq!(positions.keys().collect::<Vec<_>>(), ["", "at:d"]);
        place.set("");
        move_all(&mut positions, place.moves());
        assert_eq!(FetchPosition::of(&positions).now(), "");
        assert!(!place.set(&"x".repeat(WORDS_BYTES_MAX + 1)));
    }

    #[test]
    fn what_is_known_of_an_answer_is_read_as_it_was_written() {
        let all = PreviousAnswer {
            etag: Some("\"x\"".into()),
            modified: None,
            cursor: Some("7".into()),
            next: Some("/p?2".into()),
        };
        let mut place = FetchPosition::default();
        place.set(&all.words());
        assert_eq!(PreviousAnswer::of(&place), all);
        place.set("{");
        assert_eq!(PreviousAnswer::of(&place), PreviousAnswer::default());
        assert_eq!(PreviousAnswer::default().words(), "");
    }
}
