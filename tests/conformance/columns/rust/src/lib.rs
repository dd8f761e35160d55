//! Batches: two columns are multiplied, all others pass through unchanged.

// Only builds as a component: a build of the workspace skips it.
#![cfg(target_arch = "wasm32")]

use millstream_sdk::transform::{Output, each};
use millstream_sdk::{Batch, Context, Description, Error, Field, Row, Stage, Transform, Type, transform};

/// The indexes of the two columns that are multiplied.
struct Columns {
    price: usize,
    quantity: usize,
}

#[derive(Row)]
struct Item {
    price: Option<f64>,
    quantity: Option<i64>,
}

#[derive(Row)]
struct Product {
    product: Option<f64>,
}

#[transform]
impl Transform for Columns {
    fn new(stage: &Stage) -> Result<Self, Error> {
        stage.no_config()?;
        Ok(Columns { price: place(stage, "price", &Type::Float64)?, quantity: place(stage, "quantity", &Type::Int64)? })
    }

    fn describe(&self, stage: &Stage) -> Result<Description, Error> {
        let doc = "Multiplies two columns and passes all others on.";
        let mut description = Description::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), doc);
        description.input = stage.input();
        description.output = stage.input();
        description.output.fields.push(Field::nullable("product", Type::Float64));
        Ok(description)
    }

    fn process(&mut self, _: &Context, rows: Batch) -> Result<Output, Error> {
        let items = rows.clone().select(&[self.price, self.quantity])?;
        let products = each::<Item, Product>(&items, |item, out| {
            let product = item.price.zip(item.quantity).map(|(price, quantity)| price * quantity as f64);
            out.push(Product { product });
            Ok(())
        })?;
        Ok(Output { rows: rows.beside(products.rows)?, rejected: Vec::new() })
    }
}

/// Returns the index of a column that must exist and have this type.
fn place(stage: &Stage, name: &str, wanted: &Type) -> Result<usize, Error> {
    let input = stage.input();
    let found = input.field(name)?;
    if found.type_ != *wanted {
        return Err(Error::input(format!("column `{name}` is {}, but must be {wanted}", found.type_)));
    }
    input.position(name).ok_or_else(|| Error::internal(format!("column `{name}` is gone")))
}
