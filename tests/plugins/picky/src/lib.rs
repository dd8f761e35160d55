//! Passes rows of any columns on, except those whose text in the column `id` its config names.

use millstream_sdk::transform::Output;
use millstream_sdk::{Batch, Context, Description, Error, Rejected, Stage, Transform, Type, transform};
use serde::Deserialize;

/// Which rows to reject.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Their ids; `*`: all.
    #[serde(default)]
    reject: Vec<String>,
}

/// The plugin, for the columns of a stage.
pub struct Picky {
    config: Config,
    id: usize,
    types: Vec<Type>,
}

#[transform]
impl Transform for Picky {
    fn new(stage: &Stage) -> Result<Self, Error> {
        let input = stage.input();
        let id = input.fields.iter().position(|field| field.name == "id");
        let id = id.ok_or_else(|| Error::input("column `id` not found"))?;
        Ok(Picky { config: stage.config()?, id, types: input.fields.into_iter().map(|field| field.type_).collect() })
    }

    fn describe(&self, stage: &Stage) -> Result<Description, Error> {
        let mut description = Description::new("picky", env!("CARGO_PKG_VERSION"), "Rejects rows by their id.");
        description.input = stage.input();
        description.output = stage.input();
        Ok(description)
    }

    fn process(&mut self, _: &Context, rows: Batch) -> Result<Output, Error> {
        let ids = rows.column::<Option<&str>>(self.id)?;
        let bad = |id: &str| self.config.reject.iter().any(|reject| reject == "*" || reject == id);
        let (mut kept, mut rejected) = (Vec::new(), Vec::new());
        for row in 0..rows.rows() as u32 {
            match ids.get(row as usize).filter(|id| bad(id)) {
                Some(id) => rejected.push(Rejected { row, rejection: format!("`{id}` is not to my liking").into() }),
                None => kept.push(row),
            }
        }
        let rows = rows.take(&kept, &self.types)?;
        Ok(Output { rows, rejected })
    }
}
