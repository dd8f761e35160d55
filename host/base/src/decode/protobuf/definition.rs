//! The files that a message is defined in, as a registry of schemas takes them, and its place in the last of them.

use super::wire::{Raw, Wire};
use crate::decode::varint;
use std::collections::{HashMap, HashSet};

/// Files whose names begin so are known to everybody.
const KNOWN: &str = "google/protobuf/";

/// Where a message is defined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The files, each behind those that it imports; the last one has the message.
    pub files: Vec<DefinitionFile>,
    /// The number of the message among those of its file, behind that of each message that it stands in.
    pub place: Vec<u32>,
}

/// A file of definitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DefinitionFile {
    /// As others import it.
    pub name: String,
    /// What the descriptor has of it.
    pub bytes: Vec<u8>,
    /// The names of files that it imports, but for those that come with Protobuf.
    pub imports: Vec<String>,
}

impl Definition {
    /// That of the message of this full name. The error says what is wrong with the descriptor.
    pub fn of(descriptor: &[u8], message: &str) -> Result<Definition, String> {
        let mut files = HashMap::new();
        let mut found = None;
        let mut set = Wire::new(descriptor);
        while let Some((number, field)) = set.field()? {
            if let (1, Raw::Bytes(bytes)) = (number, field) {
                let (file, place) = read(bytes, message)?;
                if let Some(place) = place {
                    found = Some((file.name.clone(), place));
                }
                files.insert(file.name.clone(), file);
            }
        }
        let (last, place) = found.ok_or_else(|| format!("`{message}` is not in it"))?;
        // The file of the message and then what it needs; a file is in place as soon as all that it imports is.
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
        Ok(Definition { files: placed, place })
    }

    /// The place of the message as it stands in front of a record, behind the id of its schema.
    pub fn place_bytes(&self) -> Vec<u8> {
        // The first message of a file is most files' only one.
        if self.place == [0] {
            return vec![0];
        }
        let mut bytes = Vec::new();
        for number in [self.place.len() as u64].into_iter().chain(self.place.iter().map(|at| u64::from(*at))) {
            varint::write(varint::zigzag(number as i64), &mut bytes);
        }
        bytes
    }
}

/// A file, and the place of the message, where it is there.
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
    Ok((file, below.map(|name| place(&messages, name)).transpose()?.flatten()))
}

/// What of a full name stands behind that of what it is in.
fn within<'a>(name: &'a str, of: &str) -> Option<&'a str> {
    name.strip_prefix(of)?.strip_prefix('.')
}

/// The place of a message of this name among these, or in one of them.
fn place(messages: &[&[u8]], name: &str) -> Result<Option<Vec<u32>>, String> {
    let (mut messages, mut name, mut place) = (messages.to_vec(), name, Vec::new());
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
                place.push(u32::try_from(at).unwrap_or(u32::MAX));
                inside = Some(nested);
                break;
            }
        }
        match (inside, rest) {
            (None, _) => return Ok(None),
            (Some(_), None) => return Ok(Some(place)),
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
        // In a circle, which no compiler makes, and with the last file first.
        let descriptor = [order, file("a", "", &["b"], &[]), file("b", "", &["a"], &[])].concat();
        let found = Definition::of(&descriptor, "shop.B.Y.Z").unwrap();
        let names: Vec<&str> = found.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!((names, &found.place), (vec!["b", "a", "o"], &vec![1, 1, 0]));
        assert_eq!(found.files.last().unwrap().imports, ["a", "b"]);
        assert_eq!(found.place_bytes(), [6, 2, 2, 0]);
        assert_eq!(Definition::of(&descriptor, "shop.A").unwrap().place_bytes(), [0]);
        for wrong in ["shop.C", "shop.B.Z", "B", "shop", "", "shop.B."] {
            assert!(Definition::of(&descriptor, wrong).is_err(), "{wrong}");
        }
        let alone = file("o", "", &["a"], &[message(4, "A", Vec::new())]);
        assert_eq!(Definition::of(&alone, "A").unwrap_err(), "`a` is not in it, which others import");
        for end in 0..descriptor.len() {
            let _ = Definition::of(&descriptor[..end], "shop.A");
        }
    }
}
