//! Reads the output of `protoc --descriptor_set_out`: the messages of a job, with their fields and enums. It is a Protobuf message itself
//! (`google/protobuf/descriptor.proto`), of which only what decoding needs is read.
//!
//! Why not `prost-types`: in 0.14 its descriptors lack the features of editions (tokio-rs/prost#1031), and drop the options that contain them. They
//! read the complete file, and reject it if a comment in it is not UTF-8.

use super::wire::{Raw, Wire};
use millstream_base::suggest;
use std::collections::HashMap;

/// Maximum messages and enums of one descriptor, and values of one enum.
const TYPES_MAX: usize = 100_000;
/// Maximum nesting of message definitions.
const NESTED_MAX: usize = 64;

/// All messages and enums of a descriptor.
#[derive(Debug, Default)]
pub struct Messages {
    messages: Vec<Message>,
    enums: Vec<Enum>,
    by_name: HashMap<String, Named>,
}

#[derive(Clone, Copy, Debug)]
enum Named {
    Message(usize),
    Enum(usize),
}

/// The values of an enum.
#[derive(Debug, Default)]
struct Enum {
    name: String,
    names: HashMap<i32, String>,
    /// Several names may have the same value.
    numbers: HashMap<String, i32>,
}

/// A message.
#[derive(Debug, Default)]
pub struct Message {
    /// Its full name.
    pub name: String,
    /// Its fields, as in the descriptor.
    pub fields: Vec<Field>,
    /// Whether it is an entry of a map.
    pub is_entry: bool,
}

/// A field of a message.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its number.
    pub number: u32,
    /// Its kind of value.
    pub kind: Kind,
    /// It holds any number of values; if the message is an entry, it is a map.
    pub repeated: bool,
    /// A message without it is invalid.
    pub required: bool,
    /// If absent, it is zero; otherwise it has no value.
    pub implicit: bool,
    /// The oneof of the field: only one field of it has a value.
    pub oneof: Option<u32>,
}

/// The kind of a field's value, and its encoding.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "as Protobuf names them")]
pub enum Kind {
    Double,
    Float,
    Int64,
    Uint64,
    Int32,
    Fixed64,
    Fixed32,
    Bool,
    Text,
    Bytes,
    Uint32,
    Sfixed32,
    Sfixed64,
    Sint32,
    Sint64,
    Enum(usize),
    Message(usize),
    /// A message delimited by two marks instead of its length.
    Group(usize),
    /// Skipped: the descriptor does not define it.
    Unknown,
}

/// Returns whether a field of this kind holds a message, whose later occurrences are merged with the first one.
pub fn is_message(kind: Kind) -> bool {
    matches!(kind, Kind::Message(_) | Kind::Group(_))
}

/// A field as in its descriptor, before names are resolved.
struct RawField {
    field: Field,
    kind: u64,
    type_name: String,
    proto3_optional: bool,
    features: Features,
}

/// Defaults of a file for all its content.
#[derive(Clone, Copy)]
struct FileRules {
    implicit: bool,
    delimited: bool,
}

impl Messages {
    /// Reads a descriptor set. The error says what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Messages, String> {
        let mut messages = Messages::default();
        let mut raw: Vec<(usize, Vec<RawField>, FileRules)> = Vec::new();
        let mut set = Wire::new(bytes);
        while let Some((number, field)) = set.field()? {
            if let (1, Raw::Bytes(file)) = (number, field) {
                messages.file(file, &mut raw)?;
            }
        }
        if messages.messages.is_empty() {
            return Err("it defines no message".into());
        }
        for (message, fields, rules) in raw {
            // Entries of a map keep their original encoding.
            let is_entry = messages.message(message).is_some_and(|message| message.is_entry);
            let rules = FileRules { delimited: rules.delimited && !is_entry, ..rules };
            let fields = fields.into_iter().map(|raw| messages.field(raw, rules)).collect();
            if let Some(message) = messages.messages.get_mut(message) {
                message.fields = fields;
            }
        }
        Ok(messages)
    }

    /// Returns the message of this full name.
    pub fn named(&self, name: &str) -> Option<usize> {
        match self.by_name.get(name) {
            Some(Named::Message(message)) => Some(*message),
            _ => None,
        }
    }

    /// Returns the message of this full name; the error lists the existing ones.
    pub fn look_up(&self, name: &str) -> Result<usize, String> {
        self.named(name).ok_or_else(|| {
            let names = self.messages.iter().filter(|message| !message.is_entry).map(|message| message.name.as_str());
            let hint = suggest::hint(name, names.take(20), "it defines");
            format!("`{name}` is not in the descriptor{hint}")
        })
    }

    /// Returns a message.
    pub fn message(&self, message: usize) -> Option<&Message> {
        self.messages.get(message)
    }

    /// Returns the name of a value of an enum.
    pub fn symbol(&self, of: usize, value: i32) -> Option<&str> {
        self.enums.get(of)?.names.get(&value).map(String::as_str)
    }

    /// Returns the full name of an enum, and its values by name.
    pub fn numbers(&self, of: usize) -> Option<(&str, &HashMap<String, i32>)> {
        self.enums.get(of).map(|of| (of.name.as_str(), &of.numbers))
    }

    fn file(&mut self, bytes: &[u8], raw: &mut Vec<(usize, Vec<RawField>, FileRules)>) -> Result<(), String> {
        let (mut package, mut found, mut enums) = (String::new(), Vec::new(), Vec::new());
        let (mut rules, mut editions) = (FileRules { implicit: false, delimited: false }, Features::default());
        let mut wire = Wire::new(bytes);
        while let Some((number, field)) = wire.field()? {
            match (number, field) {
                (2, Raw::Bytes(name)) => package = text(name)?,
                (4, Raw::Bytes(message)) => found.push(message),
                (5, Raw::Bytes(of)) => enums.push(of),
                (8, Raw::Bytes(options)) => editions = features(options, 50)?,
                (12, Raw::Bytes(syntax)) => rules.implicit = syntax == b"proto3",
                _ => {}
            }
        }
        rules.implicit |= editions.presence == Some(IMPLICIT);
        rules.delimited = editions.encoding == Some(DELIMITED);
        let prefix = if package.is_empty() { String::new() } else { format!("{package}.") };
        for of in enums {
            self.read_enum(of, &prefix)?;
        }
        found.into_iter().try_for_each(|message| self.read_message(message, &prefix, raw, rules, 0))
    }

    fn read_message(
        &mut self,
        bytes: &[u8],
        prefix: &str,
        raw: &mut Vec<(usize, Vec<RawField>, FileRules)>,
        rules: FileRules,
        depth: usize,
    ) -> Result<(), String> {
        if self.messages.len() >= TYPES_MAX || depth > NESTED_MAX {
            return Err("it defines too many messages".into());
        }
        let (mut message, mut fields, mut nested, mut enums) = (Message::default(), Vec::new(), Vec::new(), Vec::new());
        let mut wire = Wire::new(bytes);
        while let Some((number, field)) = wire.field()? {
            match (number, field) {
                (1, Raw::Bytes(name)) => message.name = format!("{prefix}{}", text(name)?),
                (2, Raw::Bytes(field)) => fields.push(read_field(field)?),
                (3, Raw::Bytes(message)) => nested.push(message),
                (4, Raw::Bytes(of)) => enums.push(of),
                (7, Raw::Bytes(options)) => {
                    let mut options = Wire::new(options);
                    while let Some((number, value)) = options.field()? {
                        message.is_entry |= (number, value) == (7, Raw::Varint(1));
                    }
                }
                _ => {}
            }
        }
        let inner = format!("{}.", message.name);
        let index = self.messages.len();
        self.by_name.insert(message.name.clone(), Named::Message(index));
        self.messages.push(message);
        raw.push((index, fields, rules));
        for of in enums {
            self.read_enum(of, &inner)?;
        }
        nested.into_iter().try_for_each(|message| self.read_message(message, &inner, raw, rules, depth + 1))
    }

    fn read_enum(&mut self, bytes: &[u8], prefix: &str) -> Result<(), String> {
        let mut read = Enum::default();
        let mut wire = Wire::new(bytes);
        while let Some((number, field)) = wire.field()? {
            match (number, field) {
                (1, Raw::Bytes(found)) => read.name = format!("{prefix}{}", text(found)?),
                (2, Raw::Bytes(value)) => {
                    let (mut symbol, mut of) = (String::new(), 0);
                    let mut value = Wire::new(value);
                    while let Some((number, field)) = value.field()? {
                        match (number, field) {
                            (1, Raw::Bytes(found)) => symbol = text(found)?,
                            (2, Raw::Varint(number)) => of = number as i32,
                            _ => {}
                        }
                    }
                    // If several names have one value, the first one wins.
                    read.numbers.insert(symbol.clone(), of);
                    read.names.entry(of).or_insert(symbol);
                }
                _ => {}
            }
        }
        self.by_name.insert(read.name.clone(), Named::Enum(self.enums.len()));
        self.enums.push(read);
        Ok(())
    }

    fn field(&self, raw: RawField, rules: FileRules) -> Field {
        let named = || self.by_name.get(raw.type_name.trim_start_matches('.')).copied();
        let kind = match raw.kind {
            1 => Kind::Double,
            2 => Kind::Float,
            3 => Kind::Int64,
            4 => Kind::Uint64,
            5 => Kind::Int32,
            6 => Kind::Fixed64,
            7 => Kind::Fixed32,
            8 => Kind::Bool,
            9 => Kind::Text,
            12 => Kind::Bytes,
            13 => Kind::Uint32,
            15 => Kind::Sfixed32,
            16 => Kind::Sfixed64,
            17 => Kind::Sint32,
            18 => Kind::Sint64,
            10 | 11 | 14 => match named() {
                Some(Named::Message(message)) if self.is_delimited(&raw, message, rules) => Kind::Group(message),
                Some(Named::Message(message)) => Kind::Message(message),
                Some(Named::Enum(of)) => Kind::Enum(of),
                None => Kind::Unknown,
            },
            _ => Kind::Unknown,
        };
        let of_file = raw.features.presence.map_or(rules.implicit, |presence| presence == IMPLICIT);
        let is_message = matches!(kind, Kind::Message(_) | Kind::Group(_));
        let explicit = raw.proto3_optional || raw.field.oneof.is_some() || is_message;
        // A proto3 optional field is a oneof with a single field.
        let oneof = raw.field.oneof.filter(|_| !raw.proto3_optional);
        let required = raw.field.required || raw.features.presence == Some(REQUIRED);
        Field { kind, implicit: of_file && !explicit && !required, required, oneof, ..raw.field }
    }

    /// Returns whether a field of this message is delimited by two marks: a group, or a setting of an edition.
    fn is_delimited(&self, raw: &RawField, message: usize, rules: FileRules) -> bool {
        let is_entry = self.message(message).is_some_and(|message| message.is_entry);
        let by_edition = raw.features.encoding.map_or(rules.delimited, |encoding| encoding == DELIMITED);
        raw.kind == 10 || (by_edition && !is_entry)
    }
}

impl Message {
    /// Returns the kinds of key and value if it is an entry of a map.
    pub fn entry(&self) -> Option<(Kind, Kind)> {
        let of = |number| self.fields.iter().find(|field| field.number == number).map(|field| field.kind);
        self.is_entry.then(|| (of(1).unwrap_or(Kind::Unknown), of(2).unwrap_or(Kind::Unknown)))
    }
}

/// Field presence in an edition: absent fields are zero.
const IMPLICIT: u64 = 2;
/// Field presence in an edition: fields are required.
const REQUIRED: u64 = 3;

/// Message encoding in an edition: messages are delimited by two marks.
const DELIMITED: u64 = 2;

/// An edition's features of a field or a file.
#[derive(Clone, Copy, Default)]
struct Features {
    presence: Option<u64>,
    encoding: Option<u64>,
}

/// Reads the features of options; `number_of_features` is their field number.
fn features(options: &[u8], number_of_features: u32) -> Result<Features, String> {
    let mut found = Features::default();
    let mut options = Wire::new(options);
    while let Some((number, field)) = options.field()? {
        if let Raw::Bytes(set) = field
            && number == number_of_features
        {
            let mut set = Wire::new(set);
            while let Some((number, value)) = set.field()? {
                match (number, value) {
                    (1, Raw::Varint(presence)) => found.presence = Some(presence),
                    (5, Raw::Varint(encoding)) => found.encoding = Some(encoding),
                    _ => {}
                }
            }
        }
    }
    Ok(found)
}

fn read_field(bytes: &[u8]) -> Result<RawField, String> {
    let field = Field {
        name: String::new(),
        number: 0,
        kind: Kind::Unknown,
        repeated: false,
        required: false,
        implicit: false,
        oneof: None,
    };
    let mut raw =
        RawField { field, kind: 0, type_name: String::new(), proto3_optional: false, features: Features::default() };
    let mut wire = Wire::new(bytes);
    while let Some((number, field)) = wire.field()? {
        match (number, field) {
            (1, Raw::Bytes(name)) => raw.field.name = text(name)?,
            (3, Raw::Varint(number)) => raw.field.number = number as u32,
            (4, Raw::Varint(label)) => (raw.field.required, raw.field.repeated) = (label == 2, label == 3),
            (5, Raw::Varint(kind)) => raw.kind = kind,
            (6, Raw::Bytes(name)) => raw.type_name = text(name)?,
            (8, Raw::Bytes(options)) => raw.features = features(options, 21)?,
            (9, Raw::Varint(of)) => raw.field.oneof = Some(of as u32),
            (17, Raw::Varint(optional)) => raw.proto3_optional = optional == 1,
            _ => {}
        }
    }
    Ok(raw)
}

fn text(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "a name in it is not UTF-8".into())
}
