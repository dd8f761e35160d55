//! The position of a stream or poll in the server's terms, stored in the name of a position.

use crate::limits::HTTP_POSITION_BYTES_MAX;
use millstream_connect::receiver::named::NamedPosition;
use millstream_rows::batch::position::{Position, Positions};
use serde::{Deserialize, Serialize};

/// Prefix of the name.
const MARK: &str = "at:";

/// Maximum length of an ID or cursor as JSON, in which a byte may become six, plus a version or a next page.
const POSITION_BYTES_MAX: usize = 8 * HTTP_POSITION_BYTES_MAX;

/// The position at which a source that fetches from a URL resumes.
#[derive(Default)]
pub struct FetchPosition {
    now: String,
    named: NamedPosition,
}

impl FetchPosition {
    /// Restores it from saved positions.
    pub fn restore(from: &Positions) -> FetchPosition {
        let named = NamedPosition::restore(from, |name| name.starts_with(MARK));
        let now = named.names().last().and_then(|name| name.strip_prefix(MARK)).unwrap_or_default().to_owned();
        FetchPosition { now, named }
    }

    /// Returns the current position; empty at the beginning.
    pub fn now(&self) -> &str {
        &self.now
    }

    /// Moves to a position. Returns false if it is too long to be kept.
    pub fn set(&mut self, now: &str) -> bool {
        if now.len() > POSITION_BYTES_MAX {
            return false;
        }
        now.clone_into(&mut self.now);
        true
    }

    /// Returns the position changes to save with the rows that led here.
    pub fn changes(&mut self) -> Vec<(String, Position)> {
        let name = format!("{MARK}{}", self.now);
        let names = self.named.names();
        if names == std::slice::from_ref(&name) || (self.now.is_empty() && names.is_empty()) {
            return Vec::new();
        }
        self.named.rename(Some(name).filter(|_| !self.now.is_empty()))
    }
}

/// State of the previous response, to request only what is new.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousResponse {
    /// `ETag`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// `Last-Modified`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<String>,
    /// The cursor for the next request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Path and query of the next page, on the source's own server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl PreviousResponse {
    /// Restores it from a position.
    pub fn from_position(position: &FetchPosition) -> PreviousResponse {
        serde_json::from_str(position.now()).unwrap_or_default()
    }

    /// Encodes it as a position.
    pub fn to_position(&self) -> String {
        if *self == PreviousResponse::default() {
            String::new()
        } else {
            serde_json::to_string(self).unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_rows::batch::position::move_all;

    #[test]
    fn the_newest_name_counts_and_old_ones_go() {
        let mut positions = Positions::from([(String::new(), Position { offset: 3, mark: 0 })]);
        let mut position = FetchPosition::restore(&positions);
        assert_eq!(position.now(), "");
        assert_eq!(position.changes(), Vec::new());
        for id in ["a", "b", "b", "a", "ü", "c"] {
            assert!(position.set(id));
            move_all(&mut positions, position.changes());
            assert_eq!((FetchPosition::restore(&positions).now(), positions.len()), (id, 2));
        }
        // As a startup combines them that found a batch without effect.
        positions.insert("at:later".into(), Position { offset: 99, mark: -1 });
        let mut position = FetchPosition::restore(&positions);
        assert_eq!(position.now(), "later");
        position.set("d");
        move_all(&mut positions, position.changes());
        assert_eq!(positions.keys().collect::<Vec<_>>(), ["", "at:d"]);
        position.set("");
        move_all(&mut positions, position.changes());
        assert_eq!(FetchPosition::restore(&positions).now(), "");
        assert!(!position.set(&"x".repeat(POSITION_BYTES_MAX + 1)));
    }

    #[test]
    fn what_is_known_of_an_answer_is_read_as_it_was_written() {
        let all = PreviousResponse {
            etag: Some("\"x\"".into()),
            modified: None,
            cursor: Some("7".into()),
            next: Some("/p?2".into()),
        };
        let mut position = FetchPosition::default();
        position.set(&all.to_position());
        assert_eq!(PreviousResponse::from_position(&position), all);
        position.set("{");
        assert_eq!(PreviousResponse::from_position(&position), PreviousResponse::default());
        assert_eq!(PreviousResponse::default().to_position(), "");
    }
}
