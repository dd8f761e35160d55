//! Where a call stood that took too long, in lines of the author's code. An engine inside a component, as CPython or QuickJS,
//! shows only its own functions to the host. So the call is made once more, in an instance of its own and for a short while,
//! and the SDK tells all the time where it stands. What it told last is the answer; nothing else of that call is used.
//!
//! That it is such a call the SDK sees by the config, which then has [`SIGN`] before it: no JSON begins so, and asking costs
//! other calls nothing. It tells places as lines of the log that begin with the same sign: `\u{1}12` says that it stands at
//! place 12, and `\u{1}12\n…` with which calls it has come there as well. A component that can do this has a section
//! ([`TRACES`](crate::sections::section::TRACES)) that says so.

use super::attempt::Attempts;
use super::code_kind::Metering;
use super::counters::Counters;
use super::failure::CallFailure;
use super::instances::Instances;
use super::places::SIGN;
use super::trap::Trap;
use crate::limits::{PLUGIN_FUEL_PER_SECOND, PLUGIN_TRACE_TIME_MS_MAX};
use millstream_base::job::spec::PluginLimits;
use std::time::Duration;

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
                "Called again with the same rows, only to get this backtrace (the result is discarded). {after} it \
                 was here:"
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
