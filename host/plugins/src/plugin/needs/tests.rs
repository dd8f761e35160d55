use super::*;
use crate::plugin::load_options::LoadOptions;
use crate::plugin::world::World;
use millstream_base::random::Random;
use wasm_encoder as wasm;

fn component(sections: impl FnOnce(&mut wasm::Component)) -> Vec<u8> {
    let mut component = wasm::Component::new();
    sections(&mut component);
    component.finish()
}

/// A component that imports an instance of this type under this name.
fn importing(name: &str, exports_function: bool) -> Vec<u8> {
    component(|component| {
        let mut types = wasm::ComponentTypeSection::new();
        let mut instance = wasm::InstanceType::new();
        if exports_function {
            instance.ty().function().params([] as [(&str, wasm::ComponentValType); 0]).result(None);
            instance.export("f", wasm::ComponentTypeRef::Func(0));
        } else {
            instance.ty().defined_type().primitive(wasm::PrimitiveValType::U8);
            instance.export("t", wasm::ComponentTypeRef::Type(wasm::TypeBounds::Eq(0)));
        }
        types.instance(&instance);
        let mut imports = wasm::ComponentImportSection::new();
        imports.import(name, wasm::ComponentTypeRef::Instance(0));
        component.section(&types).section(&imports);
    })
}

#[test]
fn imports_that_only_define_types_ask_for_nothing() {
    assert_eq!(ComponentNeeds::read(&importing("a:b/c", true)).unwrap().imports, ["a:b/c"]);
    assert!(ComponentNeeds::read(&importing("a:b/c", false)).unwrap().imports.is_empty());
}

#[test]
fn types_within_types_are_counted_and_end() {
    let nested = |levels: usize| {
        let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
        let types: Vec<u8> = [1].into_iter().chain([0x42, 1, 1].repeat(levels)).chain([0x7f]).collect();
        bytes.push(7);
        let mut length = types.len();
        while length >= 0x80 {
            bytes.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.extend(types);
        bytes
    };
    assert_eq!(ComponentNeeds::read(&nested(10)).unwrap().size.nesting, 11);
    let message = "levels of nested components or types; at most 32 are allowed";
    for levels in [40, 5_000_000] {
        match ComponentNeeds::read(&nested(levels)) {
            Err(UnreadableComponent::TooLarge(found)) => assert!(found.ends_with(message), "{found}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn sizes_are_counted_inside_too() {
    let mut module = wasm::Module::new();
    let mut types = wasm::TypeSection::new();
    types.ty().function([], []);
    let mut functions = wasm::FunctionSection::new();
    let mut code = wasm::CodeSection::new();
    for length in [1, 300] {
        functions.function(0);
        let mut body = wasm::Function::new([]);
        for _ in 0..length {
            body.instructions().nop();
        }
        body.instructions().end();
        code.function(&body);
    }
    module.section(&types).section(&functions).section(&code);
    let inner = component(|component| {
        component.section(&wasm::ModuleSection(&module));
    });
    let outer = component(|component| {
        component.section(&wasm::RawSection { id: 4, data: &inner }).section(&wasm::ModuleSection(&module));
    });
    let size = ComponentNeeds::read(&outer).unwrap().size;
    assert_eq!((size.modules, size.components, size.functions, size.types, size.nesting), (2, 1, 4, 2, 1));
    assert_eq!(size.function_bytes, 302);
}

#[test]
fn too_many_functions_are_refused() {
    let size = Size { functions: COMPONENT_FUNCTIONS_MAX + 1, ..Size::default() };
    let message =
        format!("has {} functions; at most {COMPONENT_FUNCTIONS_MAX} are allowed", COMPONENT_FUNCTIONS_MAX + 1);
    assert_eq!(size.check(), Err(UnreadableComponent::TooLarge(message)));
    assert_eq!(Size { functions: COMPONENT_FUNCTIONS_MAX, ..Size::default() }.check(), Ok(()));
}

#[test]
fn many_empty_sections_are_not_read_to_their_end() {
    let bytes = [b"\0asm\x0d\0\x01\0".to_vec(), [0, 1, 0].repeat(1_000_000)].concat();
    let message = format!("has {} sections; at most {COMPONENT_SECTIONS_MAX} are allowed", COMPONENT_SECTIONS_MAX + 1);
    assert_eq!(ComponentNeeds::read(&bytes).unwrap_err(), UnreadableComponent::TooLarge(message));
}

#[test]
fn what_is_offered_depends_on_world_and_grant() {
    let none = LoadOptions::default();
    let http = LoadOptions { http: true, ..LoadOptions::default() };
    let check_import = |name: &str, options: &LoadOptions| check(&[name.to_owned()], Some(World::Transform), options);
    for name in ["millstream:plugin/log@0.1.0", "wasi:io/poll@0.2.0", "wasi:clocks/wall-clock@0.2.12"] {
        assert_eq!(check_import(name, &none), Ok(()), "{name}");
    }
    let rejected = check_import("wasi:http/outgoing-handler@0.2.3", &none).unwrap_err();
    for message in ["wasi:http/outgoing-handler@0.2.3", "`grant = { http = { hosts = [\"", "`replayable = false`"] {
        assert!(rejected.contains(message), "{message} in {rejected}");
    }
    assert_eq!(check_import("wasi:http/outgoing-handler@0.2.3", &http), Ok(()));
    for name in [
        "wasi:sockets/tcp@0.2.0",
        "wasi:http/incoming-handler@0.2.0",
        "wasi:io/poll@0.3.0",
        "wasi:io/poll@0.2.x",
        "wasi:io/poll",
        "wasi:nn/tensor@0.2.0",
        "wasi:keyvalue/store@0.2.0",
        "millstream:plugin/secret@0.1.2",
        "",
    ] {
        let rejected = check_import(name, &http).unwrap_err();
        assert!(
            rejected.starts_with(&format!("imports interfaces that the host does not have: {name}\n")),
            "{rejected}"
        );
    }
    assert!(
        check_import("millstream:plugin/log@0.2.0", &none).unwrap_err().starts_with("needs millstream:plugin@0.2.0")
    );
    let timers = ["millstream:plugin/timers@0.1.2".to_owned()];
    assert!(check(&timers, Some(World::Transform), &none).unwrap_err().contains("of world transform"));
    assert_eq!(check(&timers, Some(World::Update), &none), Ok(()));
}

#[test]
fn no_bytes_make_it_panic() {
    let mut random = Random(11);
    let complete = importing("millstream:plugin/log@0.1.2", true);
    for _ in 0..20_000 {
        let mut bytes = complete.clone();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] = random.next() as u8;
        }
        bytes.truncate(random.below(bytes.len() as u64 + 1) as usize);
        let _ = ComponentNeeds::read(&bytes);
    }
    for length in 0..complete.len() {
        // Cut between two sections it is a component too, and a smaller one.
        if let Ok(needs) = ComponentNeeds::read(&complete[..length]) {
            assert!(needs.imports.is_empty());
        }
    }
}
