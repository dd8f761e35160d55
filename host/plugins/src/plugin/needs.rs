//! The imports and the size of a component, read from its bytes before anything is compiled or run.
//!
//! Nothing is validated here: compilation does that, in a separate process. Reading takes time linear in the size of the file and hardly
//! any memory, whatever the bytes are.

mod offered;
mod types;

use crate::limits::{
    COMPONENT_FUNCTION_BYTES_MAX, COMPONENT_FUNCTIONS_MAX, COMPONENT_IMPORTS_MAX, COMPONENT_INSTANCES_MAX,
    COMPONENT_MODULES_MAX, COMPONENT_NESTING_MAX, COMPONENT_SECTIONS_MAX, COMPONENT_TYPES_MAX,
};
pub use offered::{check, requested_permissions};
use types::Types;
use wasmparser::{
    BinaryReader, ComponentAlias, ComponentExternalKind, ComponentOuterAliasKind, ComponentTypeRef, Imports, Parser,
    Payload, SectionLimited, TypeBounds,
};

/// The imports and the size of a component.
#[derive(Clone, Debug, Default)]
pub struct ComponentNeeds {
    /// Names of imports with functions; those that only define types are omitted.
    pub imports: Vec<String>,
    /// Names of the exports.
    pub exports: Vec<String>,
    /// Number of its parts.
    pub size: Size,
}

/// Number of each kind of part in a component, including nested ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct Size {
    /// Sections.
    pub sections: u64,
    /// Core modules.
    pub modules: u64,
    /// Components inside.
    pub components: u64,
    /// Instances of modules and components, as they are written.
    pub instances: u64,
    /// Functions with a body.
    pub functions: u64,
    /// Bytes of the largest of them.
    pub function_bytes: u64,
    /// Types, of modules and of components.
    pub types: u64,
    /// Imports, those of the modules inside included.
    pub imports: u64,
    /// Memories that modules define.
    pub memories: u64,
    /// Tables that modules define.
    pub tables: u64,
    /// Maximum nesting of components, or of types.
    pub nesting: u64,
}

/// Why bytes are rejected; the message follows the plugin's name.
#[derive(Debug, PartialEq, Eq)]
pub enum UnreadableComponent {
    /// They are not a component.
    Damaged(String),
    /// A part exceeds a limit.
    TooLarge(String),
}

impl From<wasmparser::Error> for UnreadableComponent {
    fn from(error: wasmparser::Error) -> UnreadableComponent {
        UnreadableComponent::Damaged(error.to_string())
    }
}

impl ComponentNeeds {
    /// Reads a component, until a limit is passed.
    pub fn read(bytes: &[u8]) -> Result<ComponentNeeds, UnreadableComponent> {
        let mut reading =
            TypeReading { bytes, needs: ComponentNeeds::default(), depth: 0, types: Types::default(), ended: false };
        for payload in Parser::new(0).parse_all(bytes) {
            reading.payload(payload?)?;
            reading.needs.size.check()?;
        }
        match reading.ended {
            true => Ok(reading.needs),
            false => Err(UnreadableComponent::Damaged("it ends too early".into())),
        }
    }
}

impl Size {
    fn check(&self) -> Result<(), UnreadableComponent> {
        let limits = [
            (self.sections, COMPONENT_SECTIONS_MAX, "sections"),
            (self.modules, COMPONENT_MODULES_MAX, "modules"),
            (self.components, COMPONENT_MODULES_MAX, "components inside it"),
            (self.instances, COMPONENT_INSTANCES_MAX, "instances"),
            (self.functions, COMPONENT_FUNCTIONS_MAX, "functions"),
            (self.types, COMPONENT_TYPES_MAX, "types"),
            (self.imports, COMPONENT_IMPORTS_MAX, "imports"),
            (self.nesting, COMPONENT_NESTING_MAX, "levels of nested components or types"),
            (self.function_bytes, COMPONENT_FUNCTION_BYTES_MAX, "bytes in one function"),
        ];
        match limits.into_iter().find(|(found, max, _)| found > max) {
            Some((found, max, what)) => {
                Err(UnreadableComponent::TooLarge(format!("has {found} {what}; at most {max} are allowed")))
            }
            None => Ok(()),
        }
    }
}

/// State of the parser.
struct TypeReading<'a> {
    bytes: &'a [u8],
    needs: ComponentNeeds,
    /// Modules and components around.
    depth: u64,
    /// The types of the outermost component.
    types: Types,
    /// Whether the outermost component has ended.
    ended: bool,
}

impl TypeReading<'_> {
    fn payload(&mut self, payload: Payload<'_>) -> Result<(), UnreadableComponent> {
        let size = &mut self.needs.size;
        size.sections += u64::from(!matches!(payload, Payload::CodeSectionEntry(_)));
        match payload {
            Payload::ModuleSection { .. } => {
                size.modules += 1;
                self.depth += 1;
            }
            Payload::ComponentSection { .. } => {
                size.components += 1;
                self.depth += 1;
                size.nesting = size.nesting.max(self.depth);
            }
            Payload::End(_) => {
                self.ended = self.depth == 0;
                self.depth = self.depth.saturating_sub(1);
            }
            Payload::CodeSectionStart { count, .. } => size.functions += u64::from(count),
            Payload::CodeSectionEntry(body) => {
                size.function_bytes = size.function_bytes.max(body.range().len() as u64);
            }
            Payload::MemorySection(section) => size.memories += u64::from(section.count()),
            Payload::TableSection(section) => size.tables += u64::from(section.count()),
            Payload::TypeSection(section) => size.types += u64::from(section.count()),
            Payload::CoreTypeSection(section) => size.types += u64::from(section.count()),
            Payload::InstanceSection(section) => size.instances += u64::from(section.count()),
            Payload::ComponentInstanceSection(section) => size.instances += u64::from(section.count()),
            Payload::ImportSection(section) => {
                for imports in section {
                    size.imports += match imports? {
                        Imports::Single(..) => 1,
                        Imports::Compact1 { items, .. } => u64::from(items.count()),
                        Imports::Compact2 { names, .. } => u64::from(names.count()),
                    };
                }
            }
            Payload::ComponentTypeSection(section) => self.component_types(&section)?,
            Payload::ComponentImportSection(section) => self.component_imports(section)?,
            Payload::ComponentExportSection(section) if self.depth == 0 => self.exports(section)?,
            Payload::ComponentAliasSection(section) if self.depth == 0 => self.aliases(section)?,
            _ => {}
        }
        Ok(())
    }

    fn component_types<T>(&mut self, section: &SectionLimited<'_, T>) -> Result<(), UnreadableComponent> {
        let range = section.range();
        let mut reader = BinaryReader::new(self.bytes.get(range.clone()).unwrap_or_default(), range.start);
        let size = &mut self.needs.size;
        for _ in 0..reader.read_var_u32()? {
            let found = types::read(&mut reader, size)?;
            size.check()?;
            if self.depth == 0 {
                self.types.push(found);
            }
        }
        Ok(())
    }

    fn component_imports(
        &mut self,
        section: SectionLimited<'_, wasmparser::ComponentImport<'_>>,
    ) -> Result<(), UnreadableComponent> {
        self.needs.size.imports += u64::from(section.count());
        self.needs.size.check()?;
        if self.depth > 0 {
            return Ok(());
        }
        for import in section {
            let import = import?;
            let only_types = match import.ty {
                ComponentTypeRef::Instance(index) => self.types.only_types(index),
                ComponentTypeRef::Type(bounds) => {
                    self.types.push(types::Type::Other);
                    matches!(bounds, TypeBounds::Eq(_))
                }
                _ => false,
            };
            if !only_types {
                self.needs.imports.push(import.name.name.to_owned());
            }
        }
        Ok(())
    }

    fn exports(
        &mut self,
        section: SectionLimited<'_, wasmparser::ComponentExport<'_>>,
    ) -> Result<(), UnreadableComponent> {
        for export in section {
            let export = export?;
            if export.kind == ComponentExternalKind::Type {
                self.types.push(types::Type::Other);
            }
            self.needs.exports.push(export.name.name.to_owned());
        }
        Ok(())
    }

    fn aliases(&mut self, section: SectionLimited<'_, ComponentAlias<'_>>) -> Result<(), UnreadableComponent> {
        for alias in section {
            let is_type = match alias? {
                ComponentAlias::InstanceExport { kind, .. } => kind == ComponentExternalKind::Type,
                ComponentAlias::Outer { kind, .. } => kind == ComponentOuterAliasKind::Type,
                ComponentAlias::CoreInstanceExport { .. } => false,
            };
            if is_type {
                self.types.push(types::Type::Other);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
