//! The types of a component, as far as imports need them: whether an instance is nothing but names for types.

use super::{Size, UnreadableComponent};
use crate::limits::COMPONENT_NESTING_MAX;
use wasmparser::{
    BinaryReader, ComponentAlias, ComponentExternName, ComponentImport, ComponentType, ComponentTypeRef, CoreType,
    TypeBounds,
};

/// The bytes with which `wasmparser` distinguishes types and declarations; see `Binary.md` of the component model.
const COMPONENT: u8 = 0x41;
const INSTANCE: u8 = 0x42;
const DECLARE_CORE_TYPE: u8 = 0x00;
const DECLARE_TYPE: u8 = 0x01;
const DECLARE_ALIAS: u8 = 0x02;
const DECLARE_IMPORT: u8 = 0x03;
const DECLARE_EXPORT: u8 = 0x04;

/// A type of the outermost component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// An instance that exports nothing but types.
    OnlyTypes,
    /// Any other.
    Other,
}

/// The types of the outermost component, by index.
#[derive(Debug, Default)]
pub struct Types(Vec<Type>);

impl Types {
    /// The next one.
    pub fn push(&mut self, found: Type) {
        self.0.push(found);
    }

    /// Whether an instance of this type does nothing.
    pub fn only_types(&self, index: u32) -> bool {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        self.0.get(index) == Some(&Type::OnlyTypes)
    }
}

/// Reads one type. `wasmparser` would follow types within types as deep as they go, and so beyond the end of the stack;
/// here their depth is counted.
pub fn read(reader: &mut BinaryReader<'_>, size: &mut Size) -> Result<Type, UnreadableComponent> {
    nested(reader, size, 1)
}

fn nested(reader: &mut BinaryReader<'_>, size: &mut Size, depth: u64) -> Result<Type, UnreadableComponent> {
    size.types += 1;
    size.nesting = size.nesting.max(depth);
    if depth > COMPONENT_NESTING_MAX {
        size.check()?;
    }
    let mut ahead = reader.clone();
    let kind = ahead.read_u8()?;
    if kind != COMPONENT && kind != INSTANCE {
        reader.read::<ComponentType<'_>>()?;
        return Ok(Type::Other);
    }
    *reader = ahead;
    let mut only_types = kind == INSTANCE;
    for _ in 0..reader.read_var_u32()? {
        only_types &= declaration(reader, size, depth)?;
    }
    Ok(if only_types { Type::OnlyTypes } else { Type::Other })
}

/// Reads one line of an instance's or component's type; whether it does nothing.
fn declaration(reader: &mut BinaryReader<'_>, size: &mut Size, depth: u64) -> Result<bool, UnreadableComponent> {
    match reader.read_u8()? {
        DECLARE_CORE_TYPE => {
            size.types += 1;
            reader.read::<CoreType<'_>>()?;
        }
        DECLARE_TYPE => {
            nested(reader, size, depth + 1)?;
        }
        DECLARE_ALIAS => {
            reader.read::<ComponentAlias<'_>>()?;
        }
        DECLARE_IMPORT => {
            reader.read::<ComponentImport<'_>>()?;
            return Ok(false);
        }
        DECLARE_EXPORT => {
            reader.read::<ComponentExternName<'_>>()?;
            // The host creates the resources of imports.
            return Ok(matches!(reader.read::<ComponentTypeRef>()?, ComponentTypeRef::Type(TypeBounds::Eq(_))));
        }
        other => {
            let (byte, offset) = (other, reader.original_position().saturating_sub(1));
            return Err(UnreadableComponent::Damaged(format!(
                "unknown declaration 0x{byte:02x} in a type (at offset 0x{offset:x})"
            )));
        }
    }
    Ok(true)
}
