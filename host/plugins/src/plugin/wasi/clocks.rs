//! Virtual clocks, and waiting on them. The wall clock shows the batch time. The monotonic clock begins at 0 in each call. It advances a
//! little with each reading, so that loops that wait for time to pass end, and jumps when a plugin sleeps.

use super::Wasi;
use super::waiting::wait;
use crate::plugin::guest::Guest;
use std::collections::BTreeMap;
use std::time::Duration;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock::{self, Instant};
use wasmtime_wasi::p2::bindings::clocks::wall_clock::{self, Datetime};
use wasmtime_wasi::p2::bindings::io::poll::{Host as Polls, HostPollable as PollsOne};
use wasmtime_wasi::p2::bindings::sync::io::poll;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

/// How far a reading advances the monotonic clock, in nanoseconds.
const STEP_NS: u64 = 1_000_000;

/// The clocks of one instance.
#[derive(Default)]
pub struct GuestClocks {
    wall_us: u64,
    now_ns: u64,
    /// Times at which pollables of this clock are ready, by handle.
    timers: BTreeMap<u32, u64>,
}

/// The pollable of the clock in wasmtime, which never waits for it.
struct Timer;

#[wasmtime_wasi::async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {}
}

impl GuestClocks {
    /// A call begins.
    pub fn begin(&mut self, time_us: i64) {
        self.wall_us = u64::try_from(time_us).unwrap_or_default();
        self.now_ns = 0;
    }

    fn read(&mut self) -> u64 {
        let now = self.now_ns;
        self.now_ns = now.saturating_add(STEP_NS);
        now
    }

    fn sleep_until(&mut self, at_ns: u64) {
        self.now_ns = self.now_ns.max(at_ns);
    }
}

impl wall_clock::Host for Guest {
    fn now(&mut self) -> wasmtime::Result<Datetime> {
        let wall_us = self.wasi_call(0)?.guest_clocks.wall_us;
        Ok(Datetime { seconds: wall_us / 1_000_000, nanoseconds: (wall_us % 1_000_000) as u32 * 1_000 })
    }

    fn resolution(&mut self) -> wasmtime::Result<Datetime> {
        self.wasi_call(0)?;
        Ok(Datetime { seconds: 0, nanoseconds: 1_000 })
    }
}

impl monotonic_clock::Host for Guest {
    fn now(&mut self) -> wasmtime::Result<Instant> {
        Ok(self.wasi_call(0)?.guest_clocks.read())
    }

    fn resolution(&mut self) -> wasmtime::Result<Instant> {
        self.wasi_call(0)?;
        Ok(STEP_NS)
    }

    fn subscribe_instant(&mut self, when: Instant) -> wasmtime::Result<Resource<DynPollable>> {
        let wasi = self.wasi_call(0)?;
        let timer = wasi.table.push(Timer)?;
        let pollable = subscribe(&mut wasi.table, timer)?;
        wasi.guest_clocks.timers.insert(pollable.rep(), when);
        Ok(pollable)
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let when = self.wasi().guest_clocks.now_ns.saturating_add(duration);
        self.subscribe_instant(when)
    }
}

impl poll::HostPollable for Guest {
    fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        let wasi = self.wasi_call(0)?;
        if let Some(at_ns) = wasi.guest_clocks.timers.get(&pollable.rep()).copied() {
            return Ok(wasi.guest_clocks.read() >= at_ns);
        }
        wait(Duration::ZERO, PollsOne::ready(&mut wasi.table, pollable)).unwrap_or(Ok(false))
    }

    fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        let wasi = self.wasi_call(0)?;
        if let Some(at_ns) = wasi.guest_clocks.timers.get(&pollable.rep()).copied() {
            wasi.guest_clocks.sleep_until(at_ns);
            return Ok(());
        }
        match wait(wasi.deadline.remaining(), PollsOne::block(&mut wasi.table, pollable)) {
            Some(done) => done,
            None => Err(wasi.deadline.time_exceeded().into()),
        }
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        let wasi = self.wasi_call(0)?;
        wasi.guest_clocks.timers.remove(&pollable.rep());
        PollsOne::drop(&mut wasi.table, pollable)
    }
}

impl poll::Host for Guest {
    fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        self.wasi_call(pollables.len() as u64)?.poll(&pollables)
    }
}

impl Wasi {
    /// Returns which of these are ready, once one is. Waits for the clock alone end immediately. Other waits get as much real time, after which
    /// the clock jumps.
    fn poll(&mut self, pollables: &[Resource<DynPollable>]) -> wasmtime::Result<Vec<u32>> {
        let (mut timers, mut others, mut indexes) = (Vec::new(), Vec::new(), Vec::new());
        for (index, pollable) in (0u32..).zip(pollables) {
            match self.guest_clocks.timers.get(&pollable.rep()) {
                Some(at_ns) => timers.push((index, *at_ns)),
                None => {
                    others.push(Resource::<DynPollable>::new_borrow(pollable.rep()));
                    indexes.push(index);
                }
            }
        }
        let first_ns = timers.iter().map(|(_, at_ns)| *at_ns).min();
        let mut ready = Vec::new();
        if !others.is_empty() || timers.is_empty() {
            let asleep = first_ns.map(|at_ns| Duration::from_nanos(at_ns.saturating_sub(self.guest_clocks.now_ns)));
            let most = self.deadline.remaining().min(asleep.unwrap_or(Duration::MAX));
            match wait(most, Polls::poll(&mut self.table, others)) {
                Some(done) => ready.extend(done?.into_iter().filter_map(|of| indexes.get(of as usize).copied())),
                None if self.deadline.remaining().is_zero() || first_ns.is_none() => {
                    return Err(self.deadline.time_exceeded().into());
                }
                None => {}
            }
        }
        if let Some(first_ns) = first_ns.filter(|_| ready.is_empty()) {
            self.guest_clocks.sleep_until(first_ns);
        }
        ready.extend(timers.iter().filter(|(_, at_ns)| *at_ns <= self.guest_clocks.now_ns).map(|(index, _)| *index));
        ready.sort_unstable();
        Ok(ready)
    }
}
