//! Components made by hand: their functions return fixed bytes, trap, loop or grow.

use super::{PluginHost, VERSION};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataSection, EntityType, ExportKind, ExportSection, Function, FunctionSection,
    GlobalSection, GlobalType, HeapType, ImportSection, MemorySection, MemoryType, Module, NameMap, NameSection,
    RefType, TableSection, TableType, TypeSection, ValType,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const DATA_AT: u32 = 1024;

/// The body of a function.
#[derive(Clone, Copy)]
pub enum Body {
    /// Returns the record at this address.
    Return(u32),
    /// Reaches `unreachable`.
    Trap,
    /// Logs the text at this address and length at level error, then traps, as the SDK's panic hook does.
    Panic(u32, u32),
    /// Never ends.
    Loop,
    /// Grows memory by this many pages, and traps if that fails.
    Grow(i32, u32),
    /// Copies memory over itself in an endless loop.
    Copy,
    /// Grows its table by this many elements, and traps if that fails.
    GrowTable(i32, u32),
    /// Calls itself as often as the number at the first address says; returns the record at the second.
    Recurse(u32, u32),
    /// Logs the text at this address and length at level info this many times; returns the record.
    Log(u32, u32, i32, u32),
    /// Adds 1 to the number at this address, and traps if it was not 0 before; else returns the record.
    Once(u32, u32),
}

/// The initial bytes of a guest's memory.
#[derive(Default)]
pub struct Image(Vec<u8>);

impl Image {
    /// Puts bytes somewhere; their address.
    pub fn put(&mut self, bytes: &[u8]) -> u32 {
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        let at = DATA_AT + u32::try_from(self.0.len()).unwrap();
        self.0.extend_from_slice(bytes);
        at
    }

    /// Writes 32-bit words.
    pub fn words(&mut self, words: &[u32]) -> u32 {
        self.put(&words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>())
    }

    /// Puts a list of bytes or a string: address and length.
    pub fn list(&mut self, bytes: &[u8]) -> [u32; 2] {
        [self.put(bytes), u32::try_from(bytes.len()).unwrap()]
    }

    /// A schema record of nullable columns; types by their index in `types.data-type`.
    pub fn schema(&mut self, columns: &[(&str, u32)]) -> [u32; 2] {
        let mut words = Vec::new();
        for (name, kind) in columns {
            let name = self.list(name.as_bytes());
            words.extend([name[0], name[1], *kind, 0, 0, 1]);
        }
        [self.words(&words), u32::try_from(columns.len()).unwrap()]
    }

    /// The result of `describe` with these columns as input and output.
    pub fn description(&mut self, columns: &[(&str, u32)], state: &[(&str, u32)]) -> Body {
        let (name, version, doc) = (self.list(b"hand-made"), self.list(b"1.2.3"), self.list(b"Made by hand."));
        let (schema, state) = (self.schema(columns), self.schema(state));
        let mut words = vec![0];
        for pair in [name, version, doc, schema, schema, state] {
            words.extend(pair);
        }
        words.extend([0, 0, 0, 0, 0, 0]);
        Body::Return(self.words(&words))
    }

    /// A column record of validity, offsets and data.
    pub fn column(&mut self, validity: Option<&[u8]>, offsets: Option<&[i32]>, data: &[u8]) -> Vec<u32> {
        let bytes = |numbers: &[i32]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
        let mut words = Vec::new();
        for part in [validity.map(<[u8]>::to_vec), offsets.map(bytes)] {
            match part {
                Some(part) => words.extend([vec![1], self.list(&part).to_vec()].concat()),
                None => words.extend([0, 0, 0]),
            }
        }
        words.extend(self.list(data));
        words
    }

    /// A successful result of `process` with one column and the rejected rows.
    pub fn output(&mut self, rows: u32, column: &[u32], rejected: &[u32]) -> Body {
        let columns = self.words(column);
        let reason = self.list(b"odd");
        let rejections: Vec<u32> = rejected.iter().flat_map(|row| [*row, reason[0], reason[1]]).collect();
        let rejections = [self.words(&rejections), u32::try_from(rejected.len()).unwrap()];
        Body::Return(self.words(&[0, rows, columns, 1, rejections[0], rejections[1]]))
    }

    /// An error result: `config`, `input` or `internal` by its index.
    pub fn error(&mut self, case: u32, words: &str) -> Body {
        let words = self.list(words.as_bytes());
        Body::Return(self.words(&[1, case, words[0], words[1]]))
    }
}

/// A host without a cache of compiled code, so that tests leave nothing on disk.
pub fn host() -> PluginHost {
    PluginHost::without_cache()
}

/// A component of a world of our interface.
pub fn of_world(world: &str, image: &Image, functions: &[(&str, Body)]) -> Vec<u8> {
    let mut resolve = Resolve::default();
    // A test of the crate above uses this file as well.
    let dirs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let wit = dirs.map(|dir| dir.join("wit")).find(|wit| wit.is_dir()).unwrap();
    let (package, _) = resolve.push_dir(wit).unwrap();
    component(&resolve, package, world, VERSION, image, functions)
}

/// A component of world `w` of a WIT text.
pub fn of_text(wit: &str, image: &Image, functions: &[(&str, Body)]) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("hand.wit", wit).unwrap();
    component(&resolve, package, "w", "", image, functions)
}

/// A component of world `transform` whose `describe` names one column `value`.
pub fn transform(kind: u32, make: impl FnOnce(&mut Image) -> Body) -> Vec<u8> {
    let mut image = Image::default();
    let describe = image.description(&[("value", kind)], &[]);
    let process = make(&mut image);
    of_world("transform", &image, &[("transformer#describe", describe), ("transformer#process", process)])
}

fn component(
    resolve: &Resolve,
    package: wit_parser::PackageId,
    world: &str,
    version: &str,
    image: &Image,
    functions: &[(&str, Body)],
) -> Vec<u8> {
    let mut module = core_module(version, image, functions);
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap()
}

/// The parameters of a function as the canonical ABI flattens them.
fn parameters(function: &str) -> Vec<ValType> {
    let context = [ValType::I64, ValType::I64, ValType::I32, ValType::I64, ValType::I32, ValType::I32];
    match function.split('#').next_back().unwrap() {
        "describe" => vec![ValType::I32; 4],
        "process" | "lift" => [&context[..], &[ValType::I32; 3]].concat(),
        "combine" | "lower" | "inverse" => [&context[..], &[ValType::I32; 6]].concat(),
        "update" => vec![ValType::I32],
        "cogroup" => [&context[..], &[ValType::I32; 5]].concat(),
        _ => vec![],
    }
}

fn core_module(version: &str, image: &Image, functions: &[(&str, Body)]) -> Vec<u8> {
    let logs = functions.iter().any(|(_, body)| matches!(body, Body::Panic(..) | Body::Log(..)));
    let (mut types, mut imports, mut indexes, mut exports, mut code, mut names) = (
        TypeSection::new(),
        ImportSection::new(),
        FunctionSection::new(),
        ExportSection::new(),
        CodeSection::new(),
        NameMap::new(),
    );
    types.ty().function([ValType::I32; 4], [ValType::I32]);
    types.ty().function([ValType::I32; 3], []);
    if logs {
        imports.import(&format!("millstream:plugin/log@{version}"), "write", EntityType::Function(1));
    }
    let first = u32::from(logs);
    // cabi_realloc: the next free bytes, in multiples of 8.
    indexes.function(0);
    exports.export("cabi_realloc", ExportKind::Func, first);
    let mut realloc = Function::new([]);
    let mut sink = realloc.instructions();
    sink.global_get(0)
        .global_get(0)
        .local_get(3)
        .i32_add()
        .i32_const(7)
        .i32_add()
        .i32_const(-8)
        .i32_and()
        .global_set(0);
    sink.end();
    code.function(&realloc);
    for (index, (name, body)) in (0u32..).zip(functions) {
        types.ty().function(parameters(name), [ValType::I32]);
        indexes.function(index + 2);
        let full = if version.is_empty() {
            (*name).to_owned()
        } else {
            format!("millstream:plugin/{}", name.replace('#', &format!("@{version}#")))
        };
        exports.export(&full, ExportKind::Func, first + 1 + index);
        names.append(first + 1 + index, &full);
        code.function(&function(*body, first + 1 + index, &parameters(name)));
    }
    exports.export("memory", ExportKind::Memory, 0);
    let mut memories = MemorySection::new();
    memories.memory(MemoryType { minimum: 8, maximum: None, memory64: false, shared: false, page_size_log2: None });
    let mut tables = TableSection::new();
    let element_type = RefType::FUNCREF;
    tables.table(TableType { element_type, table64: false, minimum: 0, maximum: None, shared: false });
    let mut globals = GlobalSection::new();
    let next = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
    globals.global(next, &ConstExpr::i32_const(1 << 17));
    let mut data = DataSection::new();
    data.active(0, &ConstExpr::i32_const(DATA_AT.cast_signed()), image.0.iter().copied());
    let mut name_section = NameSection::new();
    name_section.functions(&names);
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&indexes).section(&tables).section(&memories);
    module.section(&globals).section(&exports).section(&code).section(&data).section(&name_section);
    module.finish()
}

fn function(body: Body, own_index: u32, parameters: &[ValType]) -> Function {
    let mut function = Function::new([(1, ValType::I32)]);
    let local = u32::try_from(parameters.len()).unwrap();
    let mut sink = function.instructions();
    let word = wasm_encoder::MemArg { offset: 0, align: 2, memory_index: 0 };
    let number = u32::cast_signed;
    match body {
        Body::Return(at) => sink.i32_const(number(at)),
        Body::Trap => sink.unreachable(),
        Body::Panic(at, length) => {
            sink.i32_const(3).i32_const(number(at)).i32_const(number(length)).call(0).unreachable()
        }
        Body::Loop => sink.loop_(BlockType::Empty).br(0).end().unreachable(),
        Body::Copy => {
            sink.loop_(BlockType::Empty).i32_const(0).i32_const(1 << 17).i32_const(1 << 17).memory_copy(0, 0);
            sink.br(0).end().unreachable()
        }
        Body::GrowTable(elements, at) => {
            sink.ref_null(HeapType::FUNC).i32_const(elements).table_grow(0).i32_const(-1).i32_eq();
            sink.if_(BlockType::Empty).unreachable().end().i32_const(number(at))
        }
        Body::Recurse(left, at) => {
            sink.i32_const(number(left)).i32_load(word).if_(BlockType::Empty);
            sink.i32_const(number(left)).i32_const(number(left)).i32_load(word).i32_const(1).i32_sub().i32_store(word);
            for parameter in parameters {
                match parameter {
                    ValType::I64 => sink.i64_const(0),
                    _ => sink.i32_const(0),
                };
            }
            sink.call(own_index).drop().end().i32_const(number(at))
        }
        Body::Log(text, length, times, at) => {
            sink.i32_const(times).local_set(local).loop_(BlockType::Empty);
            sink.i32_const(1).i32_const(number(text)).i32_const(number(length)).call(0);
            sink.local_get(local).i32_const(1).i32_sub().local_tee(local).br_if(0).end().i32_const(number(at))
        }
        Body::Grow(pages, at) => {
            sink.i32_const(pages).memory_grow(0).i32_const(-1).i32_eq().if_(BlockType::Empty).unreachable().end();
            sink.i32_const(number(at))
        }
        Body::Once(counter, at) => {
            sink.i32_const(number(counter)).i32_load(word).if_(BlockType::Empty).unreachable().end();
            sink.i32_const(number(counter)).i32_const(1).i32_store(word).i32_const(number(at))
        }
    };
    sink.end();
    function
}
