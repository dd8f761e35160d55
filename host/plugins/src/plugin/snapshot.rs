//! Initializes a core module at build time and stores its initialized state: what a runtime prepares for itself (Go: half a
//! millisecond) is done once, not per instance. The technique is Wizer's (Fitzgen, Bytecode Alliance).

use crate::limits::SNAPSHOT_FUEL;
use millstream_base::error::{Error, Result};
use millstream_base::random::Random;
use wasm_encoder::{ConstExpr, DataSection, RawSection};
use wasmparser::{Data, DataKind, Parser, Payload};
use wasmtime::{Caller, Config, Engine, Extern, ExternType, Instance, Linker, Module, OptLevel, Store, Val};
use wasmtime_wizer::{InstanceState, SnapshotVal, ValType, Wizer};

/// The function that starts a WASI 0.1 reactor.
const START: &str = "_initialize";
/// Imports of WASI 0.1.
const WASI: &str = "wasi_snapshot_preview1";
/// Maximum random bytes per call.
const RANDOM_BYTES_MAX: i32 = 1 << 20;
/// Maximum bytes kept of a module's output.
const PRINTED_BYTES_MAX: usize = 1 << 16;
/// Errno: no such descriptor.
const BADF: i32 = 8;
/// Errno: an address outside of memory.
const FAULT: i32 = 21;

/// Returns a started module: its memory and globals are those after `_initialize`, which it no longer has. During the start it sees no
/// machine: clocks begin at 0, random numbers are always the same, nothing can be read.
///
/// # Errors
/// `Plugin`: it cannot be started, or calls an import during the start.
pub fn started(module: &[u8]) -> Result<Vec<u8>> {
    let kept = module_after(module, |store, instance| {
        let start = instance.get_typed_func::<(), ()>(&mut *store, START).map_err(failed)?;
        start.call(store, ()).map_err(failed)
    })?;
    without_empty_segments(&kept).map_err(|error| failed(error.into()))
}

/// Returns a module whose allocator has this much memory from the beginning. Rust's allocator requests some with the first allocation of
/// every instance, which changes the address space of the process twice per call, and waits for other changes. A module without
/// `cabi_realloc` stays unchanged.
///
/// # Errors
/// `Plugin`: it cannot allocate this much.
pub fn with_heap(module: &[u8], bytes: i32) -> Result<Vec<u8>> {
    const REALLOC: &str = "cabi_realloc";
    const ALIGN: i32 = 16;
    module_after(module, |store, instance| {
        let Some(realloc) = instance.get_func(&mut *store, REALLOC) else { return Ok(()) };
        let realloc = realloc.typed::<(i32, i32, i32, i32), i32>(&*store).map_err(failed)?;
        let address = realloc.call(&mut *store, (0, 0, ALIGN, bytes)).map_err(failed)?;
        // There is no function to free it, but all except the beginning can be freed.
        realloc.call(store, (address, bytes, ALIGN, ALIGN)).map(drop).map_err(failed)
    })
}

fn failed(error: wasmtime::Error) -> Error {
    Error::plugin(format!("it cannot be started: {error:?}"))
}

/// Returns the module in the state after `run`.
fn module_after(module: &[u8], run: impl FnOnce(&mut Store<StartingHost>, &Instance) -> Result<()>) -> Result<Vec<u8>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| Error::environment(format!("no runtime: {error}")))?;
    let mut wizer = Wizer::new();
    wizer.init_func(START);
    let (context, instrumented) = wizer.instrument(module).map_err(failed)?;
    let mut config = Config::new();
    config.cranelift_opt_level(OptLevel::None).consume_fuel(true);
    let engine = Engine::new(&config).map_err(failed)?;
    let module = Module::new(&engine, &instrumented).map_err(failed)?;
    let mut store = Store::new(&engine, StartingHost::default());
    store.set_fuel(SNAPSHOT_FUEL).map_err(failed)?;
    let instance = linker(&module).and_then(|linker| linker.instantiate(&mut store, &module)).map_err(failed)?;
    let ended = run(&mut store, &instance);
    let printed = String::from_utf8_lossy(&store.data().printed);
    if !printed.is_empty() {
        let printed = printed.trim_end();
        // A runtime prints why it cannot start. The output of a successful start would be lost, as the start is not repeated.
        return Err(Error::plugin(match ended {
            Err(_) => format!("it fails during startup, before it is called:\n{printed}"),
            Ok(()) => format!(
                "it prints during startup, before it is called, so the output is lost; print when it is \
                 called:\n{printed}"
            ),
        }));
    }
    ended?;
    // Nothing in it ever waits.
    runtime.block_on(wizer.snapshot(&context, &mut StartedModule { store, instance })).map_err(failed)
}

/// Removes empty data segments. Wizer leaves one for each segment of the module, in case code refers to them by number; a large Go program
/// has as many as a module may have. If the module has no segment count, no code can refer to them.
fn without_empty_segments(module: &[u8]) -> Result<Vec<u8>, wasmparser::BinaryReaderError> {
    let mut made = wasm_encoder::Module::new();
    let mut is_counted = false;
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload?;
        is_counted |= matches!(payload, Payload::DataCountSection { .. });
        match &payload {
            Payload::DataSection(segments) if !is_counted => {
                let mut section = DataSection::new();
                for segment in segments.clone() {
                    let Data { kind: DataKind::Active { memory_index, offset_expr }, data, .. } = segment? else {
                        continue;
                    };
                    if !data.is_empty() {
                        let mut offset = offset_expr.get_binary_reader();
                        // The encoder adds the end itself.
                        let offset = offset.read_bytes(offset.bytes_remaining().saturating_sub(1))?;
                        section.active(memory_index, &ConstExpr::raw(offset.iter().copied()), data.iter().copied());
                    }
                }
                made.section(&section);
            }
            payload => {
                if let Some((id, range)) = payload.as_section() {
                    made.section(&RawSection { id, data: module.get(range).unwrap_or_default() });
                }
            }
        }
    }
    Ok(made.finish())
}

/// The host of a module during its start.
#[derive(Default)]
struct StartingHost {
    time_ns: i64,
    random: Random,
    printed: Vec<u8>,
}

impl StartingHost {
    /// Returns a time a microsecond after the previous one.
    fn time_ns(&mut self) -> i64 {
        self.time_ns += 1_000;
        self.time_ns
    }
}

/// Implements what runtimes call when they start; anything else fails the start.
fn linker(module: &Module) -> wasmtime::Result<Linker<StartingHost>> {
    let mut linker = Linker::new(module.engine());
    linker.func_wrap(WASI, "random_get", |mut caller: Caller<'_, StartingHost>, to: i32, length: i32| {
        let length = length.clamp(0, RANDOM_BYTES_MAX);
        let bytes: Vec<u8> = (0..length).map(|_| caller.data_mut().random.next() as u8).collect();
        write(&mut caller, to, &bytes)
    })?;
    linker.func_wrap(WASI, "clock_time_get", |mut caller: Caller<'_, StartingHost>, _: i32, _: i64, to: i32| {
        let time_ns = caller.data_mut().time_ns();
        write(&mut caller, to, &time_ns.to_le_bytes())
    })?;
    for nothing in ["args_sizes_get", "environ_sizes_get"] {
        linker.func_wrap(WASI, nothing, |mut caller: Caller<'_, StartingHost>, count: i32, bytes: i32| {
            write(&mut caller, count, &[0; 4])?;
            write(&mut caller, bytes, &[0; 4])
        })?;
    }
    for done in ["args_get", "environ_get"] {
        linker.func_wrap(WASI, done, |_: i32, _: i32| 0_i32)?;
    }
    linker.func_wrap(WASI, "sched_yield", || 0_i32)?;
    // Go sleeps briefly before it reports a fatal error. All waits end immediately.
    linker.func_wrap(
        WASI,
        "poll_oneoff",
        |mut caller: Caller<'_, StartingHost>, _: i32, _: i32, count: i32, to: i32| {
            write(&mut caller, to, &count.to_le_bytes())
        },
    )?;
    // There are no preopened descriptors, which programs search for when they start.
    linker.func_wrap(WASI, "fd_prestat_get", |_: i32, _: i32| BADF)?;
    linker.func_wrap(WASI, "fd_fdstat_get", |_: i32, _: i32| BADF)?;
    linker.func_wrap(WASI, "fd_fdstat_set_flags", |_: i32, _: i32| BADF)?;
    linker.func_wrap(WASI, "fd_filestat_get", |_: i32, _: i32| BADF)?;
    linker.func_wrap(
        WASI,
        "fd_write",
        |caller: Caller<'_, StartingHost>, _: i32, pieces: i32, count: i32, to: i32| print(caller, pieces, count, to),
    )?;
    linker.allow_shadowing(false);
    for import in module.imports() {
        let ExternType::Func(ty) = import.ty() else { continue };
        let name = format!("{} of {}", import.name(), import.module());
        // Fails for the functions defined above, as intended.
        let _ = linker.func_new(import.module(), import.name(), ty, move |_, _, _| {
            wasmtime::bail!("it calls {name}, which it can only do when it is called itself")
        });
    }
    Ok(linker)
}

/// Stores the module's output: `count` pieces, whose addresses and lengths are in its memory.
fn print(mut caller: Caller<'_, StartingHost>, pieces: i32, count: i32, to: i32) -> wasmtime::Result<i32> {
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else { wasmtime::bail!("it exports no memory") };
    let (data, world) = memory.data_and_store_mut(&mut caller);
    let word = |address: usize| Some(u32::from_le_bytes(*data.get(address..)?.first_chunk()?) as usize);
    let mut written = 0_u32;
    for piece in 0..count as u32 as usize {
        let address = (pieces as u32 as usize).saturating_add(piece.saturating_mul(8));
        let bytes = word(address)
            .zip(word(address.saturating_add(4)))
            .and_then(|(start, length)| data.get(start..)?.get(..length));
        let Some(bytes) = bytes else { return Ok(FAULT) };
        let left = PRINTED_BYTES_MAX.saturating_sub(world.printed.len());
        world.printed.extend_from_slice(bytes.get(..left).unwrap_or(bytes));
        written = written.saturating_add(bytes.len() as u32);
    }
    write(&mut caller, to, &written.to_le_bytes())
}

/// Writes into the module's memory; the result is an errno.
fn write(caller: &mut Caller<'_, StartingHost>, to: i32, bytes: &[u8]) -> wasmtime::Result<i32> {
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else { wasmtime::bail!("it exports no memory") };
    memory.write(caller, to as u32 as usize, bytes)?;
    Ok(0)
}

/// The initialized module.
struct StartedModule {
    store: Store<StartingHost>,
    instance: Instance,
}

impl InstanceState for StartedModule {
    async fn global_get(&mut self, name: &str, hint: ValType) -> SnapshotVal {
        let value = self.instance.get_global(&mut self.store, name).map(|global| global.get(&mut self.store));
        match (value, hint) {
            (Some(Val::I32(value)), _) => SnapshotVal::I32(value),
            (Some(Val::I64(value)), _) => SnapshotVal::I64(value),
            (Some(Val::F32(bits)), _) => SnapshotVal::F32(bits),
            (Some(Val::F64(bits)), _) => SnapshotVal::F64(bits),
            (Some(Val::V128(value)), _) => SnapshotVal::V128(value.as_u128()),
            // Wizer has exported what it requests, and accepts numbers only.
            (_, ValType::I64) => SnapshotVal::I64(0),
            _ => SnapshotVal::I32(0),
        }
    }

    async fn memory_contents(&mut self, name: &str, contents: impl FnOnce(&[u8]) + Send) {
        match self.instance.get_memory(&mut self.store, name) {
            Some(memory) => contents(memory.data(&self.store)),
            None => contents(&[]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts a module whose `_initialize` does this.
    fn start(does: &str) -> Result<String> {
        let text = format!(
            r#"(module
              (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
              (import "wasi_snapshot_preview1" "fd_write" (func $print (param i32 i32 i32 i32) (result i32)))
              (import "millstream:plugin/log@0.1.2" "write" (func $log (param i32 i32 i32)))
              (memory (export "memory") 1)
              (data (i32.const 100) "\74\00\00\00\05\00\00\00\74\00\00\00\ff\ff\ff\ffhello")
              (global $g (mut i32) (i32.const 0))
              (func (export "_initialize") {does})
              (func (export "get") (result i32) (i32.add (global.get $g) (i32.load (i32.const 8)))))"#
        );
        let started = started(&wat::parse_str(text).expect("a module"))?;
        let exports = Module::new(&Engine::default(), &started).expect("a module");
        Ok(exports.exports().map(|export| export.name().to_owned()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_module_is_as_it_is_when_it_has_started() {
        let does = "(i32.store (i32.const 8) (i32.const 40)) (global.set $g (i32.const 2))";
        assert_eq!(start(does).expect("started"), "memory get");
        let text = wat::parse_str(format!(
            "(module (memory (export \"memory\") 1) (global $g (mut i32) (i32.const 0)) (func (export \"_initialize\") {does})
             (func (export \"get\") (result i32) (i32.add (global.get $g) (i32.load (i32.const 8)))))"
        ));
        let engine = Engine::default();
        let module = Module::new(&engine, started(&text.expect("a module")).expect("started")).expect("a module");
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).expect("an instance");
        let get = instance.get_typed_func::<(), i32>(&mut store, "get").expect("the function");
        assert_eq!(get.call(&mut store, ()).expect("a number"), 42);
    }

    #[test]
    fn a_module_has_memory_to_allocate_from_the_beginning() {
        // Takes the next bytes, and returns the address after the last ones.
        let text = "(module (memory (export \"memory\") 1) (global $next (mut i32) (i32.const 65536))
             (func (export \"cabi_realloc\") (param $old i32) (param $length i32) (param $align i32) (param $bytes i32)
               (result i32)
               (if (i32.eqz (local.get $old)) (then (local.set $old (global.get $next))))
               (global.set $next (i32.add (local.get $old) (local.get $bytes)))
               (if (i32.gt_u (global.get $next) (i32.mul (memory.size) (i32.const 65536)))
                 (then (drop (memory.grow (i32.const 4)))))
               (local.get $old)))";
        let module = with_heap(&wat::parse_str(text).expect("a module"), 4 << 16).expect("a module");
        let engine = Engine::default();
        let module = Module::new(&engine, module).expect("a module");
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).expect("an instance");
        let memory = instance.get_memory(&mut store, "memory").expect("memory");
        assert_eq!(memory.size(&store), 5, "it is there before anything asks for it");
        let realloc = instance.get_typed_func::<(i32, i32, i32, i32), i32>(&mut store, "cabi_realloc");
        let realloc = realloc.expect("the function");
        let address = realloc.call(&mut store, (0, 0, 1, 1000)).expect("memory");
        assert_eq!((address, memory.size(&store)), (65536 + 16, 5), "and is free");
        let other = wat::parse_str("(module (memory (export \"memory\") 1))").expect("a module");
        let other = Module::new(&engine, with_heap(&other, 4 << 16).expect("a module")).expect("a module");
        let memory = other.get_export("memory").and_then(|export| export.memory().cloned()).expect("memory");
        assert_eq!(memory.minimum(), 1);
    }

    #[test]
    fn a_module_with_as_many_segments_as_there_may_be_can_be_started() {
        let segments: String = (0..100_000).map(|n| format!("(data (i32.const {}) \"x\")", n * 8)).collect();
        let text = format!("(module (memory (export \"memory\") 13) {segments} (func (export \"_initialize\")))");
        let module = started(&wat::parse_str(text).expect("a module")).expect("started");
        wasmparser::validate(&module).expect("it is valid");
        let engine = Engine::default();
        let mut store = Store::new(&engine, ());
        let module = Module::new(&engine, module).expect("a module");
        let instance = Instance::new(&mut store, &module, &[]).expect("an instance");
        let memory = instance.get_memory(&mut store, "memory").expect("memory");
        assert_eq!([0, 8, 799_992, 799_993].map(|at| memory.data(&store)[at]), [b'x', b'x', b'x', 0]);
    }

    #[test]
    fn segments_that_code_refers_to_stay() {
        // Wizer rejects `data.drop`. The segments before `$d` are empty after the start.
        let text = "(module (memory (export \"memory\") 1) (data (i32.const 0) \"a\") (data $d \"x\")
             (func (export \"_initialize\"))
             (func (export \"f\") (memory.init $d (i32.const 8) (i32.const 0) (i32.const 1))))";
        let module = started(&wat::parse_str(text).expect("a module")).expect("started");
        wasmparser::validate(&module).expect("it is valid");
        let engine = Engine::default();
        let mut store = Store::new(&engine, ());
        let module = Module::new(&engine, module).expect("a module");
        let instance = Instance::new(&mut store, &module, &[]).expect("an instance");
        let function = instance.get_typed_func::<(), ()>(&mut store, "f").expect("the function");
        function.call(&mut store, ()).expect("the segment is there");
        let memory = instance.get_memory(&mut store, "memory").expect("memory");
        assert_eq!([0, 8].map(|at| memory.data(&store)[at]), [b'a', b'x']);
    }

    #[test]
    fn a_start_that_cannot_be_is_told() {
        let error_of = |does: &str| start(does).expect_err("it cannot").message;
        let log = error_of("(call $log (i32.const 0) (i32.const 0) (i32.const 0))");
        assert!(log.contains("it calls write of millstream:plugin/log@0.1.2"), "{log}");
        assert!(error_of("(loop (br 0))").contains("fuel"));
        assert!(error_of("(drop (call $random (i32.const 70000) (i32.const 8)))").contains("out of bounds"));
        let print = |pieces: i32| {
            format!("(drop (call $print (i32.const 2) (i32.const 100) (i32.const {pieces}) (i32.const 8)))")
        };
        let printed = error_of(&format!("{} unreachable", print(1)));
        assert!(printed.ends_with("it fails during startup, before it is called:\nhello"), "{printed}");
        assert!(error_of(&print(1)).contains("it prints during startup"), "{}", error_of(&print(1)));
        // The second piece is longer than memory.
        assert!(error_of(&format!("{} unreachable", print(2))).contains("it fails during startup"));
        assert!(started(b"no module").is_err());
    }
}
