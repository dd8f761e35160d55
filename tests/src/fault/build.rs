//! From the text of a case to the bytes of a component.

use crate::root;
use std::ops::Range;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Length of a component's or module's head.
const HEAD_BYTES: usize = 8;
/// Length of the section that holds an empty module or component.
const EMPTY_BYTES: usize = 10;

/// Builds a plugin from parts of a core module and the parts of `fault/prelude` that it does not export itself. `wit` is a
/// package with a world `w`, for worlds that are not ours.
pub fn plugin(world: &str, parts: &str, wit: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let (ours, _) = resolve.push_dir(root().join("wit")).expect("our interface is whole");
    let version = resolve.packages[ours].name.version.as_ref().expect("it has a version").to_string();
    let selected = if wit.is_empty() {
        resolve.select_world(&[ours], Some(world))
    } else {
        let package = resolve.push_str("case.wit", wit).unwrap_or_else(|error| panic!("{wit}\n{error:?}"));
        resolve.select_world(&[package], Some("w"))
    };
    let selected = selected.expect("there is such a world");
    let text = format!("(module\n{}\n)", names(&with_prelude(world, parts), world, &version));
    let mut module = encoded(&text);
    embed_component_metadata(&mut module, &resolve, selected, StringEncoding::UTF8).expect("the world can be told");
    let encoder = ComponentEncoder::default().module(&module);
    encoder.and_then(|mut encoder| encoder.encode()).unwrap_or_else(|error| panic!("{parts}\n{error:?}"))
}

/// Appends component parts to a plugin. Indexes in them continue after the plugin's.
pub fn append_parts(plugin: &[u8], parts: &str) -> Vec<u8> {
    let (modules, components) = (count(plugin, 1), count(plugin, 4));
    let own = format!("{}{}", "(core module)".repeat(modules), "(component)".repeat(components));
    let all = encoded(&format!("(component {own}\n{parts})"));
    [plugin, &all[HEAD_BYTES + EMPTY_BYTES * (modules + components)..]].concat()
}

/// A section of this kind.
pub fn section(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    let mut rest = content.len();
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes.extend_from_slice(content);
    bytes
}

/// Returns a component that contains only this component.
pub fn nested(component: &[u8]) -> Vec<u8> {
    [&component[..HEAD_BYTES], &section(4, component)].concat()
}

/// Encodes a string with its length.
pub fn encoded(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

/// Writes out `{{3 (func)}}` as `(func)(func)(func)`, the innermost first.
pub fn repeated(text: &str) -> String {
    let mut text = text.to_owned();
    while let Some(end) = text.find("}}") {
        let begin = text[..end].rfind("{{").expect("a repetition has a beginning");
        let (times, what) = text[begin + 2..end].split_once(' ').expect("a repetition says how often");
        let written = what.repeat(times.parse().expect("how often is a number"));
        text.replace_range(begin..end + 2, &written);
    }
    text
}

/// Sections of this kind in a component.
fn count(component: &[u8], kind: u8) -> usize {
    sections(component).into_iter().filter(|section| component.get(section.start) == Some(&kind)).count()
}

/// Returns the sections of a module or component, as far as they are complete.
pub fn sections(bytes: &[u8]) -> Vec<Range<usize>> {
    let (mut all, mut start) = (Vec::new(), HEAD_BYTES);
    while let Some(behind) = bytes.get(start + 1..) {
        let digits = behind.iter().take(5).take_while(|digit| **digit & 0x80 != 0).count() + 1;
        let number = |length: usize, (place, digit): (usize, &u8)| length | usize::from(digit & 0x7f) << (7 * place);
        let length = behind.iter().take(digits).enumerate().fold(0, number);
        let end = start + 1 + digits + length;
        if end > bytes.len() {
            break;
        }
        all.push(start..end);
        start = end;
    }
    all
}

/// Returns the parts of a case, followed by the prelude parts that it lacks.
fn with_prelude(world: &str, parts: &str) -> String {
    let functions: &[&str] = match world {
        "aggregate" => &["lift", "combine", "lower", "inverse"],
        "update" => &["update"],
        "cogroup" => &["cogroup"],
        _ => &["process"],
    };
    let mut text = parts.to_owned();
    let mut add = |name: &str| {
        let path = root().join("tests/fault/prelude").join(format!("{name}.wat"));
        text.push_str(&std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
    };
    ["common", "worlds/all", &format!("worlds/{world}")].into_iter().for_each(&mut add);
    let lacks = |export: &&&str| !parts.contains(&format!("(export \"{export}\")"));
    ["memory", "cabi_realloc", "describe"].iter().chain(functions).filter(lacks).for_each(|name| add(name));
    if !parts.contains("(func $evil ") {
        add("evil");
    }
    if parts.contains("(call $refuse ") {
        add("refuse");
    }
    text
}

/// Writes out the names of our interfaces: `"process"` of world `transform` is
/// `"millstream:plugin/transformer@0.1.3#process"`.
fn names(text: &str, world: &str, version: &str) -> String {
    let interface = match world {
        "aggregate" => "aggregator",
        "update" => "updater",
        "cogroup" => "cogrouper",
        _ => "transformer",
    };
    let mut text = text.to_owned();
    for function in ["describe", "process", "lift", "combine", "lower", "inverse", "update", "cogroup"] {
        let full = format!("millstream:plugin/{interface}@{version}#{function}");
        text = text.replace(&format!("(export \"{function}\")"), &format!("(export \"{full}\")"));
        text = text.replace(&format!("(export \"post {function}\")"), &format!("(export \"cabi_post_{full}\")"));
    }
    for import in ["log", "metrics", "files", "stage", "timers"] {
        let full = format!("(import \"millstream:plugin/{import}@{version}\"");
        text = text.replace(&format!("(import \"{import}\""), &full);
    }
    text
}
