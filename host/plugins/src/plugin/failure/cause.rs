//! Why a call ended, as a message, with advice.

use crate::limits::{PLUGIN_MEMORIES_MAX, PLUGIN_MESSAGE_BYTES_MAX};
use crate::plugin::current_call::{CurrentCall, fuel, time};
use crate::plugin::guest::Guest;
use crate::plugin::trap::{Stopped, Trap};
use millstream_base::shown::printable;
use millstream_base::units;
use millstream_job::spec::PluginLimits;
use wasmtime::WasmBacktrace;
use wasmtime::component::ResourceTableError;

const TOO_LONG: &str = "Raise `limits.time` of the stage (the limit of one call) and restart: planned batches are \
                        replayed with the new limits. Or fix the plugin if it loops endlessly.";
const AUTHOR: &str = "Fix the plugin; `millstream test` runs its cases.";

/// Returns whether the plugin caused the failure to create an instance: its code ran and failed, or it exceeds a limit.
/// Otherwise the machine has no memory left for it.
pub fn is_of_plugin(guest: &Guest, error: &wasmtime::Error) -> bool {
    guest.memory.was_denied
        || guest.tables.was_denied
        || error.is::<wasmtime::Trap>()
        || error.is::<WasmBacktrace>()
        || error.is::<Stopped>()
        || matches!(
            EngineLimit::of_error(error),
            Some(EngineLimit::CoreInstances | EngineLimit::Memories | EngineLimit::Tables)
        )
}

fn too_long(limits: &PluginLimits, call: &CurrentCall) -> (String, &'static str) {
    let limit = match call.times {
        1 => format!("{:?}", limits.time_max),
        times => format!("{:?}, {times} times that of one call because of the number of rows", time(limits, times)),
    };
    (format!("it ran longer than its time limit of {limit}"), TOO_LONG)
}

fn too_many_handles(limits: &PluginLimits) -> (Trap, String, &'static str) {
    let advice = "Raise `limits.handles` of the stage, or fix the plugin if it does not drop its handles.";
    (Trap::Handles, format!("it holds more than {} handles of resources", limits.handles_max), advice)
}

/// Returns why a call ended, as a message, with advice.
pub(super) fn cause(limits: &PluginLimits, guest: &Guest, error: &wasmtime::Error) -> (Trap, String, &'static str) {
    use wasmtime::Trap::{Interrupt, OutOfFuel, StackOverflow};
    let trap = error.downcast_ref::<wasmtime::Trap>();
    // A guest may continue without the memory that it did not get, and reach another limit.
    let is_other = matches!(trap, Some(Interrupt | OutOfFuel | StackOverflow));
    if guest.memory.was_denied && !is_other {
        let limit = units::format_bytes(limits.memory_bytes_max);
        let advice = "Raise `limits.memory` of the stage, or make batches smaller.";
        return (Trap::Memory, format!("it needs more memory than its limit of {limit}"), advice);
    }
    if guest.tables.was_denied && !is_other {
        let limit = limits.table_elements_max;
        let advice = "Raise `limits.tables` of the stage.";
        return (Trap::Tables, format!("its tables need more elements than their limit of {limit}"), advice);
    }
    if let Some(Stopped { trap, message, advice }) = error.downcast_ref() {
        return (*trap, message.clone(), advice);
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref() {
        return too_many_handles(limits);
    }
    match trap {
        Some(Interrupt) => {
            let (what, advice) = too_long(limits, &guest.call);
            (Trap::Time, what, advice)
        }
        Some(OutOfFuel) => {
            let advice = "Raise `limits.time` or `limits.fuel` of the stage, or fix the plugin if it loops endlessly.";
            let most = fuel(limits, guest.call.times);
            (Trap::Fuel, format!("it ran more than {most} instructions, the limit of one call"), advice)
        }
        Some(StackOverflow) => {
            let advice = "Raise `limits.stack` of the stage, or fix the plugin if it recurses endlessly.";
            (Trap::Stack, "its call stack overflowed: it recurses too deeply".into(), advice)
        }
        // A panic is an `unreachable` for the engine; the SDK's panic hook logged what it was.
        Some(wasmtime::Trap::UnreachableCodeReached) => {
            let message = what_happened(&guest.error_lines).cloned();
            let bare = || "it trapped: `unreachable` was reached, as after a panic or abort".into();
            (Trap::Trap, message.unwrap_or_else(bare), AUTHOR)
        }
        Some(trap) => {
            (Trap::Trap, format!("it trapped: {}", trap.to_string().trim_start_matches("wasm trap: ")), AUTHOR)
        }
        None => match EngineLimit::of_error(error) {
            Some(limit) => limit.cause(limits, guest),
            None => {
                let rule = printable(&error.root_cause().to_string(), PLUGIN_MESSAGE_BYTES_MAX);
                (Trap::Rules, format!("its call broke the component model's rules: {rule}"), AUTHOR)
            }
        },
    }
}

/// Returns the line of a guest's last output that describes the failure. Go's runtime prints the location after it, others before.
fn what_happened(lines: &[String]) -> Option<&String> {
    const BEGINS: [&str; 3] = ["panic: ", "fatal error: ", "Assertion failed: "];
    lines.iter().rfind(|line| BEGINS.iter().any(|begin| line.starts_with(begin))).or(lines.last())
}

/// A limit of the engine that ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EngineLimit {
    /// Bytes that a call hands to the host.
    HostcallBytes,
    /// Handles of resources.
    Handles,
    /// Core instances of a component.
    CoreInstances,
    /// Memories of a component.
    Memories,
    /// Tables of a component.
    Tables,
}

impl EngineLimit {
    /// wasmtime's error types for these are private, so they are recognized by their messages. A test below produces each, and fails
    /// if another version of wasmtime changes the messages.
    const MESSAGES: [(&str, EngineLimit); 5] = [
        ("fuel allocated for hostcalls", EngineLimit::HostcallBytes),
        ("store handle limit exceeded", EngineLimit::Handles),
        ("resource limit exceeded: instance count", EngineLimit::CoreInstances),
        ("resource limit exceeded: memory count", EngineLimit::Memories),
        ("resource limit exceeded: table count", EngineLimit::Tables),
    ];

    fn of_error(error: &wasmtime::Error) -> Option<EngineLimit> {
        let message = error.root_cause().to_string();
        EngineLimit::MESSAGES.iter().find(|(part, _)| message.contains(part)).map(|(_, limit)| *limit)
    }

    fn cause(self, limits: &PluginLimits, guest: &Guest) -> (Trap, String, &'static str) {
        let too_many = |kind| {
            (Trap::Instances, format!("it has more than {PLUGIN_MEMORIES_MAX} core parts of the kind `{kind}`"), AUTHOR)
        };
        match self {
            EngineLimit::HostcallBytes => {
                let (what, advice) = guest.allowance.too_many_bytes();
                (Trap::Output, what, advice)
            }
            EngineLimit::Handles => too_many_handles(limits),
            EngineLimit::CoreInstances => {
                let what = format!("it has more than {} core instances", limits.instances_max);
                (Trap::Instances, what, "Raise `limits.instances` of the stage.")
            }
            EngineLimit::Memories => too_many("memory"),
            EngineLimit::Tables => too_many("table"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::component::{Component, Linker, Resource, ResourceType};
    use wasmtime::{Engine, Store, StoreLimits, StoreLimitsBuilder};

    /// Returns the error of a component that is instantiated, and whose function `call` is called, under these limits.
    fn ending(limits: StoreLimits, text: &str) -> wasmtime::Error {
        let engine = Engine::default();
        let component = Component::new(&engine, wat::parse_str(text).unwrap()).unwrap();
        let mut linker = Linker::<StoreLimits>::new(&engine);
        let mut host = linker.root();
        host.resource("thing", ResourceType::host::<u32>(), |_, _| Ok(())).unwrap();
        host.func_wrap("make", |_, (): ()| Ok((Resource::<u32>::new_own(1),))).unwrap();
        host.func_wrap("tell", |_, (_,): (Vec<u8>,)| Ok(())).unwrap();
        let mut store = Store::new(&engine, limits);
        store.limiter(|limits| limits);
        store.set_hostcall_fuel(1000);
        store.set_max_component_handles(10);
        let instance = match linker.instantiate(&mut store, &component) {
            Ok(instance) => instance,
            Err(error) => return error,
        };
        instance.get_typed_func::<(), ()>(&mut store, "call").unwrap().call(&mut store, ()).unwrap_err()
    }

    #[test]
    fn limits_of_the_engine_are_known_by_its_words() {
        let limits = || StoreLimitsBuilder::new().instances(2).memories(1).tables(1);
        let known = |text: &str| EngineLimit::of_error(&ending(limits().build(), text));
        let instances = r"(component (core module $m)
            (core instance (instantiate $m)) (core instance (instantiate $m)) (core instance (instantiate $m)))";
        assert_eq!(known(instances), Some(EngineLimit::CoreInstances));
        let parts = |kind| format!("(component (core module $m {kind} {kind}) (core instance (instantiate $m)))");
        assert_eq!(known(&parts("(memory 1)")), Some(EngineLimit::Memories));
        assert_eq!(known(&parts("(table 1 funcref)")), Some(EngineLimit::Tables));
        let handles = r#"(component
            (import "thing" (type $thing (sub resource)))
            (import "make" (func $make (result (own $thing))))
            (core func $make (canon lower (func $make)))
            (core module $m (import "" "make" (func $make (result i32)))
                (func (export "call") (loop (drop (call $make)) (br 0))))
            (core instance $i (instantiate $m (with "" (instance (export "make" (func $make))))))
            (func (export "call") (canon lift (core func $i "call"))))"#;
        assert_eq!(known(handles), Some(EngineLimit::Handles));
        let bytes = r#"(component
            (import "tell" (func $tell (param "bytes" (list u8))))
            (core module $memory (memory (export "memory") 1))
            (core instance $memory (instantiate $memory))
            (core func $tell (canon lower (func $tell) (memory $memory "memory")))
            (core module $m (import "" "tell" (func $tell (param i32 i32)))
                (func (export "call") (call $tell (i32.const 0) (i32.const 5000))))
            (core instance $i (instantiate $m (with "" (instance (export "tell" (func $tell))))))
            (func (export "call") (canon lift (core func $i "call"))))"#;
        assert_eq!(known(bytes), Some(EngineLimit::HostcallBytes));
        assert_eq!(EngineLimit::of_error(&wasmtime::format_err!("something else")), None);
    }

    #[test]
    fn the_line_that_says_what_happened_is_found() {
        let found = |lines: &[&str]| {
            let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            what_happened(&lines).cloned().unwrap_or_default()
        };
        let go = ["before", "panic: no [recovered]", "goroutine 6 [running]:", "main.f()", " main.go:46 +0x2"];
        assert_eq!(found(&go), "panic: no [recovered]");
        assert_eq!(
            found(&["fatal error: all goroutines are asleep - deadlock!", " <autogenerated>:1"])[..12],
            *"fatal error:"
        );
        assert_eq!(found(&["a", "src/lib.rs:5: panicked"]), "src/lib.rs:5: panicked");
        assert_eq!(found(&[]), "");
    }
}
