//! Removes the imports of `wasi:sockets` from a component, since plugins do not get them.
//!
//! CPython's libc imports them even if no socket is opened. A stub component exports the same interfaces, with
//! functions that trap. Each import becomes an alias of an export of the stub. What follows is copied unchanged, except
//! for the indices of instances and components.

use wasm_encoder::{
    Alias, ComponentAliasSection, ComponentExportKind as Kind, ComponentExportSection, ComponentInstanceSection,
    ComponentSection, ExportKind, RawSection,
};
use wasmparser::{
    BinaryReader, ComponentAlias, ComponentExport, ComponentExternalKind, ComponentImport, ComponentInstance,
    ComponentInstantiationArg, ComponentTypeRef, ExternalKind, FromReader, SectionLimited,
};
use wit_component::{ComponentEncoder, DecodedWasm, StringEncoding};
use wit_parser::{InterfaceId, LiftLowerAbi, ManglingAndAbi, Resolve, WorldId, WorldItem, WorldKey};

/// Fails for anything that is not expected in a component made by componentize-py.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const SOCKETS: &str = "wasi:sockets/";
/// The start of a component: the magic number, the version and the layer.
const PREAMBLE: &[u8] = b"\0asm\x0d\0\x01\0";
const COMPONENT: u8 = 4;
const INSTANCES: u8 = 5;
const ALIASES: u8 = 6;
const IMPORTS: u8 = 10;
const EXPORTS: u8 = 11;

/// Returns the component without these imports.
pub fn remove_imports(component: &[u8]) -> Result<Vec<u8>> {
    let mut rest = component.strip_prefix(PREAMBLE).ok_or("it is not a component")?;
    let DecodedWasm::Component(resolve, world) = wit_component::decode(component)? else {
        return Err("it has no world".into());
    };
    let mut made = RewrittenComponent { bytes: PREAMBLE.to_vec(), imports: Vec::new(), stub: None };
    while !rest.is_empty() {
        let (id, content, after) = section(rest)?;
        match id {
            IMPORTS => made.imports(&resolve, world, content)?,
            ALIASES => made.aliases(content)?,
            INSTANCES => made.instances(content)?,
            EXPORTS => made.exports(content)?,
            _ => made.bytes.extend_from_slice(rest.get(..rest.len() - after.len()).unwrap_or_default()),
        }
        rest = after;
    }
    Ok(made.bytes)
}

/// Splits off the first section: its ID, its content, and the bytes after it.
fn section(bytes: &[u8]) -> Result<(u8, &[u8], &[u8])> {
    let mut reader = BinaryReader::new(bytes, 0);
    let id = reader.read_u8()?;
    let size = reader.read_var_u32()? as usize;
    let start = reader.original_position();
    let (head, after) = bytes.split_at_checked(start + size).ok_or("it ends within a section")?;
    Ok((id, head.get(start..).unwrap_or_default(), after))
}

/// The component that is being written.
struct RewrittenComponent {
    bytes: Vec<u8>,
    /// The names of the imports so far, all of which are instances.
    imports: Vec<String>,
    /// The index of the stub's instance, once it exists. Indices from this one on are shifted by one, and so are the
    /// indices of all components.
    stub: Option<u32>,
}

impl RewrittenComponent {
    fn section(&mut self, section: &impl ComponentSection) {
        section.append_to_component(&mut self.bytes);
    }

    /// Returns the new index of an instance.
    fn instance(&self, old: u32) -> u32 {
        old + u32::from(self.stub.is_some_and(|stub| old >= stub))
    }

    /// Returns the new index of any item.
    fn new_index(&self, kind: ComponentExternalKind, old: u32) -> (Kind, u32) {
        match kind {
            ComponentExternalKind::Module => (Kind::Module, old),
            ComponentExternalKind::Func => (Kind::Func, old),
            ComponentExternalKind::Value => (Kind::Value, old),
            ComponentExternalKind::Type => (Kind::Type, old),
            ComponentExternalKind::Instance => (Kind::Instance, self.instance(old)),
            ComponentExternalKind::Component => (Kind::Component, old + u32::from(self.stub.is_some())),
        }
    }

    /// Copies a section of imports. wit-component writes one import per section.
    fn imports(&mut self, resolve: &Resolve, world: WorldId, content: &[u8]) -> Result<()> {
        let imports = read_all::<ComponentImport<'_>>(content)?;
        let [ComponentImport { name, ty: ComponentTypeRef::Instance(_) }] = imports.as_slice() else {
            return Err("a section of it imports something else than one interface".into());
        };
        let name = name.name;
        if name.starts_with(SOCKETS) {
            let stub = match self.stub {
                Some(stub) => stub,
                None => self.append_stub(resolve, world)?,
            };
            let mut aliases = ComponentAliasSection::new();
            aliases.alias(Alias::InstanceExport { instance: stub, kind: Kind::Instance, name });
            self.section(&aliases);
        } else {
            self.section(&RawSection { id: IMPORTS, data: content });
        }
        self.imports.push(name.to_owned());
        Ok(())
    }

    /// Appends the stub and its instance, whose index is that of the next import.
    fn append_stub(&mut self, resolve: &Resolve, world: WorldId) -> Result<u32> {
        let (component, needs) = stub(resolve.clone(), world)?;
        self.section(&RawSection { id: COMPONENT, data: &component });
        let mut arguments = Vec::new();
        for need in needs {
            let index = self.imports.iter().position(|import| *import == need);
            let index = index.ok_or_else(|| format!("it imports sockets before `{need}`"))?;
            arguments.push((need, Kind::Instance, u32::try_from(index)?));
        }
        let mut instances = ComponentInstanceSection::new();
        instances.instantiate(0, arguments);
        self.section(&instances);
        let stub = u32::try_from(self.imports.len())?;
        self.stub = Some(stub);
        Ok(stub)
    }

    fn aliases(&mut self, content: &[u8]) -> Result<()> {
        let mut aliases = ComponentAliasSection::new();
        for alias in read_all::<ComponentAlias<'_>>(content)? {
            aliases.alias(match alias {
                ComponentAlias::InstanceExport { kind, instance_index, name } => Alias::InstanceExport {
                    instance: self.instance(instance_index),
                    kind: self.new_index(kind, 0).0,
                    name,
                },
                ComponentAlias::CoreInstanceExport { kind, instance_index, name } => {
                    Alias::CoreInstanceExport { instance: instance_index, kind: core_kind(kind)?, name }
                }
                ComponentAlias::Outer { .. } => return Err("it uses an outer component".into()),
            });
        }
        self.section(&aliases);
        Ok(())
    }

    fn instances(&mut self, content: &[u8]) -> Result<()> {
        let mut instances = ComponentInstanceSection::new();
        for instance in read_all::<ComponentInstance<'_>>(content)? {
            match instance {
                ComponentInstance::Instantiate { component_index, args } => {
                    let argument = |arg: &ComponentInstantiationArg<'_>| {
                        let (kind, index) = self.new_index(arg.kind, arg.index);
                        (arg.name.to_owned(), kind, index)
                    };
                    let (_, component) = self.new_index(ComponentExternalKind::Component, component_index);
                    instances.instantiate(component, args.iter().map(argument).collect::<Vec<_>>());
                }
                ComponentInstance::FromExports(_) => return Err("it creates an instance of a part of itself".into()),
            }
        }
        self.section(&instances);
        Ok(())
    }

    fn exports(&mut self, content: &[u8]) -> Result<()> {
        let mut exports = ComponentExportSection::new();
        for ComponentExport { name, kind, index, ty } in read_all::<ComponentExport<'_>>(content)? {
            if ty.is_some() {
                return Err(format!("it gives a type to its export `{}`", name.name).into());
            }
            let (kind, index) = self.new_index(kind, index);
            exports.export(name.name, kind, index, None);
        }
        self.section(&exports);
        Ok(())
    }
}

/// Reads all items of a section.
fn read_all<'a, T: FromReader<'a>>(content: &'a [u8]) -> Result<Vec<T>> {
    let section = SectionLimited::<T>::new(BinaryReader::new(content, 0))?;
    Ok(section.into_iter().collect::<std::result::Result<_, _>>()?)
}

fn core_kind(kind: ExternalKind) -> Result<ExportKind> {
    Ok(match kind {
        ExternalKind::Func => ExportKind::Func,
        ExternalKind::Table => ExportKind::Table,
        ExternalKind::Memory => ExportKind::Memory,
        ExternalKind::Global => ExportKind::Global,
        _ => return Err("it has exports of an unknown kind".into()),
    })
}

/// Returns a component that exports the sockets that `world` imports, and the names of the interfaces that it imports
/// for that.
fn stub(mut resolve: Resolve, world: WorldId) -> Result<(Vec<u8>, Vec<String>)> {
    let imports = std::mem::take(&mut resolve.worlds.get_mut(world).ok_or("it has no world")?.imports);
    let is_socket = |key: &WorldKey| resolve.name_world_key(key).starts_with(SOCKETS);
    let (mut sockets, mut others) = (imports.clone(), imports);
    sockets.retain(|key, _| is_socket(key));
    others.retain(|key, _| !is_socket(key));
    let mut needed = Vec::new();
    for item in sockets.values() {
        if let WorldItem::Interface { id, .. } = item {
            add_needed(&resolve, *id, &mut needed);
        }
    }
    others.retain(|_, item| matches!(item, WorldItem::Interface { id, .. } if needed.contains(id)));
    let stub = resolve.worlds.get_mut(world).ok_or("it has no world")?;
    stub.imports = others;
    stub.exports = sockets;
    let mut module = wit_component::dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    let component = ComponentEncoder::default().module(&module)?.encode()?;
    let DecodedWasm::Component(made, world) = wit_component::decode(&component)? else {
        return Err("its stub is not a component".into());
    };
    let imports = made.worlds.get(world).map(|world| &world.imports).into_iter().flatten();
    Ok((component, imports.map(|(key, _)| made.name_world_key(key)).collect()))
}

/// Adds the interfaces whose types an interface uses.
fn add_needed(resolve: &Resolve, id: InterfaceId, needed: &mut Vec<InterfaceId>) {
    for of in resolve.interface_direct_deps(id) {
        if !needed.contains(&of) {
            needed.push(of);
            add_needed(resolve, of, needed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIT: &str = "
        package test:root;
        package wasi:io@0.2.9 {
            interface poll { resource pollable { block: func(); } }
        }
        package wasi:sockets@0.2.9 {
            interface network { resource network; }
            interface tcp {
                use network.{network};
                use wasi:io/poll@0.2.9.{pollable};
                resource tcp-socket {
                    bind: func(network: borrow<network>, address: string) -> result<string, u8>;
                    subscribe: func() -> pollable;
                }
            }
        }
        package test:plugin@0.1.0 {
            interface log { write: func(line: string); }
            interface runner { run: func(line: string) -> list<u8>; }
            world with-sockets {
                import wasi:io/poll@0.2.9;
                import wasi:sockets/network@0.2.9;
                import wasi:sockets/tcp@0.2.9;
                import log;
                export runner;
            }
        }
    ";

    fn component(world: &str) -> Vec<u8> {
        let mut resolve = Resolve::default();
        let package = resolve.push_str("test.wit", WIT).expect("the text is WIT");
        let world = resolve.select_world(&[package], Some(world)).expect("there is the world");
        let mut module = wit_component::dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
        wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("a world");
        ComponentEncoder::default().module(&module).and_then(|mut encoder| encoder.encode()).expect("a component")
    }

    fn imports_and_exports(component: &[u8]) -> (Vec<String>, Vec<String>) {
        wasmparser::Validator::new().validate_all(component).expect("it is valid");
        let Ok(DecodedWasm::Component(resolve, world)) = wit_component::decode(component) else {
            panic!("it is not a component");
        };
        let names = |items: Vec<&WorldKey>| items.into_iter().map(|key| resolve.name_world_key(key)).collect();
        let world = &resolve.worlds[world];
        (names(world.imports.keys().collect()), names(world.exports.keys().collect()))
    }

    #[test]
    fn only_the_sockets_are_taken_out() {
        let component = component("test:plugin/with-sockets@0.1.0");
        let (imports, exports) = imports_and_exports(&component);
        assert!(imports.iter().any(|name| name == "wasi:sockets/tcp@0.2.9"), "{imports:?}");
        let without = remove_imports(&component).expect("it is understood");
        let left: Vec<String> = imports.into_iter().filter(|name| !name.starts_with(SOCKETS)).collect();
        assert_eq!(left, ["wasi:io/poll@0.2.9", "test:plugin/log@0.1.0"]);
        assert_eq!(imports_and_exports(&without), (left, exports));
        // The second time nothing is left to remove.
        assert_eq!(super::remove_imports(&without).expect("it is understood"), without);
    }

    #[test]
    fn what_is_no_component_is_refused() {
        assert!(remove_imports(b"\0asm\x01\0\0\0").is_err());
        let component = component("test:plugin/with-sockets@0.1.0");
        for bytes in [0, 7, component.len() / 2, component.len() - 1] {
            assert!(remove_imports(&component[..bytes]).is_err(), "{bytes} bytes");
        }
    }
}
