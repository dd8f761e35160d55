//! Where a call stood that took too long, in lines of the author's code. An engine inside a component, as CPython or QuickJS,
//! shows only its own functions to the host. So the call is made once more, in an instance of its own and for a short while,
//! and the SDK tells all the time where it stands. What it told last is the answer; nothing else of that call is used.
//!
//! That it is such a call the SDK sees by the config, which then has [`SIGN`] before it: no JSON begins so, and asking costs
//! other calls nothing. It tells places as lines of the log that begin with the same sign: `\u{1}12` says that it stands at
//! place 12, and `\u{1}12\n…` with which calls it has come there as well. A component that can do this has a section
//! ([`TRACES`](crate::sections::section::TRACES)) that says so.

use super::Counters;
use super::attempt::Attempts;
use super::engine::Metering;
use super::failure::{CallFailure, Trap, printable};
use super::instances::Instances;
use crate::limits::{PLUGIN_FUEL_PER_SECOND, PLUGIN_PLACES_MAX, PLUGIN_TRACE_TIME_MS_MAX, PLUGIN_WORDS_BYTES_MAX};
use millstream_base::job::spec::PluginLimits;
use std::collections::HashMap;
use std::time::Duration;

/// Stands before the config of such a call, and before what the SDK tells.
pub const SIGN: char = '\u{1}';

/// What a call told of the places at which it stood.
#[derive(Debug, Default)]
pub struct CallPlaces {
    /// How it came to each place when it told that last.
    known: HashMap<String, String>,
    /// Where it stood last.
    last: Option<String>,
}

impl CallPlaces {
    /// Takes a line that was written to the log.
    pub fn hear(&mut self, line: &str) {
        let Some(told) = line.strip_prefix(SIGN) else { return };
        let (place, calls) = told.split_once('\n').map_or((told, None), |(place, calls)| (place, Some(calls)));
        match calls {
            Some(calls) => {
                // Those that it stands at again and again it tells again.
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

    /// How it came to where it stood last; `None`: it told nothing.
    pub fn story(&self) -> Option<String> {
        let story = printable(self.known.get(self.last.as_ref()?)?, PLUGIN_WORDS_BYTES_MAX);
        Some(story.trim_end().to_owned()).filter(|story| !story.is_empty())
    }
}

/// Limits of such a call: those of any, but for the time, or the instructions, which are as many and no more than a few seconds'.
fn limits(limits: &PluginLimits) -> PluginLimits {
    let most = Duration::from_millis(PLUGIN_TRACE_TIME_MS_MAX);
    let fuel_most = PLUGIN_FUEL_PER_SECOND / 1000 * PLUGIN_TRACE_TIME_MS_MAX;
    let time_max = if limits.time_max.is_zero() { most } else { limits.time_max.min(most) };
    PluginLimits { time_max, fuel_max: limits.fuel_max.map(|fuel| fuel.min(fuel_most)), ..*limits }
}

/// Makes a call, and once more where it takes too long, to see where it stands. `call` is given the config to pass.
pub fn located<T>(
    instances: &mut Instances,
    config: &str,
    call: impl Fn(&mut Instances, &str) -> Result<T, CallFailure>,
) -> Result<T, CallFailure> {
    let failure = match call(instances, config) {
        Err(failure) => failure,
        made => return made,
    };
    let Some(mut again) = tracing(instances, &failure) else { return Err(failure) };
    let called = call(&mut again, &signed(config)).map(drop);
    Err(seen(failure, &again, called))
}

impl Attempts {
    /// The same for a call of a stage.
    pub fn located<T>(&mut self, call: impl Fn(&mut Attempts) -> Result<T, CallFailure>) -> Result<T, CallFailure> {
        let failure = match call(self) {
            Err(failure) => failure,
            made => return made,
        };
        let Some(mut again) = tracing(&self.instances, &failure) else { return Err(failure) };
        let mut config = signed(&self.config);
        let counters = self.count_for(Counters::default());
        std::mem::swap(&mut self.instances, &mut again);
        std::mem::swap(&mut self.config, &mut config);
        let called = call(self).map(drop);
        std::mem::swap(&mut self.config, &mut config);
        std::mem::swap(&mut self.instances, &mut again);
        self.count_for(counters);
        Err(seen(failure, &again, called))
    }
}

fn signed(config: &str) -> String {
    format!("{SIGN}{config}")
}

fn took_too_long(failure: &CallFailure) -> bool {
    matches!(failure.trap, Some(Trap::Time | Trap::Fuel))
}

/// What makes a call once more. `None` where nothing is to be seen: the call failed otherwise, the plugin cannot tell, or a
/// second call could have an effect outside.
fn tracing(instances: &Instances, failure: &CallFailure) -> Option<Instances> {
    if !took_too_long(failure) || !instances.callee.loaded.traces || instances.callee.stage.grant.http.is_some() {
        return None;
    }
    Some(instances.beside(limits(&instances.callee.limits)))
}

/// The failure, with where the call stood when it was made again.
fn seen(failure: CallFailure, again: &Instances, called: Result<(), CallFailure>) -> CallFailure {
    match (called, &again.last.story) {
        (Err(other), Some(story)) if took_too_long(&other) => {
            let after = match again.callee.loaded.machine.kind.metering {
                Metering::Fuel => "After a while".to_owned(),
                _ => format!("After {:?}", again.callee.limits.time_max),
            };
            let head = format!(
                "Called a second time with the same rows, only to see where it is (nothing else of that call is used). {after} \
                 it was here:"
            );
            failure.with_calls(&head, story, &again.callee.limits)
        }
        // What is told of a rejected row must be the same when its batch runs again, so the batch has to.
        (Err(other), _) if other.trap.is_none() && again.callee.loaded.machine.kind.metering == Metering::Fuel => other,
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_that_was_told_last_is_the_answer() {
        let mut places = CallPlaces::default();
        assert_eq!(places.story(), None);
        places.hear("a line that somebody logs");
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

    #[test]
    fn its_limits_are_those_of_the_call_or_less() {
        let of = |time_ms: u64, fuel_max| {
            let given = PluginLimits { time_max: Duration::from_millis(time_ms), fuel_max, ..PluginLimits::default() };
            let limits = limits(&given);
            (limits.time_max.as_millis(), limits.fuel_max)
        };
        assert_eq!(of(100, Some(5)), (100, Some(5)));
        let most = u128::from(PLUGIN_TRACE_TIME_MS_MAX);
        assert_eq!(of(0, None), (most, None));
        assert_eq!(of(60_000, Some(u64::MAX)), (most, Some(1_000_000 * PLUGIN_TRACE_TIME_MS_MAX)));
    }
}
