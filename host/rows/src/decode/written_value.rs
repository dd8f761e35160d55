//! A value as a record holds it.

/// A value as a format writes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WrittenValue<'a> {
    /// No value.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number literal, as JSON allows it.
    Number(&'a str),
    /// Text that may represent a value of any type.
    Text(&'a str),
    /// A JSON object or array: a string or binary column takes it unchanged, a struct or a list by its content.
    Nested(&'a str),
}
