//! What a component is, read from its bytes: nothing of it is compiled or run.

use super::load_options::LoadOptions;
use super::needs::{self, ComponentNeeds, UnreadableComponent};
use super::releases::{MIGRATOR, VERSION, needs_other, parse_interface, release, world_among, world_of};
use super::world::World;
use crate::limits::PLUGIN_MESSAGE_BYTES_MAX;
use millstream_base::error::{Error, Kind, Result};
use millstream_base::shown::printable;
use std::path::Path;

/// The outline of a component.
#[derive(Clone, Debug)]
pub struct Outline {
    /// The world that it implements.
    pub world: World,
    /// The interface that makes it a plugin: `millstream:plugin/transformer@0.1.0`.
    pub interface: String,
    /// Whether it can migrate state of other versions of itself.
    pub migrates: bool,
    /// Its imports, exports and size.
    pub needs: ComponentNeeds,
}

impl Outline {
    /// Reads a component, whatever a job could grant it. `file` names it in messages.
    ///
    /// # Errors
    /// `Job` or `Plugin`: no host of this version would load it; the message says why.
    pub fn read(file: &Path, bytes: &[u8]) -> Result<Outline> {
        read(file, bytes, &LoadOptions { http: true, ..LoadOptions::default() })
    }

    /// The version of `millstream:plugin` that it was built for.
    pub fn version(&self) -> &str {
        parse_interface(&self.interface).map_or("", |(_, version)| version)
    }

    /// The permissions that it requests, one phrase per kind of import.
    pub fn permissions(&self) -> Vec<&'static str> {
        needs::requested_permissions(&self.needs.imports)
    }
}

/// The world of a component that is to become this file, if a host would take it: it exports one of ours, and imports
/// nothing that no job could grant.
///
/// # Errors
/// `Plugin`: it does not; the message says why.
pub fn check(file: &Path, bytes: &[u8]) -> Result<World> {
    // The user who builds it is its author.
    let of_author = |kind| if kind == Kind::Job { Kind::Plugin } else { kind };
    let outline = Outline::read(file, bytes).map_err(|error| Error { kind: of_author(error.kind), ..error })?;
    Ok(outline.world)
}

/// Reads the outline of a component. Rejects what is too large, not granted, or of an unsupported version, before anything is compiled.
pub fn read(file: &Path, bytes: &[u8], options: &LoadOptions) -> Result<Outline> {
    check_is_component(file, bytes)?;
    let needs = ComponentNeeds::read(bytes).map_err(|why| match why {
        UnreadableComponent::Damaged(message) => Error::plugin(format!(
            "plugin {} does not compile: {message}\n  Build it again: `millstream build`.",
            file.display()
        )),
        UnreadableComponent::TooLarge(message) => Error::job(format!("plugin {} {message}", file.display())),
    })?;
    check_imports(file, &needs.imports, world_among(&needs.exports), options)?;
    let (interface, world) = interface(file, &needs.exports)?;
    Ok(Outline { world, interface, migrates: migrates(file, world, &needs.exports)?, needs })
}

/// Checks that every import is offered to the plugin.
pub fn check_imports(file: &Path, imports: &[String], world: Option<World>, options: &LoadOptions) -> Result<()> {
    needs::check(imports, world, options).map_err(|message| Error::job(format!("plugin {} {message}", file.display())))
}

/// Fails if a file is not a component, and says what it is, by its first bytes.
fn check_is_component(file: &Path, bytes: &[u8]) -> Result<()> {
    let what = match bytes {
        [b'\0', b'a', b's', b'm', _, 0, 1, 0, ..] => return Ok(()),
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => {
            "is a core WebAssembly module, not a component. `millstream build` creates components from plugin \
            directories."
        }
        [b'\0', b'a', b's', b'm', ..] => "is WebAssembly of a kind that this host does not support",
        [] => "is empty, not a component",
        text if std::str::from_utf8(text).is_ok() => {
            "is text, not a component. `millstream build` creates components from plugin directories."
        }
        _ => "is not WebAssembly, so it is not a component",
    };
    Err(Error::job(format!("plugin {}: the file {what}", file.display())))
}

/// The interface, of those exported, that makes a component a plugin, and its world.
fn interface(file: &Path, exports: &[String]) -> Result<(String, World)> {
    let worlds = exports.iter().filter_map(|name| {
        let (interface, version) = parse_interface(name)?;
        Some((name, interface, version, world_of(interface)?))
    });
    let worlds: Vec<(&String, &str, &str, World)> = worlds.collect();
    let shown = file.display();
    match worlds[..] {
        [(name, interface, version, world)] => match release(version) {
            Some(release) if release.worlds.contains(&interface) => Ok((name.clone(), world)),
            Some(_) => Err(has_none(file, interface, version)),
            None => Err(Error::job(format!("plugin {shown} {}", needs_other(version)))),
        },
        [] => {
            // An unknown world belongs to an unknown version.
            let later =
                exports.iter().filter_map(|name| parse_interface(name)).find(|(_, version)| release(version).is_none());
            if let Some((_, version)) = later {
                return Err(Error::job(format!("plugin {shown} {}", needs_other(version))));
            }
            let list = if exports.is_empty() {
                "nothing".into()
            } else {
                names(&exports.iter().map(String::as_str).collect::<Vec<_>>())
            };
            Err(Error::job(format!(
                "{shown} is a component, but not a Millstream plugin: it exports {list}, but none of transformer, \
                 updater, aggregator, cogrouper and reader of millstream:plugin@{VERSION}"
            )))
        }
        _ => {
            let all: Vec<&str> = worlds.iter().map(|(name, ..)| name.as_str()).collect();
            Err(Error::job(format!("plugin {shown} implements several worlds: {}; it must implement one", names(&all))))
        }
    }
}

/// Whether it exports the function that migrates state.
fn migrates(file: &Path, world: World, exports: &[String]) -> Result<bool> {
    let shown = file.display();
    let found = exports.iter().filter_map(|name| parse_interface(name)).find(|(interface, _)| *interface == MIGRATOR);
    let Some((_, version)) = found else { return Ok(false) };
    match release(version) {
        None => Err(Error::job(format!("plugin {shown} {}", needs_other(version)))),
        Some(release) if !release.additional.contains(&MIGRATOR) => Err(has_none(file, MIGRATOR, version)),
        Some(_) if world == World::Update => Ok(true),
        Some(_) => Err(Error::job(format!(
            "plugin {shown} exports {MIGRATOR}, which only world update supports; it is of world {world}"
        ))),
    }
}

/// The error of a component that exports an interface which its version does not have.
fn has_none(file: &Path, interface: &str, version: &str) -> Error {
    Error::job(format!(
        "plugin {} exports {interface} of millstream:plugin@{version}, which has none: build it again with an SDK for \
         {VERSION}",
        file.display()
    ))
}

/// Names that a component's author chose.
fn names(all: &[&str]) -> String {
    printable(&all.join(", "), PLUGIN_MESSAGE_BYTES_MAX)
}
