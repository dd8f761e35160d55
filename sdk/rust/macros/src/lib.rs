//! The macros of `millstream-sdk`, which re-exports them with their documentation and runs its examples.

/// Like `quote::quote!`, but local variables of the generated code cannot collide with the user's names.
macro_rules! quote {
    ($($tokens:tt)*) => { ::quote::quote_spanned!(::proc_macro2::Span::mixed_site() => $($tokens)*) };
}

mod aggregate;
mod cogroup;
mod row;
mod signature;
mod sink;
mod source;
mod transform;
mod update;

use proc_macro::TokenStream;
use syn::parse_macro_input;

/// Documented in `millstream-sdk`.
#[proc_macro_derive(Row, attributes(row))]
pub fn derive_row(input: TokenStream) -> TokenStream {
    row::derive(&parse_macro_input!(input)).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Documented in `millstream-sdk`.
#[proc_macro_attribute]
pub fn transform(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as signature::Arguments);
    transform::expand(&arguments, item.into()).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Documented in `millstream-sdk`.
#[proc_macro_attribute]
pub fn update(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as signature::Arguments);
    update::expand(&arguments, item.into()).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Documented in `millstream-sdk`.
#[proc_macro_attribute]
pub fn aggregate(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as signature::Arguments);
    aggregate::expand(&arguments, item.into()).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Documented in `millstream-sdk`.
#[proc_macro_attribute]
pub fn cogroup(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as signature::Arguments);
    cogroup::expand(&arguments, item.into()).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Documented in `millstream-sdk`.
#[proc_macro_attribute]
pub fn source(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as signature::Arguments);
    source::expand(&arguments, item.into()).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Documented in `millstream-sdk`.
#[proc_macro_attribute]
pub fn sink(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as signature::Arguments);
    sink::expand(&arguments, item.into()).unwrap_or_else(|error| error.to_compile_error()).into()
}
