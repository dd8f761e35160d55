//! Lets the host call a function of a core module within a component, which the component itself does not export.

use wasm_encoder::{
    Alias, CanonicalFunctionSection, ComponentAliasSection, ComponentExportKind, ComponentExportSection,
    ComponentSection, ComponentTypeSection, ExportKind, PrimitiveValType,
};
use wasmparser::{
    CanonicalFunction, ComponentAlias, ComponentExternalKind, ComponentOuterAliasKind, ExternalKind, Instance, Parser,
    Payload,
};
use wasmtime::{Result, error::Context as _};

/// Returns the component with an additional export: a function of a core module that takes nothing and returns a number.
pub fn export_function(component: &[u8], function: &str) -> Result<Vec<u8>> {
    let found = ItemCounts::read(component, function).context("it cannot be read")?;
    let instance = found.instance.with_context(|| format!("no module of it exports {function}"))?;
    let mut made = component.to_vec();
    let mut aliases = ComponentAliasSection::new();
    aliases.alias(Alias::CoreInstanceExport { instance, kind: ExportKind::Func, name: function });
    aliases.append_to_component(&mut made);
    let mut types = ComponentTypeSection::new();
    types.function().params([] as [(&str, PrimitiveValType); 0]).result(Some(PrimitiveValType::S32.into()));
    types.append_to_component(&mut made);
    let mut lifted = CanonicalFunctionSection::new();
    lifted.lift(found.core_functions, found.types, []);
    lifted.append_to_component(&mut made);
    let mut exports = ComponentExportSection::new();
    exports.export(function, ComponentExportKind::Func, found.functions, None);
    exports.append_to_component(&mut made);
    Ok(made)
}

/// Number of parts of each kind in a component, without nested components.
#[derive(Default)]
struct ItemCounts {
    modules: u32,
    core_instances: u32,
    core_functions: u32,
    functions: u32,
    types: u32,
    /// The module that exports the function.
    module: Option<u32>,
    instance: Option<u32>,
}

impl ItemCounts {
    fn read(component: &[u8], function: &str) -> wasmparser::Result<ItemCounts> {
        let mut found = ItemCounts::default();
        // Whether each component or module that we are in is one of the outermost component's modules.
        let mut within: Vec<bool> = Vec::new();
        for payload in Parser::new(0).parse_all(component) {
            match payload? {
                Payload::ModuleSection { .. } => {
                    found.modules += u32::from(within.is_empty());
                    within.push(within.is_empty());
                }
                Payload::ComponentSection { .. } => within.push(false),
                Payload::End(_) => drop(within.pop()),
                Payload::ExportSection(exports) if within == [true] => {
                    for export in exports {
                        if export?.name == function {
                            found.module = found.modules.checked_sub(1);
                        }
                    }
                }
                payload if within.is_empty() => found.count(payload)?,
                _ => {}
            }
        }
        Ok(found)
    }

    fn count(&mut self, payload: Payload<'_>) -> wasmparser::Result<()> {
        match payload {
            Payload::InstanceSection(instances) => {
                for instance in instances {
                    if let Instance::Instantiate { module_index, .. } = instance?
                        && self.module == Some(module_index)
                    {
                        self.instance = Some(self.core_instances);
                    }
                    self.core_instances += 1;
                }
            }
            Payload::ComponentTypeSection(types) => self.types += types.count(),
            Payload::ComponentAliasSection(aliases) => {
                for alias in aliases {
                    match alias? {
                        ComponentAlias::CoreInstanceExport { kind: ExternalKind::Func, .. } => self.core_functions += 1,
                        ComponentAlias::InstanceExport { kind, .. } => self.add(kind),
                        ComponentAlias::Outer { kind: ComponentOuterAliasKind::Type, .. } => self.types += 1,
                        _ => {}
                    }
                }
            }
            Payload::ComponentCanonicalSection(functions) => {
                for function in functions {
                    match function? {
                        CanonicalFunction::Lift { .. } => self.functions += 1,
                        _ => self.core_functions += 1,
                    }
                }
            }
            Payload::ComponentImportSection(imports) => {
                for import in imports {
                    self.add(import?.ty.kind());
                }
            }
            Payload::ComponentExportSection(exports) => {
                for export in exports {
                    self.add(export?.kind);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn add(&mut self, kind: ComponentExternalKind) {
        match kind {
            ComponentExternalKind::Func => self.functions += 1,
            ComponentExternalKind::Type => self.types += 1,
            _ => {}
        }
    }
}
