//! HTTP requests in QuickJS components.
//!
//! componentize-qjs provides WASI interfaces itself while it runs the modules of a plugin, but none that share
//! resources with them, as `wasi:http` does with `wasi:io`. So the SDK's WIT contains the interfaces for HTTP under
//! another name of the same length. The component then gets the name that hosts support. QuickJS itself uses another
//! WASI version, so no import is duplicated.

use std::ops::Range;
use wasmparser::{Parser, Payload, Result};

/// The package name in the SDK's WIT, and its replacement.
const NAMES: [&[u8]; 2] = [b"host:", b"wasi:"];

/// Renames the imports of a component to the names that hosts support.
pub fn rename_imports(component: &mut [u8]) -> Result<()> {
    for section in imports(component)? {
        let [own, known] = NAMES;
        let Some(bytes) = component.get_mut(section) else { continue };
        let positions: Vec<usize> = bytes
            .windows(own.len())
            .enumerate()
            .filter(|(_, word)| *word == own)
            .map(|(position, _)| position)
            .collect();
        for position in positions {
            if let Some(word) = bytes.get_mut(position..position + known.len()) {
                word.copy_from_slice(known);
            }
        }
    }
    Ok(())
}

/// Returns the ranges of the import sections of the component itself, without nested components.
fn imports(component: &[u8]) -> Result<Vec<Range<usize>>> {
    let (mut found, mut depth) = (Vec::new(), 0_u32);
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => found.push(section.range()),
            _ => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wit_component::{ComponentEncoder, StringEncoding};
    use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

    const WIT: &str = "
        package test:plugin;
        world plugin {
            import host:http/types@0.2.9;
            import other: interface { name-of-host: func(); }
        }
        package host:http@0.2.9 { interface types { resource fields; take: func(fields: fields); } }
    ";

    #[test]
    fn imports_bear_the_name_that_hosts_know() {
        let mut resolve = Resolve::default();
        let package = resolve.push_str("test.wit", WIT).expect("the text is WIT");
        let world = resolve.select_world(&[package], Some("plugin")).expect("a world");
        let mut module = wit_component::dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
        wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("a world");
        let encoder = ComponentEncoder::default().module(&module).expect("a module");
        let mut component = encoder.validate(true).encode().expect("a component");
        rename_imports(&mut component).expect("it is understood");
        wasmparser::Validator::new().validate_all(&component).expect("it is valid");
        let names: Vec<String> = Parser::new(0)
            .parse_all(&component)
            .filter_map(|payload| match payload.expect("it is valid") {
                Payload::ComponentImportSection(section) => Some(section.into_iter()),
                _ => None,
            })
            .flatten()
            .map(|import| import.expect("it is valid").name.name.to_owned())
            .collect();
        assert_eq!(names, ["wasi:http/types@0.2.9", "other"]);
        assert!(rename_imports(&mut component[..20]).is_err());
    }
}
