//! The files that define a message, in the form that a schema registry takes, and the message's index in the last of them.

use super::wire::{Raw, Wire};
use crate::decode::varint;
use std::collections::{HashMap, HashSet};

/// Prefix of the names of files that come with Protobuf.
const KNOWN: &str = "google/protobuf/";

/// The definition of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The files, each after those that it imports; the last one contains the message.
    pub files: Vec<DefinitionFile>,
    /// The index of the message in its file, after that of each enclosing message.
    pub index_path: Vec<u32>,
}

/// A file of definitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DefinitionFile {
    /// The name by which others import it.
    pub name: String,
    /// Its bytes in the descriptor.
    pub bytes: Vec<u8>,
    /// The names of files that it imports, except those that come with Protobuf.
    pub imports: Vec<String>,
}

impl Definition {
    /// Finds the definition of a message by its full name. The error says what is wrong with the descriptor.
    pub fn find(descriptor: &[u8], message: &str) -> Result<Definition, String> {
        let mut files = HashMap::new();
        let mut found = None;
        let mut set = Wire::new(descriptor);
        while let Some((number, field)) = set.field()? {
            if let (1, Raw::Bytes(bytes)) = (number, field) {
                let (file, index_path) = read(bytes, message)?;
                if let Some(index_path) = index_path {
                    found = Some((file.name.clone(), index_path));
                }
                files.insert(file.name.clone(), file);
            }
        }
        let (last, index_path) = found.ok_or_else(|| format!("`{message}` is not in it"))?;
        // The file of the message, then what it needs; a file is added once all its imports are.
        let (mut placed, mut seen) = (Vec::new(), HashSet::new());
        let mut next = vec![(last, false)];
        while let Some((name, is_done)) = next.pop() {
            if is_done {
                placed.extend(files.remove(&name));
                continue;
            }
            if !seen.insert(name.clone()) {
                continue;
            }
            let missing = || format!("`{name}` is not in it, which others import");
            let imports = files.get(&name).ok_or_else(missing)?.imports.clone();
            next.push((name, true));
            next.extend(imports.into_iter().rev().map(|import| (import, false)));
        }
        Ok(Definition { files: placed, index_path })
    }

    /// Returns the message's index as it precedes a record, after the ID of its schema.
    pub fn index_bytes(&self) -> Vec<u8> {
        // In most files the first message is the only one.
        if self.index_path == [0] {
            return vec![0];
        }
        let mut bytes = Vec::new();
        for number in [self.index_path.len() as u64].into_iter().chain(self.index_path.iter().map(|at| u64::from(*at)))
        {
            varint::write(varint::zigzag(number as i64), &mut bytes);
        }
        bytes
    }
}

/// Reads a file, and the index of the message if the file contains it.
fn read(bytes: &[u8], message: &str) -> Result<(DefinitionFile, Option<Vec<u32>>), String> {
    let mut file = DefinitionFile { bytes: bytes.to_vec(), ..DefinitionFile::default() };
    let (mut package, mut messages) = (String::new(), Vec::new());
    let mut wire = Wire::new(bytes);
    while let Some((number, field)) = wire.field()? {
        match (number, field) {
            (1, Raw::Bytes(name)) => file.name = text(name),
            (2, Raw::Bytes(name)) => package = text(name),
            (3, Raw::Bytes(name)) if !name.starts_with(KNOWN.as_bytes()) => file.imports.push(text(name)),
            (4, Raw::Bytes(message)) => messages.push(message),
            _ => {}
        }
    }
    let below = if package.is_empty() { Some(message) } else { within(message, &package) };
    Ok((file, below.map(|name| index_path(&messages, name)).transpose()?.flatten()))
}

/// Returns the part of a full name after that of the enclosing scope.
fn within<'a>(name: &'a str, of: &str) -> Option<&'a str> {
    name.strip_prefix(of)?.strip_prefix('.')
}

/// Returns the index of a message of this name among these, or in one of them.
fn index_path(messages: &[&[u8]], name: &str) -> Result<Option<Vec<u32>>, String> {
    let (mut messages, mut name, mut index_path) = (messages.to_vec(), name, Vec::new());
    loop {
        let (first, rest) = name.split_once('.').map_or((name, None), |(first, rest)| (first, Some(rest)));
        let mut inside = None;
        for (at, bytes) in messages.iter().enumerate() {
            let (mut own, mut nested) = (String::new(), Vec::new());
            let mut wire = Wire::new(bytes);
            while let Some((number, field)) = wire.field()? {
                match (number, field) {
                    (1, Raw::Bytes(name)) => own = text(name),
                    (3, Raw::Bytes(message)) => nested.push(message),
                    _ => {}
                }
            }
            if own == first {
                index_path.push(u32::try_from(at).unwrap_or(u32::MAX));
                inside = Some(nested);
                break;
            }
        }
        match (inside, rest) {
            (None, _) => return Ok(None),
            (Some(_), None) => return Ok(Some(index_path)),
            (Some(nested), Some(rest)) => (messages, name) = (nested, rest),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u8, content: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(content.len()).unwrap()][..], content].concat()
    }

    fn file(name: &str, package: &str, imports: &[&str], messages: &[Vec<u8>]) -> Vec<u8> {
        let imports = imports.iter().flat_map(|name| part(3, name.as_bytes()));
        let head = [part(1, name.as_bytes()), part(2, package.as_bytes())].concat();
        part(1, &head.into_iter().chain(imports).chain(messages.concat()).collect::<Vec<u8>>())
    }

    #[test]
    fn files_stand_behind_what_they_import_and_a_message_has_its_place() {
        let message =
            |number: u8, name: &str, nested: Vec<u8>| part(number, &[part(1, name.as_bytes()), nested].concat());
        let second =
            message(4, "B", [message(3, "X", Vec::new()), message(3, "Y", message(3, "Z", Vec::new()))].concat());
        let order = file("o", "shop", &["a", "google/protobuf/any.proto", "b"], &[message(4, "A", Vec::new()), second]);
        // Circular imports, which no compiler accepts, and the last file first.
        let descriptor = [order, file("a", "", &["b"], &[]), file("b", "", &["a"], &[])].concat();
        let found = Definition::find(&descriptor, "shop.B.Y.Z").unwrap();
        let names: Vec<&str> = found.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!((names, &found.index_path), (vec!["b", "a", "o"], &vec![1, 1, 0]));
        assert_eq!(found.files.last().unwrap().imports, ["a", "b"]);
        assert_eq!(found.index_bytes(), [6, 2, 2, 0]);
        assert_eq!(Definition::find(&descriptor, "shop.A").unwrap().index_bytes(), [0]);
        for wrong in ["shop.C", "shop.B.Z", "B", "shop", "", "shop.B."] {
            assert!(Definition::find(&descriptor, wrong).is_err(), "{wrong}");
        }
        let alone = file("o", "", &["a"], &[message(4, "A", Vec::new())]);
        assert_eq!(Definition::find(&alone, "A").unwrap_err(), "`a` is not in it, which others import");
        for end in 0..descriptor.len() {
            let _ = Definition::find(&descriptor[..end], "shop.A");
        }
    }
}
