//! A value as a record holds it.

/// A value as a format writes it down.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WrittenValue<'a> {
    /// No value.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number in its literal form, as JSON allows it.
    Number(&'a str),
    /// Text that may stand for a value of any type.
    Text(&'a str),
    /// A JSON object or array: a text or binary column takes it as it stands, a struct or a list by what is in it.
    Nested(&'a str),
}
