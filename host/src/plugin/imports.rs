//! What a plugin may ask of the host: `log`, `metrics`, `files`, `stage`, `timers`.

use super::bindings::{self, Level, Schema};
use super::guest::Guest;
use super::{DueTimes, VERSION, lower};
use std::time::Instant;
use wasmtime::component::{ComponentNamedList, Lift, Linker, LinkerInstance, Lower, WasmStr};
use wasmtime::{AsContextMut, StoreContextMut};

/// The interfaces that every plugin may import; `timers` in world `update` only.
pub const OFFERED: [&str; 5] = ["log", "metrics", "files", "stage", TIMERS];
/// The interface with which plugins of world `update` ask for calls at a time.
pub const TIMERS: &str = "timers";

/// An interface, where the time that the host works for the guest is noted.
struct Timed<'a>(LinkerInstance<'a, Guest>);

impl Timed<'_> {
    fn func_wrap<P, R>(
        &mut self,
        name: &str,
        serve: impl Fn(StoreContextMut<'_, Guest>, P) -> wasmtime::Result<R> + Send + Sync + 'static,
    ) -> wasmtime::Result<()>
    where
        P: ComponentNamedList + Lift + 'static,
        R: ComponentNamedList + Lower + 'static,
    {
        self.0.func_wrap(name, move |mut cx, arguments| {
            let began = Instant::now();
            let served = serve(cx.as_context_mut(), arguments);
            cx.data_mut().time_in_imports += began.elapsed();
            served
        })
    }
}

/// Offers the imports of every plugin.
pub fn offer(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    Timed(linker.instance(&format!("millstream:plugin/log@{VERSION}"))?).func_wrap(
        "write",
        |mut cx: StoreContextMut<'_, Guest>, (level, message): (Level, WasmStr)| {
            let message = message.to_str(&cx)?.into_owned();
            cx.data_mut().log(level, &message);
            Ok(())
        },
    )?;
    Timed(linker.instance(&format!("millstream:plugin/metrics@{VERSION}"))?).func_wrap(
        "add",
        |mut cx: StoreContextMut<'_, Guest>, (counter, amount): (WasmStr, u64)| {
            let counter = counter.to_str(&cx)?.into_owned();
            cx.data_mut().count(&counter, amount);
            Ok(())
        },
    )?;
    let mut files = Timed(linker.instance(&format!("millstream:plugin/files@{VERSION}"))?);
    files.func_wrap("size", |cx: StoreContextMut<'_, Guest>, (name,): (String,)| {
        Ok((cx.data().file(&name).map(|bytes| bytes.len() as u64),))
    })?;
    files.func_wrap("read", |cx: StoreContextMut<'_, Guest>, (name, offset, length): (String, u64, u32)| {
        let read = cx.data().file(&name).map(|bytes| {
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            let end = start.saturating_add(length as usize).min(bytes.len());
            bytes.slice(start..end).to_vec()
        });
        Ok((read,))
    })?;
    let mut stage = Timed(linker.instance(&format!("millstream:plugin/stage@{VERSION}"))?);
    stage.func_wrap("input", |cx: StoreContextMut<'_, Guest>, (): ()| -> wasmtime::Result<(Schema,)> {
        let input = cx.data().stage.inputs.first();
        Ok((input.map(|input| lower::schema(input)).unwrap_or_default(),))
    })?;
    stage.func_wrap("inputs", |cx: StoreContextMut<'_, Guest>, (): ()| -> wasmtime::Result<(Vec<Schema>,)> {
        Ok((cx.data().stage.inputs.iter().map(|input| lower::schema(input)).collect(),))
    })?;
    stage.func_wrap("key", |cx: StoreContextMut<'_, Guest>, (): ()| -> wasmtime::Result<(Schema,)> {
        Ok((lower::schema(&cx.data().stage.key),))
    })?;
    let mut timers = Timed(linker.instance(&format!("millstream:plugin/{TIMERS}@{VERSION}"))?);
    timers.func_wrap("set", |mut cx: StoreContextMut<'_, Guest>, (group, at): (u32, i64)| {
        cx.data_mut().change_timer(group, at, true);
        Ok(())
    })?;
    timers.func_wrap("cancel", |mut cx: StoreContextMut<'_, Guest>, (group, at): (u32, i64)| {
        cx.data_mut().change_timer(group, at, false);
        Ok(())
    })?;
    timers.func_wrap("due", |cx: StoreContextMut<'_, Guest>, (): ()| -> wasmtime::Result<(bindings::DueTimes,)> {
        let DueTimes { ends, times_us } = &cx.data().timers.due;
        let bytes = |buffer: &arrow::buffer::Buffer| buffer.as_slice().to_vec();
        let (ends, times) = (bytes(ends.inner()), bytes(times_us.inner()));
        Ok((bindings::DueTimes { ends, times },))
    })
}
