//! Modules that wasm-smith generates, instantiated next to a well-behaved plugin. Whatever their start functions do, the plugin
//! returns its usual result, or the call fails. And the same modules as files of their own.

use super::driver::Run;
use super::mutants::Loading;
use arbitrary::{Result as Arbitrary, Unstructured};
use millstream::job::spec::OnError;
use millstream_tests::fault::{plugin_with, plugin_with_appended, section};
use wasm_smith::{Config, Module};

/// Modules in plugins, and as they are.
pub fn target() -> Run {
    let complete = "(func $evil (type $evil) (call $record (local.get 0) (local.get 1) (i32.const 1)))";
    let plugin = plugin_with("transform", complete);
    let mut loading = Loading::new();
    Box::new(move |bytes| {
        let mut u = Unstructured::new(bytes);
        let Ok((module, on_error)) = module(&mut u) else { return Ok(()) };
        loading.check(&module, on_error)?;
        let outcome = loading.check(&with_module(&plugin, &module), on_error)?;
        match outcome.batches.first() {
            Some((rows, _)) if rows.num_rows() != 4 || !outcome.refused.is_empty() => {
                Err(format!("a module beside the plugin changes what it returns: {rows:?}"))
            }
            _ => Ok(()),
        }
    })
}

fn module(u: &mut Unstructured<'_>) -> Arbitrary<(Vec<u8>, OnError)> {
    let on_error = if u.arbitrary()? { OnError::Reject } else { OnError::Fail };
    // Most modules use what plugins may; the others must be rejected.
    let all = u.ratio(1, 8)?;
    let config = Config {
        max_imports: 0,
        max_memories: 2,
        max_memory32_bytes: 8 << 20,
        max_table_elements: 50_000,
        max_instructions: 300,
        memory64_enabled: all,
        threads_enabled: all,
        gc_enabled: all,
        exceptions_enabled: all,
        allow_invalid_funcs: all,
        ..Config::default()
    };
    Ok((Module::new(config, u)?.to_bytes(), on_error))
}

/// Appends a module and an instance of it to a plugin.
fn with_module(plugin: &[u8], module: &[u8]) -> Vec<u8> {
    let complete = plugin_with_appended(plugin, "(core module $m) (core instance (instantiate $m))");
    // The empty module follows directly after the plugin, in a section of ten bytes.
    let (before, behind) = complete.split_at(plugin.len());
    [before, &section(1, module), &behind[10..]].concat()
}
