//! Rust: cargo compiles a project to a core module, and wit-component wraps that.

pub mod toolchain;

use crate::author::failed;
use crate::author::project::{Code, Project};
use millstream_base::error::{Error, Result};
use millstream_plugins::plugin::with_heap;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use toolchain::TARGET;

/// The profile for compiling plugins. A project may define it. It is based on `release`.
const PROFILE: &str = "plugin";
/// The initial heap of a plugin's allocator: enough for calls with a few rows.
const HEAP_BYTES: i32 = 256 << 10;

/// Compiles a project to a component.
pub fn component(project: &Project) -> Result<Vec<u8>> {
    let Code::Rust { library, target, .. } = &project.code else { return Err(Error::bug("no project of cargo")) };
    // Only a lone cdylib gets link-time optimization. For tests, a project's manifest also lists `rlib`.
    if !run_cargo(&["rustc", "--crate-type", "cdylib"], target, project)? {
        return Err(Error::plugin("cargo failed; see its messages above"));
    }
    let module = modules(target).join(TARGET).join(PROFILE).join(format!("{library}.wasm"));
    let module = millstream_base::regular::read(&module).map_err(|error| failed("read", &module, &error))?;
    encode(&with_heap(&module, HEAP_BYTES)?)
}

/// Compiles projects with one call of cargo per workspace. This is faster than one call per project, as all processors
/// are used until the end. [`component`] then finds them compiled, or reports which project has an error.
pub fn compile_together(projects: &[Project]) -> Result<()> {
    let mut workspaces: BTreeMap<(&Path, &Path), Vec<&Project>> = BTreeMap::new();
    for project in projects {
        if let Code::Rust { module_only: true, workspace, target, .. } = &project.code {
            workspaces.entry((workspace, target)).or_default().push(project);
        }
    }
    for ((_, target), projects) in workspaces {
        if let [first, _, ..] = &*projects {
            let names = projects.iter().flat_map(|project| ["--package", &project.about.name]);
            run_cargo(&["build"].into_iter().chain(names).collect::<Vec<_>>(), target, first)?;
        }
    }
    Ok(())
}

/// Runs cargo for plugin libraries. Returns whether they were built. cargo's output goes to standard error.
fn run_cargo(command: &[&str], target: &Path, project: &Project) -> Result<bool> {
    let status = toolchain::find()?
        .compile()
        .args(command)
        .args(["--lib", "--target", TARGET, "--profile", PROFILE])
        .args(["--config", &format!("profile.{PROFILE}.inherits=\"release\"")])
        .arg("--target-dir")
        .arg(modules(target))
        .arg("--manifest-path")
        .arg(project.dir.join("Cargo.toml"))
        .stdin(Stdio::null())
        .status()
        .map_err(|error| Error::environment(format!("cannot run cargo: {error}")))?;
    Ok(status.success())
}

/// Returns the directory for modules. It is separate from cargo's output for the host, which may use another rustc.
fn modules(target: &Path) -> PathBuf {
    target.join("plugins")
}

/// Creates a component from a core module that contains the SDK's macros.
fn encode(module: &[u8]) -> Result<Vec<u8>> {
    const WHAT_TO_DO: &str = "Does its src/lib.rs have a function with #[millstream_sdk::transform], or with the macro of \
                              another world?";
    let encode = wit_component::ComponentEncoder::default().validate(true).module(module).and_then(|mut e| e.encode());
    let wrong =
        |what: &dyn std::fmt::Display| Error::plugin(format!("cannot convert it to a component: {what}\n{WHAT_TO_DO}"));
    let component = encode.map_err(|error| wrong(&format_args!("{error:#}")))?;
    match wit_component::decode(&component) {
        Ok(wit_component::DecodedWasm::Component(resolve, world))
            if resolve.worlds.get(world).is_some_and(|world| !world.exports.is_empty()) =>
        {
            Ok(component)
        }
        Ok(_) => Err(wrong(&"it exports nothing")),
        Err(error) => Err(wrong(&format_args!("{error:#}"))),
    }
}
