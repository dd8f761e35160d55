//! Schemas, and the description of a plugin.

use crate::written::is_written;

pub use crate::bindings::transform::millstream::plugin::types::{DataType as Type, Description, Field, Schema};

impl Field {
    /// Returns a nullable column.
    pub fn nullable(name: impl Into<String>, type_: Type) -> Field {
        Field { name: name.into(), type_, nullable: true }
    }

    /// Returns a column without nulls.
    pub fn required(name: impl Into<String>, type_: Type) -> Field {
        Field { name: name.into(), type_, nullable: false }
    }
}

impl Schema {
    /// Returns a schema of these columns.
    pub fn new(fields: Vec<Field>) -> Schema {
        Schema { fields }
    }

    /// Returns the index of a column.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }

    /// Returns a column. The error lists the existing columns.
    pub fn field(&self, name: &str) -> Result<&Field, crate::Error> {
        let missing = || crate::Error::input(format!("the input has no column `{name}`; it has: {self}"));
        self.fields.iter().find(|field| field.name == name).ok_or_else(missing)
    }
}

impl std::fmt::Display for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.fields.is_empty() {
            return f.write_str("no columns");
        }
        for (i, field) in self.fields.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{} {}", field.name, field.type_)?;
        }
        Ok(())
    }
}

impl Type {
    /// Parses a type as in job files. Except for plain types, the text in the parentheses is not checked.
    pub fn from_name(name: &str) -> Option<Type> {
        Some(match name {
            "bool" => Type::Bool,
            "int64" => Type::Int64,
            "float64" => Type::Float64,
            "text" => Type::Text,
            "binary" => Type::Binary,
            "timestamp" => Type::Timestamp,
            name if is_written(name) => Type::Arrow(name.to_owned()),
            _ => return None,
        })
    }
}

impl std::fmt::Display for Type {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Type::Bool => "bool",
            Type::Int64 => "int64",
            Type::Float64 => "float64",
            Type::Text => "text",
            Type::Binary => "binary",
            Type::Timestamp => "timestamp",
            Type::Arrow(name) if is_written(name) => name,
            Type::Arrow(name) => return write!(f, "arrow {name}"),
        })
    }
}

impl Description {
    /// Returns a description without columns. The macros fill name and version from the plugin's `Cargo.toml`. You can do the same:
    /// `Description::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), "What it does.")`.
    pub fn new(name: &str, version: &str, doc: &str) -> Description {
        let none = Schema { fields: Vec::new() };
        Description {
            name: name.into(),
            version: version.into(),
            doc: doc.into(),
            input: none.clone(),
            output: none.clone(),
            state: none,
            key: None,
            inverse: false,
            config_schema: String::new(),
        }
    }
}
