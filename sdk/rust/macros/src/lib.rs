//! The macros of `millstream-sdk`, which documents and re-exports them.

/// As `quote::quote!`, but local variables of the generated code cannot be mistaken for what the user calls so.
macro_rules! quote {
    ($($tokens:tt)*) => { ::quote::quote_spanned!(::proc_macro2::Span::mixed_site() => $($tokens)*) };
}

mod aggregate;
mod row;
mod signature;
mod transform;
mod update;

use proc_macro::TokenStream;
use syn::parse_macro_input;

/// Makes a struct a row: each field is a column of the field's name, `#[row(name = "…")]` gives it another one.
///
/// ```
/// # use millstream_sdk::{Row, Timestamp};
/// #[derive(Row)]
/// struct Click<'a> {
///     user: &'a str,
///     #[row(name = "type")]
///     kind: Option<&'a str>,
///     at: Timestamp,
///     price: f64,
/// }
/// ```
#[proc_macro_derive(Row, attributes(row))]
pub fn derive_row(input: TokenStream) -> TokenStream {
    row::derive(&parse_macro_input!(input)).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Makes a function a plugin of world `transform`: rows in, rows out.
///
/// The function takes a row, and may take in any order `&mut Out<Row>` for the rows it returns, `&Config` for the
/// stage's config (any type with serde's `Deserialize`) and `&Context` for batch id and time. Without an `Out` it
/// returns its rows: a row (map), an `Option` (filter), a `Vec` or `impl Iterator` (flat map). A `Result` around any of
/// these refuses the row by `Err`: with a text, any error, or a `Rejection`.
///
/// ```
/// # use millstream_sdk::{Row, transform};
/// #[derive(Row)]
/// struct Order {
///     amount: f64,
/// }
///
/// #[derive(serde::Deserialize)]
/// struct Config {
///     at_least: f64,
/// }
///
/// /// Keeps large orders.
/// #[transform]
/// fn large(order: Order, config: &Config) -> Option<Order> {
///     (order.amount >= config.at_least).then_some(order)
/// }
/// ```
///
/// Rows that are null in a field that is no `Option` are refused before the function sees them. The doc comment
/// becomes the plugin's description, `#[transform(config_schema = "…")]` gives it a JSON Schema of its config.
/// On `impl Transform for …` the macro only exports the plugin.
#[proc_macro_attribute]
pub fn transform(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as signature::Arguments);
    transform::expand(&arguments, item.into()).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Makes a function a plugin of world `update`, which is called for each key with its rows and its state.
///
/// The function takes, in any order and each only if it wants it: its key (a row; without it the plugin works with any
/// key), `Rows<Row>` (or `Rows` to count rows of any input), `Option<State>` (`None` for a new key), `&mut Out<Row>` or
/// `&mut KeyedOut<Row>` (whose rows begin with the key columns), `&Config` and `&Context`. It returns the new state:
/// `State`, or `Option<State>` where `None` removes the key, or a `Result` of these, where `Err` refuses all rows of
/// the key and leaves its state as it was.
///
/// ```
/// # use millstream_sdk::{KeyedOut, Row, Rows, update};
/// #[derive(Row)]
/// struct Count {
///     count: i64,
/// }
///
/// /// Counts the rows of each key.
/// #[update]
/// fn count(rows: Rows, state: Option<Count>, out: &mut KeyedOut<Count>) -> Count {
///     let count = state.map_or(0, |state| state.count) + rows.len() as i64;
///     out.push(Count { count });
///     Count { count }
/// }
/// ```
#[proc_macro_attribute]
pub fn update(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as signature::Arguments);
    update::expand(&arguments, item.into()).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Makes an `impl` block with the functions `lift`, `combine`, `lower` and perhaps `inverse` a plugin of world
/// `aggregate`.
///
/// The type is a unit struct; or, where functions take `&self`, the stage's config. `lower` may take the key before
/// the accumulator. Each may take `&Context`, and return a `Result`, whose `Err` fails the call.
///
/// ```
/// # use millstream_sdk::{Row, aggregate};
/// # #[derive(Row)] struct Price { price: f64 }
/// # #[derive(Row)] struct Sum { sum: f64, count: i64 }
/// # #[derive(Row)] struct Mean { mean: f64 }
/// struct MeanPrice;
///
/// /// The mean price.
/// #[aggregate]
/// impl MeanPrice {
///     fn lift(row: Price) -> Sum {
///         Sum { sum: row.price, count: 1 }
///     }
///     fn combine(left: Sum, right: Sum) -> Sum {
///         Sum { sum: left.sum + right.sum, count: left.count + right.count }
///     }
///     fn lower(sum: Sum) -> Mean {
///         Mean { mean: sum.sum / sum.count as f64 }
///     }
/// }
/// ```
#[proc_macro_attribute]
pub fn aggregate(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as signature::Arguments);
    aggregate::expand(&arguments, item.into()).unwrap_or_else(|error| error.to_compile_error()).into()
}
