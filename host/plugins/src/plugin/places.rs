//! Source locations of a call, which an SDK reports as lines of the log; see [`super::traced`].

use crate::limits::{PLUGIN_PLACES_MAX, PLUGIN_WORDS_BYTES_MAX};
use millstream_base::shown::printable;
use std::collections::HashMap;

/// Prefix of the config of such a call, and of the SDK's reports.
pub const SIGN: char = '\u{1}';

/// The source locations that a call reported.
#[derive(Debug, Default)]
pub struct CallPlaces {
    /// The call stack of each location when it was last reported.
    known: HashMap<String, String>,
    /// The last location.
    last: Option<String>,
}

impl CallPlaces {
    /// Takes a line that was written to the log.
    pub fn hear(&mut self, line: &str) {
        let Some(told) = line.strip_prefix(SIGN) else { return };
        let (place, calls) = told.split_once('\n').map_or((told, None), |(place, calls)| (place, Some(calls)));
        match calls {
            Some(calls) => {
                // Locations that recur are reported again.
                if self.known.len() >= PLUGIN_PLACES_MAX {
                    self.known.clear();
                }
                self.known.insert(place.to_owned(), calls.to_owned());
            }
            None if self.known.contains_key(place) => {}
            None => return,
        }
        match &mut self.last {
            Some(last) if last == place => {}
            Some(last) => place.clone_into(last),
            None => self.last = Some(place.to_owned()),
        }
    }

    /// The call stack of the last location; `None` if none was reported.
    pub fn story(&self) -> Option<String> {
        let story = printable(self.known.get(self.last.as_ref()?)?, PLUGIN_WORDS_BYTES_MAX);
        Some(story.trim_end().to_owned()).filter(|story| !story.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_that_was_told_last_is_the_answer() {
        let mut places = CallPlaces::default();
        assert_eq!(places.story(), None);
        places.hear("a line that a plugin logs");
        places.hear("\u{1}7");
        assert_eq!(places.story(), None, "it was not said what 7 is");
        places.hear("\u{1}1\na\n  b\n");
        places.hear("\u{1}2\nc");
        assert_eq!(places.story().as_deref(), Some("c"));
        places.hear("\u{1}1");
        assert_eq!(places.story().as_deref(), Some("a\n  b"));
        places.hear("\u{1}1\nd\u{1b}[2J");
        assert!(places.story().is_some_and(|story| story.starts_with('d') && !story.contains('\u{1b}')));
    }

    #[test]
    fn what_is_kept_of_places_is_bounded() {
        let mut places = CallPlaces::default();
        for place in 0..PLUGIN_PLACES_MAX + 10 {
            places.hear(&format!("\u{1}{place}\nat {place}"));
        }
        assert_eq!(places.known.len(), 10);
        assert_eq!(places.story(), Some(format!("at {}", PLUGIN_PLACES_MAX + 9)));
    }
}
