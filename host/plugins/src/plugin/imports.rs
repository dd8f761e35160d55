//! Host functions for plugins: `log`, `metrics`, `files`, `stage`, `timers`, `net`.

use super::bindings::{self, Schema, WitLevel};
use super::groups::DueTimes;
use super::guest::Guest;
use super::guest_text::GuestText;
use super::lower;
use super::releases::{NET, TIMERS, VERSION};
use crate::limits::{PLUGIN_FILE_READ_BYTES_MAX, PLUGIN_IMPORT_FUEL};
use std::time::Instant;
use wasmtime::component::{ComponentNamedList, Lift, Linker, LinkerInstance, Lower};
use wasmtime::{AsContextMut, StoreContextMut, Trap};

/// The context of a call of an import.
type ImportCall<'a> = StoreContextMut<'a, Guest>;

/// An interface whose calls are timed as host time.
struct TimedInterface<'a>(LinkerInstance<'a, Guest>);

impl TimedInterface<'_> {
    fn func_wrap<P, R>(
        &mut self,
        name: &str,
        serve: impl Fn(ImportCall<'_>, P) -> wasmtime::Result<R> + Send + Sync + 'static,
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
    TimedInterface(linker.instance(&format!("millstream:plugin/log@{VERSION}"))?).func_wrap(
        "write",
        |mut cx: ImportCall<'_>, (level, message): (WitLevel, GuestText)| {
            charge(&mut cx, message.0.len())?;
            cx.data_mut().log(level, &message.0);
            Ok(())
        },
    )?;
    TimedInterface(linker.instance(&format!("millstream:plugin/metrics@{VERSION}"))?).func_wrap(
        "add",
        |mut cx: ImportCall<'_>, (counter, amount): (GuestText, u64)| {
            charge(&mut cx, counter.0.len())?;
            cx.data_mut().count(&counter.0, amount);
            Ok(())
        },
    )?;
    let mut files = TimedInterface(linker.instance(&format!("millstream:plugin/files@{VERSION}"))?);
    files.func_wrap("size", |mut cx: ImportCall<'_>, (name,): (GuestText,)| {
        charge(&mut cx, name.0.len())?;
        Ok((cx.data().file(&name.0).map(|bytes| bytes.len() as u64),))
    })?;
    files.func_wrap("read", |mut cx: ImportCall<'_>, (name, offset, length): (GuestText, u64, u32)| {
        let length = u64::from(length).min(PLUGIN_FILE_READ_BYTES_MAX);
        let read = cx.data().file(&name.0).map(|bytes| {
            let start = offset.min(bytes.len() as u64);
            let end = start.saturating_add(length).min(bytes.len() as u64);
            bytes.slice(start as usize..end as usize)
        });
        charge(&mut cx, name.0.len() + read.as_ref().map_or(0, |bytes| bytes.len()))?;
        Ok((read.map(|bytes| bytes.to_vec()),))
    })?;
    offer_stage(linker)?;
    offer_timers(linker)?;
    offer_net(linker)
}

fn offer_stage(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut stage = TimedInterface(linker.instance(&format!("millstream:plugin/stage@{VERSION}"))?);
    stage.func_wrap("input", |mut cx: ImportCall<'_>, (): ()| -> wasmtime::Result<(Schema,)> {
        let input = cx.data().stage.inputs.first().map(|input| lower::schema(input)).unwrap_or_default();
        charge(&mut cx, size(&input))?;
        Ok((input,))
    })?;
    stage.func_wrap("inputs", |mut cx: ImportCall<'_>, (): ()| -> wasmtime::Result<(Vec<Schema>,)> {
        let inputs: Vec<Schema> = cx.data().stage.inputs.iter().map(|input| lower::schema(input)).collect();
        charge(&mut cx, inputs.iter().map(size).sum())?;
        Ok((inputs,))
    })?;
    stage.func_wrap("key", |mut cx: ImportCall<'_>, (): ()| -> wasmtime::Result<(Schema,)> {
        let key = lower::schema(&cx.data().stage.key);
        charge(&mut cx, size(&key))?;
        Ok((key,))
    })?;
    Ok(())
}

fn offer_timers(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut timers = TimedInterface(linker.instance(&format!("millstream:plugin/{TIMERS}@{VERSION}"))?);
    for (name, is_set) in [("set", true), ("cancel", false)] {
        timers.func_wrap(name, move |mut cx: ImportCall<'_>, (group, at_us): (u32, i64)| {
            charge(&mut cx, 0)?;
            cx.data_mut().change_timer(group, at_us, is_set);
            Ok(())
        })?;
    }
    timers.func_wrap("due", |mut cx: ImportCall<'_>, (): ()| -> wasmtime::Result<(bindings::WitDueTimes,)> {
        let DueTimes { ends, times_us } = &cx.data().timers.due;
        let bytes = |buffer: &arrow::buffer::Buffer| buffer.as_slice().to_vec();
        let (ends, times) = (bytes(ends.inner()), bytes(times_us.inner()));
        charge(&mut cx, ends.len() + times.len())?;
        Ok((bindings::WitDueTimes { ends, times },))
    })?;
    Ok(())
}

fn offer_net(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut net = TimedInterface(linker.instance(&format!("millstream:plugin/{NET}@{VERSION}"))?);
    net.func_wrap("connect", |mut cx: ImportCall<'_>, (host, port, timeout_ms): (GuestText, u16, u32)| {
        let time = cx.data().wait_of(timeout_ms);
        Ok((cx.data_mut().net().connect(&host.0, port, time),))
    })?;
    net.func_wrap("read", |mut cx: ImportCall<'_>, (socket, bytes_max, timeout_ms): (u32, u32, u32)| {
        let time = cx.data().wait_of(timeout_ms);
        Ok((cx.data_mut().net().read(socket, bytes_max, time),))
    })?;
    net.func_wrap("write", |mut cx: ImportCall<'_>, (socket, data, timeout_ms): (u32, Vec<u8>, u32)| {
        let time = cx.data().wait_of(timeout_ms);
        Ok((cx.data_mut().net().write(socket, &data, time),))
    })?;
    net.func_wrap("bind", |mut cx: ImportCall<'_>, (host, port): (GuestText, u16)| {
        Ok((cx.data_mut().net().bind(&host.0, port),))
    })?;
    net.func_wrap("receive", |mut cx: ImportCall<'_>, (socket, bytes_max, timeout_ms): (u32, u32, u32)| {
        let time = cx.data().wait_of(timeout_ms);
        Ok((cx.data_mut().net().receive(socket, bytes_max, time),))
    })?;
    net.func_wrap("send", |mut cx: ImportCall<'_>, (socket, host, port, data): (u32, GuestText, u16, Vec<u8>)| {
        Ok((cx.data_mut().net().send(socket, &host.0, port, &data),))
    })?;
    net.func_wrap("close", |mut cx: ImportCall<'_>, (socket,): (u32,)| {
        cx.data_mut().net().close(socket);
        Ok(())
    })
}

/// Takes the fuel that a call of an import costs, where calls are metered by fuel: the engine does not see what the host
/// does for a plugin.
pub fn charge(cx: &mut ImportCall<'_>, bytes: usize) -> wasmtime::Result<()> {
    // An error means that the engine does not count fuel.
    let Ok(fuel) = cx.get_fuel() else { return Ok(()) };
    let cost = PLUGIN_IMPORT_FUEL.saturating_add(bytes as u64);
    cx.set_fuel(fuel.saturating_sub(cost))?;
    if fuel < cost { Err(Trap::OutOfFuel.into()) } else { Ok(()) }
}

/// About how many bytes a schema takes.
fn size(schema: &Schema) -> usize {
    schema.fields.iter().map(|field| field.name.len() + 64).sum()
}
