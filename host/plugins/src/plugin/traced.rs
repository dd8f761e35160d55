//! Finds the source line of a call that took too long. An interpreter inside a component, such as CPython or QuickJS, shows only its own
//! functions to the host. So the call is repeated in a separate instance for a short time, and the SDK continuously reports its location.
//! The last report is the result; nothing else of that call is used.
//!
//! The SDK recognizes such a call by the config, which has [`SIGN`] as its prefix: no JSON begins with it, so other calls pay nothing. It
//! reports locations as log lines with the same prefix: `\u{1}12` for location 12, and `\u{1}12\n…` with the call stack as well. A
//! component that supports this has the section [`TRACES`](crate::sections::section::TRACES).

use super::attempt::Attempts;
use super::call_locations::SIGN;
use super::code_kind::Metering;
use super::counters::Counters;
use super::failure::CallFailure;
use super::instances::Instances;
use super::trap::Trap;
use crate::limits::{PLUGIN_FUEL_PER_SECOND, PLUGIN_TRACE_TIME_MS_MAX};
use millstream_job::spec::PluginLimits;
use std::time::Duration;

/// The limits of such a call: the usual ones, but at most a few seconds of time or fuel.
fn limits(limits: &PluginLimits) -> PluginLimits {
    let most = Duration::from_millis(PLUGIN_TRACE_TIME_MS_MAX);
    let fuel_most = PLUGIN_FUEL_PER_SECOND / 1000 * PLUGIN_TRACE_TIME_MS_MAX;
    let time_max = if limits.time_max.is_zero() { most } else { limits.time_max.min(most) };
    PluginLimits { time_max, fuel_max: limits.fuel_max.map(|fuel| fuel.min(fuel_most)), ..*limits }
}

/// Makes a call, and repeats it if it takes too long, to find its source line. `call` receives the config to pass.
pub fn call_located<T>(
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
    Err(with_source_line(failure, &again, called))
}

impl Attempts {
    /// Like [`located`], for a call of a stage.
    pub fn call_located<T>(
        &mut self,
        call: impl Fn(&mut Attempts) -> Result<T, CallFailure>,
    ) -> Result<T, CallFailure> {
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
        Err(with_source_line(failure, &again, called))
    }
}

fn signed(config: &str) -> String {
    format!("{SIGN}{config}")
}

fn took_too_long(failure: &CallFailure) -> bool {
    matches!(failure.trap, Some(Trap::Time | Trap::Fuel))
}

/// Returns the instances for a repeated call. `None` if it cannot help: the call failed in another way, the plugin does not support it, or
/// a second call could have an external effect.
fn tracing(instances: &Instances, failure: &CallFailure) -> Option<Instances> {
    if !took_too_long(failure) || !instances.callee.loaded.traces || instances.callee.stage.grant.http.is_some() {
        return None;
    }
    Some(instances.with_limits(limits(&instances.callee.limits)))
}

/// Adds the source line of the repeated call to the failure.
fn with_source_line(failure: CallFailure, again: &Instances, called: Result<(), CallFailure>) -> CallFailure {
    match (called, &again.last.backtrace) {
        (Err(other), Some(backtrace)) if took_too_long(&other) => {
            let after = match again.callee.loaded.machine.kind.metering {
                Metering::Fuel => "After a while".to_owned(),
                _ => format!("After {:?}", again.callee.limits.time_max),
            };
            let head = format!(
                "Called again with the same rows, only to get this backtrace (the result is discarded). {after} it \
                 was at:"
            );
            failure.with_calls(&head, backtrace, &again.callee.limits)
        }
        // The report on a rejected row must be the same on a replay, so the batch is replayed instead.
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
