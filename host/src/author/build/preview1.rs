//! Creates components from core modules that were compiled for WASI 0.1 (`wasi_snapshot_preview1`), for example by Go
//! and C compilers. Millstream's adapter translates to WASI 0.2. `sdk/preview1/README.md` describes it.

use millstream_base::error::{Error, Result};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The adapter, in the WebAssembly text format.
const ADAPTER: &str = include_str!("../../../../sdk/preview1/adapter.wat");
/// The imports of the adapter.
const ADAPTER_WIT: &str = include_str!("../../../../sdk/preview1/adapter.wit");
/// The name of WASI 0.1 in core modules.
const PREVIEW1: &str = "wasi_snapshot_preview1";

/// Creates a component from a core module with a section that describes its world (`component-type`), as provided by
/// the C bindings.
///
/// # Errors
/// `Plugin`: the exports of the module do not match its world, or it has an unknown import.
pub fn component(core: &[u8]) -> Result<Vec<u8>> {
    let mut adapter = wat::parse_str(ADAPTER).map_err(|error| embedded_file_error(&error))?;
    describe(&mut adapter, [("adapter.wit", ADAPTER_WIT)].into_iter(), "adapter")?;
    let encoded = ComponentEncoder::default()
        .validate(true)
        .module(core)
        .and_then(|encoder| encoder.adapter(PREVIEW1, &adapter))
        .and_then(|mut encoder| encoder.encode());
    encoded.map_err(|error| Error::plugin(format!("cannot convert it to a component: {error:#}")))
}

/// Adds the section that describes its world to a core module. `files` are WIT files of one package, by name.
pub fn describe<'f>(core: &mut Vec<u8>, files: impl Iterator<Item = (&'f str, &'f str)>, world: &str) -> Result<()> {
    let mut sources = wit_parser::SourceMap::default();
    files.for_each(|(name, text)| sources.push_str(name, text));
    let group = sources.parse().map_err(|(_, error)| embedded_file_error(&error))?;
    let mut resolve = Resolve::default();
    let package = resolve.push_group(group).map_err(|error| embedded_file_error(&error))?;
    let world = resolve.select_world(&[package], Some(world)).map_err(|error| embedded_file_error(&error))?;
    embed_component_metadata(core, &resolve, world, StringEncoding::UTF8).map_err(|error| embedded_file_error(&error))
}

/// Returns the error for inconsistent embedded files.
fn embedded_file_error(error: &dyn std::fmt::Display) -> Error {
    Error::bug(format!("the adapter or the interface of plugins cannot be read: {error:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A core module as created by a compiler for WASI 0.1: it writes, reads both clocks, sleeps, and draws a random
    /// number.
    const PROGRAM: &str = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "clock_time_get" (func (param i32 i64 i32) (result i32)))
        (import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
        (memory (export "memory") 1)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
        (func (export "run")))"#;

    fn program() -> Vec<u8> {
        let mut core = wat::parse_str(PROGRAM).expect("a module");
        let wit = "package test:test; world w { export run: func(); }";
        describe(&mut core, [("test.wit", wit)].into_iter(), "w").expect("a world");
        core
    }

    #[test]
    fn only_what_is_offered_is_imported() {
        let component = component(&program()).expect("a component");
        let Ok(wit_component::DecodedWasm::Component(resolve, world)) = wit_component::decode(&component) else {
            panic!("no component");
        };
        let world = &resolve.worlds[world];
        let mut imports: Vec<String> = world.imports.keys().map(|key| resolve.name_world_key(key)).collect();
        imports.sort_unstable();
        assert_eq!(
            imports,
            [
                "wasi:cli/exit@0.2.0",
                "wasi:cli/stderr@0.2.0",
                "wasi:cli/stdout@0.2.0",
                "wasi:clocks/wall-clock@0.2.0",
                "wasi:io/error@0.2.0",
                "wasi:io/streams@0.2.0",
                "wasi:random/random@0.2.0",
            ]
        );
    }

    #[test]
    fn what_nobody_has_is_named() {
        let core =
            wat::parse_str(r#"(module (import "env" "sin" (func (param f64) (result f64))))"#).expect("a module");
        let error = component(&core).expect_err("must be refused");
        assert!(error.message.contains("cannot convert it to a component") && error.message.contains("env"), "{error}");
    }
}
