//! Avro schemas, from their JSON. Types refer to each other by their indexes in one list, so a type may contain itself.

use super::cursor::Cursor;
use crate::batch::column::TimeUnit;
use serde_json::Value;
use std::collections::HashMap;

/// Maximum size of a schema as text.
pub const SCHEMA_BYTES_MAX: usize = 4 << 20;
/// Maximum types of one schema.
const TYPES_MAX: usize = 100_000;
/// Maximum nesting of records, arrays, maps and unions in a value.
pub const DEPTH_MAX: usize = 64;
/// Size of a UUID.
pub const UUID_BYTES: usize = 16;

/// The index of a type in its schema.
pub type TypeId = usize;

/// A schema. Its record is type 0.
#[derive(Debug)]
pub struct Schema {
    types: Vec<Type>,
    /// Types whose values take no bytes: skipping records of such records would take practically forever.
    empty: Vec<bool>,
}

/// The type of a value, and its encoding.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    Null,
    Bool,
    /// Of 32 or 64 bits, which have the same encoding.
    Long(Option<Time>),
    Float,
    Double,
    Bytes(Option<Decimal>),
    Text,
    /// A fixed number of bytes.
    Fixed(usize, Option<Decimal>),
    /// 16 bytes of a UUID.
    Uuid,
    Enum(Vec<String>),
    Array(TypeId),
    Map(TypeId),
    Union(Vec<TypeId>),
    Record(Vec<(String, TypeId)>),
}

/// What a number means as a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Time {
    Days,
    /// Instants.
    Of(TimeUnit),
    /// Local times.
    Local(TimeUnit),
}

/// Digits after the point of a number that is written as an integer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decimal {
    pub scale: u32,
}

impl Schema {
    /// Parses a schema. One that refers to others has the form `{"with": [others], "schema": …}`, each of them after those that it refers to. The
    /// error says what is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Schema, String> {
        if text.len() > SCHEMA_BYTES_MAX {
            return Err(format!("it is longer than {SCHEMA_BYTES_MAX} bytes"));
        }
        let json: Value = serde_json::from_slice(text).map_err(|error| format!("it is not JSON: {error}"))?;
        let mut reader = SchemaReader { types: vec![Type::Null], named: HashMap::new() };
        let (with, own) = match (json.get("with"), json.get("schema")) {
            (Some(Value::Array(with)), Some(own)) => (with.as_slice(), own),
            _ => (&[][..], &json),
        };
        for schema in with {
            reader.read(schema, "")?;
        }
        // The first index is reserved for the top-level type.
        let top = reader.read(own, "")?;
        let top_type = reader.types.get(top).cloned().unwrap_or(Type::Null);
        if let Some(first) = reader.types.first_mut() {
            *first = top_type;
        }
        let empty = empty(&reader.types);
        Ok(Schema { types: reader.types, empty })
    }

    /// Returns whether values of a type take no bytes.
    #[inline]
    pub fn is_empty(&self, id: TypeId) -> bool {
        self.empty.get(id).copied().unwrap_or(true)
    }

    /// Returns a type by index.
    #[inline]
    pub fn get(&self, id: TypeId) -> &Type {
        self.types.get(id).unwrap_or(&Type::Null)
    }

    /// Skips a value.
    pub fn skip(&self, id: TypeId, cursor: &mut Cursor<'_>, depth: usize) -> Result<(), String> {
        if self.is_empty(id) {
            return Ok(());
        }
        if depth > DEPTH_MAX {
            return Err(too_deep());
        }
        match self.get(id) {
            Type::Null => Ok(()),
            Type::Bool => cursor.bool().map(drop),
            Type::Long(_) | Type::Enum(_) => cursor.long().map(drop),
            Type::Float => cursor.take(4).map(drop),
            Type::Double => cursor.take(8).map(drop),
            Type::Bytes(_) | Type::Text => cursor.sized().map(drop),
            Type::Fixed(bytes, _) => cursor.take(*bytes).map(drop),
            Type::Uuid => cursor.take(UUID_BYTES).map(drop),
            Type::Array(item) => self.items(cursor, |cursor| self.skip(*item, cursor, depth + 1)),
            Type::Map(item) => self.items(cursor, |cursor| {
                cursor.sized()?;
                self.skip(*item, cursor, depth + 1)
            }),
            Type::Union(branches) => self.skip(branch(branches, cursor)?, cursor, depth + 1),
            Type::Record(fields) => fields.iter().try_for_each(|(_, field)| self.skip(*field, cursor, depth + 1)),
        }
    }

    /// Skips all items of an array or map.
    fn items(
        &self,
        cursor: &mut Cursor<'_>,
        mut skip: impl FnMut(&mut Cursor<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        loop {
            let (count, bytes) = cursor.items()?;
            match bytes {
                _ if count == 0 => return Ok(()),
                Some(bytes) => cursor.take(bytes).map(drop)?,
                None => {
                    for _ in 0..count {
                        let before = cursor.remaining();
                        skip(cursor)?;
                        if cursor.remaining() == before {
                            break; // The others take no bytes either.
                        }
                    }
                }
            }
        }
    }
}

fn empty(types: &[Type]) -> Vec<bool> {
    let mut empty = vec![false; types.len()];
    loop {
        let mut found = false;
        for (id, kind) in types.iter().enumerate() {
            let is_empty = |field: &TypeId| empty.get(*field).copied().unwrap_or(false);
            let now = match kind {
                Type::Null | Type::Fixed(0, _) => true,
                Type::Record(fields) => fields.iter().all(|(_, field)| is_empty(field)),
                _ => false,
            };
            if let Some(before) = empty.get_mut(id) {
                found |= now && !*before;
                *before |= now;
            }
        }
        // A type is nested at most as deep as JSON goes, or defined before it is used.
        if !found {
            return empty;
        }
    }
}

/// Reads the branch of a value of a union.
#[inline]
pub fn branch(branches: &[TypeId], cursor: &mut Cursor<'_>) -> Result<TypeId, String> {
    let number = cursor.long()?;
    let found = usize::try_from(number).ok().and_then(|number| branches.get(number));
    found.copied().ok_or_else(|| format!("branch {number} of a union of {}", branches.len()))
}

/// Returns why a value with too much nesting is rejected.
pub fn too_deep() -> String {
    format!("nested deeper than {DEPTH_MAX} levels")
}

struct SchemaReader {
    types: Vec<Type>,
    /// The named types, by full name.
    named: HashMap<String, TypeId>,
}

impl SchemaReader {
    fn add(&mut self, kind: Type) -> Result<TypeId, String> {
        if self.types.len() >= TYPES_MAX {
            return Err(format!("it has more than {TYPES_MAX} types"));
        }
        self.types.push(kind);
        Ok(self.types.len() - 1)
    }

    /// Reads a type in the context of this namespace.
    fn read(&mut self, json: &Value, namespace: &str) -> Result<TypeId, String> {
        match json {
            Value::String(name) => match primitive(name, None) {
                Some(kind) => self.add(kind),
                None => self.find_named(name, namespace),
            },
            Value::Array(branches) => {
                let branches =
                    branches.iter().map(|branch| self.read(branch, namespace)).collect::<Result<Vec<_>, _>>()?;
                if branches.iter().any(|id| matches!(self.types.get(*id), Some(Type::Union(_)))) {
                    return Err("a union within a union".into());
                }
                self.add(Type::Union(branches))
            }
            Value::Object(table) => {
                let kind = table.get("type").ok_or_else(|| format!("a type without `type`: {}", cut(json)))?;
                match kind {
                    Value::String(word) => self.complex(word, json, namespace),
                    // { "type": { "type": … } }
                    inner => self.read(inner, namespace),
                }
            }
            other => Err(format!("{} is not a type", cut(other))),
        }
    }

    fn find_named(&self, name: &str, namespace: &str) -> Result<TypeId, String> {
        let full = full_name(name, namespace);
        let found = self.named.get(&full).or_else(|| self.named.get(name));
        found.copied().ok_or_else(|| format!("the type `{name}` is defined neither in it nor in what it refers to"))
    }

    fn complex(&mut self, word: &str, json: &Value, namespace: &str) -> Result<TypeId, String> {
        let within = |key: &str| json.get(key).ok_or_else(|| format!("{word} without `{key}`: {}", cut(json)));
        if let Some(kind) = primitive(word, Some(json)) {
            return self.add(kind);
        }
        match word {
            "array" => {
                let item = self.read(within("items")?, namespace)?;
                self.add(Type::Array(item))
            }
            "map" => {
                let value = self.read(within("values")?, namespace)?;
                self.add(Type::Map(value))
            }
            "record" | "error" => {
                let (id, inner) = self.name(json, namespace)?;
                let Value::Array(listed) = within("fields")? else { return Err("`fields` is not a list".into()) };
                let mut fields = Vec::with_capacity(listed.len());
                for field in listed {
                    let name = field.get("name").and_then(Value::as_str).ok_or("a field without `name`")?;
                    let kind = field.get("type").ok_or_else(|| format!("field `{name}` without `type`"))?;
                    fields.push((name.to_owned(), self.read(kind, &inner)?));
                }
                self.put(id, Type::Record(fields))
            }
            "enum" => {
                let (id, _) = self.name(json, namespace)?;
                let Value::Array(symbols) = within("symbols")? else { return Err("`symbols` is not a list".into()) };
                let symbols =
                    symbols.iter().map(|symbol| symbol.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
                self.put(id, Type::Enum(symbols.ok_or("a symbol of an enum is not a string")?))
            }
            "fixed" => {
                let (id, _) = self.name(json, namespace)?;
                let bytes = within("size")?.as_u64().and_then(|bytes| usize::try_from(bytes).ok());
                let bytes = bytes.ok_or("the `size` of a fixed is not a number of bytes")?;
                let is_uuid = bytes == UUID_BYTES && logical(json) == "uuid";
                self.put(id, if is_uuid { Type::Uuid } else { Type::Fixed(bytes, decimal(json)) })
            }
            name => self.find_named(name, namespace),
        }
    }

    /// Reserves the index of a named type before its content is read; also returns the namespace inside it.
    fn name(&mut self, json: &Value, namespace: &str) -> Result<(TypeId, String), String> {
        let name =
            json.get("name").and_then(Value::as_str).ok_or_else(|| format!("a type without `name`: {}", cut(json)))?;
        let own = json.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
        let full = full_name(name, own);
        let inner = full.rsplit_once('.').map_or("", |(namespace, _)| namespace).to_owned();
        let id = self.add(Type::Null)?;
        if self.named.insert(full.clone(), id).is_some() {
            return Err(format!("the type `{full}` is defined twice"));
        }
        Ok((id, inner))
    }

    fn put(&mut self, id: TypeId, kind: Type) -> Result<TypeId, String> {
        if let Some(entry) = self.types.get_mut(id) {
            *entry = kind;
        }
        Ok(id)
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") }
}

/// Returns a type without parts; the attributes in `json` next to its name say what its values mean.
fn primitive(word: &str, json: Option<&Value>) -> Option<Type> {
    let logical = json.map_or("", logical);
    Some(match word {
        "null" => Type::Null,
        "boolean" => Type::Bool,
        "int" => Type::Long((logical == "date").then_some(Time::Days)),
        "long" => Type::Long(match logical {
            "timestamp-millis" => Some(Time::Of(TimeUnit::Millis)),
            "timestamp-micros" => Some(Time::Of(TimeUnit::Micros)),
            "timestamp-nanos" => Some(Time::Of(TimeUnit::Nanos)),
            "local-timestamp-millis" => Some(Time::Local(TimeUnit::Millis)),
            "local-timestamp-micros" => Some(Time::Local(TimeUnit::Micros)),
            "local-timestamp-nanos" => Some(Time::Local(TimeUnit::Nanos)),
            _ => None,
        }),
        "float" => Type::Float,
        "double" => Type::Double,
        "bytes" => Type::Bytes(json.and_then(decimal)),
        "string" => Type::Text,
        _ => return None,
    })
}

/// Returns the logical type of a type, or an empty string.
fn logical(json: &Value) -> &str {
    json.get("logicalType").and_then(Value::as_str).unwrap_or_default()
}

/// Returns a type's decimal attributes; an invalid scale is ignored, as the specification requires.
fn decimal(json: &Value) -> Option<Decimal> {
    let is_one = logical(json) == "decimal";
    let scale = json.get("scale").map_or(Some(0), Value::as_u64)?;
    let precision = json.get("precision").and_then(Value::as_u64)?;
    (is_one && precision > 0 && scale <= precision).then_some(Decimal { scale: u32::try_from(scale).ok()? })
}

/// Returns the beginning of a piece of a schema, for an error.
fn cut(json: &Value) -> String {
    json.to_string().chars().take(80).collect()
}
