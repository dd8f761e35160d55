//! Instances of a plugin: they are made, called under their limits, and thrown away.

use super::account::Account;
use super::bindings::Returned;
use super::failure::{self, CallFailure, Identity};
use super::guest::{Guest, Stage, Timers};
use super::load::Loaded;
use super::{Counted, Counters, Metering, engine};
use crate::error::Error;
use crate::ids::BatchId;
use crate::job::spec::PluginLimits;
use crate::limits::{PLUGIN_CALLS_PER_INSTANCE_MAX, PLUGIN_FUEL_PER_SECOND};
use std::sync::Arc;
use wasmtime::Store;
use wasmtime::component::{ComponentExportIndex, ComponentNamedList, Instance, Lift, Lower};

/// Calls functions of one plugin under one set of limits, in instances that live as long as they should.
pub struct Instances {
    pub loaded: Arc<Loaded>,
    pub identity: Arc<Identity>,
    pub limits: PluginLimits,
    pub keep: bool,
    pub stage: Arc<Stage>,
    live: Option<Live>,
    /// Timers of the call: put in before, taken out after it.
    pub timers: Timers,
    /// The batch time of the calls to come, in microseconds.
    pub time_us: i64,
    counted: Counted,
    /// What calls cost.
    pub account: Account,
}

struct Live {
    store: Store<Guest>,
    instance: Instance,
    calls: u64,
}

impl Instances {
    /// No instance yet.
    pub fn new(loaded: Arc<Loaded>, identity: Identity, stage: Stage, limits: PluginLimits, keep: bool) -> Instances {
        let (identity, stage) = (Arc::new(identity), Arc::new(stage));
        Instances {
            loaded,
            identity,
            limits,
            keep,
            stage,
            live: None,
            timers: Timers::default(),
            time_us: 0,
            counted: Counted::new(),
            account: Account::default(),
        }
    }

    /// Calls the function at `index`, in `batch` or, without one, for `describe`.
    pub fn call<P, R>(
        &mut self,
        batch: Option<u64>,
        index: &ComponentExportIndex,
        arguments: P,
    ) -> Result<R, CallFailure>
    where
        P: ComponentNamedList + Lower,
        Returned<R>: ComponentNamedList + Lift,
    {
        let mut live = match self.live.take() {
            Some(live) => live,
            None => self.start(batch)?,
        };
        live.calls += 1;
        live.store.data_mut().begin(batch, self.time_us);
        live.store.data_mut().timers = std::mem::take(&mut self.timers);
        self.meter(&mut live.store).map_err(CallFailure::other)?;
        let called = live
            .instance
            .get_typed_func::<P, Returned<R>>(&mut live.store, index)
            .and_then(|function| function.call(&mut live.store, arguments));
        self.counted = live.store.data_mut().end();
        self.timers = std::mem::take(&mut live.store.data_mut().timers);
        match called {
            Ok((Ok(result),)) => {
                let memory_low = live.store.data().memory.bytes <= self.limits.memory_bytes_max / 2;
                if self.keep && memory_low && live.calls < PLUGIN_CALLS_PER_INSTANCE_MAX {
                    self.live = Some(live);
                }
                Ok(result)
            }
            Ok((Err(error),)) => Err(CallFailure::returned(&self.identity, batch, error)),
            Err(error) => Err(CallFailure::trapped(&self.identity, &self.limits, live.store.data(), &error)),
        }
    }

    /// Ends a call whose result was checked: only a call that succeeded counts, and leaves its instance alive.
    pub fn settle<T>(
        &mut self,
        batch: Option<u64>,
        counters: &Counters,
        checked: Result<T, String>,
    ) -> Result<T, CallFailure> {
        let counted = std::mem::take(&mut self.counted);
        match checked {
            Ok(result) => {
                counters.merge(BatchId(batch.unwrap_or_default()), counted);
                Ok(result)
            }
            Err(words) => {
                self.live = None;
                Err(CallFailure::invalid(&self.identity, batch, &words))
            }
        }
    }

    /// Gives a call the time or the fuel that it may use.
    fn meter(&self, store: &mut Store<Guest>) -> Result<(), Error> {
        match self.loaded.machine.kind.metering {
            Metering::None => {}
            Metering::Epochs => store.set_epoch_deadline(engine::ticks(self.limits.time_max)),
            Metering::Fuel => store.set_fuel(fuel(&self.limits)).map_err(|e| Error::bug(format!("fuel: {e:#}")))?,
        }
        Ok(())
    }

    fn start(&self, batch: Option<u64>) -> Result<Live, CallFailure> {
        let guest = Guest::new(self.identity.clone(), self.stage.clone(), self.limits);
        let mut store = Store::new(self.loaded.pre.engine(), guest);
        store.limiter(|guest| guest);
        store.data_mut().begin(batch, self.time_us);
        self.meter(&mut store).map_err(CallFailure::other)?;
        // wasmtime counts what a call hands to the host before it copies it.
        store.set_hostcall_fuel(usize::try_from(self.limits.output_bytes_max).unwrap_or(usize::MAX));
        match self.loaded.pre.instantiate(&mut store) {
            Ok(instance) => Ok(Live { store, instance, calls: 0 }),
            Err(error) if store.data().memory.refused || error.is::<wasmtime::Trap>() => {
                Err(CallFailure::trapped(&self.identity, &self.limits, store.data(), &error))
            }
            Err(error) => {
                let (who, when) = (self.identity.who(), failure::when(batch));
                let words = format!("{who}: no instance could be made {when}: {error:#}");
                Err(CallFailure::other(Error::environment(words)))
            }
        }
    }
}

/// Instructions that a call may run.
pub fn fuel(limits: &PluginLimits) -> u64 {
    let seconds = limits.time_max.as_secs_f64();
    let of_time = if seconds > 0.0 { (seconds * PLUGIN_FUEL_PER_SECOND as f64) as u64 } else { u64::MAX };
    limits.fuel_max.unwrap_or(of_time)
}
