//! Source locations of a call, which an SDK reports as lines of the log; see [`super::traced`].

use crate::limits::{PLUGIN_CALL_LOCATIONS_MAX, PLUGIN_MESSAGE_BYTES_MAX};
use millstream_base::shown::printable;
use std::collections::HashMap;

/// Prefix of the config of such a call, and of the SDK's reports.
pub const SIGN: char = '\u{1}';

/// The source locations that a call reported.
#[derive(Debug, Default)]
pub struct CallLocations {
    /// The call stack of each location when it was last reported.
    known: HashMap<String, String>,
    /// The last location.
    last: Option<String>,
}

impl CallLocations {
    /// Takes a line that was written to the log.
    pub fn receive(&mut self, line: &str) {
        let Some(report) = line.strip_prefix(SIGN) else { return };
        let (location, calls) =
            report.split_once('\n').map_or((report, None), |(location, calls)| (location, Some(calls)));
        match calls {
            Some(calls) => {
                // Locations that recur are reported again.
                if self.known.len() >= PLUGIN_CALL_LOCATIONS_MAX {
                    self.known.clear();
                }
                self.known.insert(location.to_owned(), calls.to_owned());
            }
            None if self.known.contains_key(location) => {}
            None => return,
        }
        match &mut self.last {
            Some(last) if last == location => {}
            Some(last) => location.clone_into(last),
            None => self.last = Some(location.to_owned()),
        }
    }

    /// The call stack of the last location; `None` if none was reported.
    pub fn backtrace(&self) -> Option<String> {
        let stack = printable(self.known.get(self.last.as_ref()?)?, PLUGIN_MESSAGE_BYTES_MAX);
        Some(stack.trim_end().to_owned()).filter(|stack| !stack.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_that_was_told_last_is_the_answer() {
        let mut locations = CallLocations::default();
        assert_eq!(locations.backtrace(), None);
        locations.receive("a line that a plugin logs");
        locations.receive("\u{1}7");
        assert_eq!(locations.backtrace(), None, "it was not said what 7 is");
        locations.receive("\u{1}1\na\n  b\n");
        locations.receive("\u{1}2\nc");
        assert_eq!(locations.backtrace().as_deref(), Some("c"));
        locations.receive("\u{1}1");
        assert_eq!(locations.backtrace().as_deref(), Some("a\n  b"));
        locations.receive("\u{1}1\nd\u{1b}[2J");
        assert!(locations.backtrace().is_some_and(|stack| stack.starts_with('d') && !stack.contains('\u{1b}')));
    }

    #[test]
    fn what_is_kept_of_places_is_bounded() {
        let mut locations = CallLocations::default();
        for location in 0..PLUGIN_CALL_LOCATIONS_MAX + 10 {
            locations.receive(&format!("\u{1}{location}\nat {location}"));
        }
        assert_eq!(locations.known.len(), 10);
        assert_eq!(locations.backtrace(), Some(format!("at {}", PLUGIN_CALL_LOCATIONS_MAX + 9)));
    }
}
