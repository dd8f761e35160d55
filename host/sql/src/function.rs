//! Plugins of world `transform` as functions in queries: a row of arguments as input, one value as output.

use super::batch_time;
use super::types::{PreservedTypes, convert, to_job_type};
use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat, filter_record_batch, take};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::limits::PLUGIN_CALL_MAX;
use millstream_metrics::{Counts, PluginId};
use millstream_plugins::plugin::{Caller, Description, Plugin, Processed, StageUse, World};
use millstream_rows::batch::slices::RowBytes;
use millstream_rows::batch::types::{ColumnType, describe};
use millstream_rows::batch::widen::first_inexact;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

/// A plugin as a named function. Cheap to clone.
#[derive(Clone)]
pub struct PluginFunction {
    name: String,
    plugin: Plugin,
    stage: StageUse,
    /// The plugin's descriptions, by argument types.
    described: Arc<Mutex<ByTypes<Description>>>,
}

/// Entries by argument types.
type ByTypes<T> = Vec<(Vec<DataType>, T)>;

impl PluginFunction {
    /// Creates the function; fails if the plugin has another world.
    pub fn new(name: &str, plugin: Plugin, stage: StageUse) -> Result<PluginFunction> {
        if plugin.world() != World::Transform {
            return Err(Error::job(format!(
                "a function must be a plugin of world transform, but {} is of world {}",
                plugin.file().display(),
                plugin.world(),
            )));
        }
        Ok(PluginFunction { name: name.to_owned(), plugin, stage, described: Arc::default() })
    }

    /// Returns its name in queries.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its plugin.
    pub fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// Returns the plugin's description at the query's first call; `None` if the query does not call it.
    pub fn description(&self) -> Option<Description> {
        let described = self.described.lock().unwrap_or_else(PoisonError::into_inner);
        described.first().map(|(_, description)| description.clone())
    }

    /// Returns the function for a query that one thread runs. Its plugin updates `counts`.
    pub fn callable(&self, counts: Option<Counts>) -> Arc<ScalarUDF> {
        let signature = Signature::variadic_any(Volatility::Immutable);
        let function = Callable { function: self.clone(), counts, callers: Mutex::default(), signature };
        Arc::new(ScalarUDF::new_from_impl(function))
    }

    /// Queries the plugin, once per row of argument types.
    fn describe(&self, arguments: &[FieldRef]) -> Result<Description> {
        let kinds: Vec<DataType> =
            arguments.iter().map(|field| to_job_type(field.data_type(), PreservedTypes::default())).collect();
        let mut described = self.described.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = described.iter().find(|(known, _)| *known == kinds) {
            return Ok(known.clone());
        }
        let field =
            |(index, kind): (usize, &DataType)| Field::new(format!("argument{}", index + 1), kind.clone(), true);
        let given = Schema::new(kinds.iter().enumerate().map(field).collect::<Vec<_>>());
        let description = self.plugin.describe_for(&self.stage, &[Arc::new(given)])?;
        let given: Vec<&DataType> = arguments.iter().map(|field| field.data_type()).collect();
        self.check(&description, &given)?;
        described.push((kinds, description.clone()));
        Ok(description)
    }

    /// Checks argument types: arguments are passed unchanged, and lossy conversions need an explicit cast in the query.
    fn check(&self, description: &Description, given: &[&DataType]) -> Result<()> {
        let wants = &description.input;
        let error_text = format!("function `{}` (plugin {} {})", self.name, description.name, description.version);
        if wants.fields().len() != given.len() {
            let values = if given.len() == 1 { "1 value".to_owned() } else { format!("{} values", given.len()) };
            return Err(Error::job(format!("{error_text} takes {}, but got {values}", describe(wants))));
        }
        for (field, given) in wants.fields().iter().zip(given) {
            let wanted = field.data_type();
            let given =
                &if **given == DataType::Null { wanted.clone() } else { to_job_type(given, PreservedTypes::default()) };
            let wider = (given, wanted) == (&DataType::Int64, &DataType::Float64);
            if given != wanted && !wider {
                let (wanted, given) = (ColumnType::from_arrow(wanted), ColumnType::from_arrow(given));
                return Err(Error::job(format!(
                    "{error_text} takes `{}` as {wanted}, but got {given}; cast it, for example `cast(… as double)`",
                    field.name()
                )));
            }
        }
        if description.output.fields().len() != 1 {
            return Err(Error::job(format!(
                "{error_text} returns the columns {}, but a function must return one",
                describe(&description.output)
            )));
        }
        Ok(())
    }
}

/// Returns whether the function is a plugin.
pub fn is_plugin(function: &ScalarUDF) -> bool {
    function.inner().is::<Callable>()
}

/// A function that one thread calls.
struct Callable {
    function: PluginFunction,
    counts: Option<Counts>,
    /// By argument types.
    callers: Mutex<ByTypes<Caller>>,
    signature: Signature,
}

impl PartialEq for Callable {
    fn eq(&self, other: &Callable) -> bool {
        self.function.name == other.function.name
    }
}

impl Eq for Callable {}

impl Hash for Callable {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.name.hash(state);
    }
}

impl fmt::Debug for Callable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callable").field("name", &self.function.name).finish_non_exhaustive()
    }
}

impl ScalarUDFImpl for Callable {
    fn name(&self) -> &str {
        &self.function.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> datafusion::common::Result<DataType> {
        Err(DataFusionError::Internal("a plugin's type depends on its arguments".into()))
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> datafusion::common::Result<FieldRef> {
        let description = self.function.describe(arguments.arg_fields).map_err(external)?;
        let kind = description.output.fields().first().map_or(DataType::Null, |field| field.data_type().clone());
        Ok(Arc::new(Field::new(&self.function.name, kind, true)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> datafusion::common::Result<ColumnarValue> {
        let context = batch_time::current()?;
        let rows = arguments.number_rows;
        let columns = arguments.args.iter().map(|value| value.clone().into_array(rows));
        let columns = columns.collect::<datafusion::common::Result<Vec<_>>>()?;
        let description = self.function.describe(&arguments.arg_fields).map_err(external)?;
        let fields = description.input.fields().iter();
        let convert = |(column, field): (ArrayRef, &FieldRef)| match first_inexact(&column, field.data_type(), 0) {
            None => Ok(convert(column, field.data_type())?),
            Some((_, number)) => Err(external(Error::plugin(format!(
                "function `{}`: {number} does not fit exactly into float64, which it takes as `{}`",
                self.function.name,
                field.name()
            )))),
        };
        let columns = columns.into_iter().zip(fields).map(convert);
        let columns: Vec<ArrayRef> = columns.collect::<datafusion::common::Result<_>>()?;
        Ok(ColumnarValue::Array(self.values(context, &description, columns).map_err(external)?))
    }
}

fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

impl Callable {
    /// Returns the values for these rows. If a required argument is null, so is the value.
    fn values(&self, context: BatchContext, description: &Description, columns: Vec<ArrayRef>) -> Result<ArrayRef> {
        let rows = columns.first().map_or(0, |column| column.len());
        let needed = columns.iter().zip(description.input.fields()).filter(|(_, field)| !field.is_nullable());
        let needed: Vec<&ArrayRef> = needed.map(|(column, _)| column).collect();
        let complete: BooleanArray =
            (0..rows).map(|row| Some(needed.iter().all(|column| column.is_valid(row)))).collect();
        let nullable = description.input.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        let given = Schema::new(nullable.collect::<Vec<_>>());
        let given = RecordBatch::try_new(Arc::new(given), columns).map_err(Error::arrow)?;
        let given = filter_record_batch(&given, &complete).map_err(Error::arrow)?;
        let options = RecordBatchOptions::new().with_row_count(Some(given.num_rows()));
        let columns = given.columns().to_vec();
        let given =
            RecordBatch::try_new_with_options(description.input.clone(), columns, &options).map_err(Error::arrow)?;
        let made = self.call(context, description, &given)?;
        if complete.true_count() == rows {
            return Ok(made);
        }
        let mut next = 0;
        let indexes: UInt32Array = (0..rows)
            .map(|row| {
                complete.value(row).then(|| {
                    next += 1;
                    next - 1
                })
            })
            .collect();
        take(&made, &indexes, None).map_err(Error::arrow)
    }

    fn call(&self, context: BatchContext, description: &Description, given: &RecordBatch) -> Result<ArrayRef> {
        let kinds: Vec<DataType> = given.schema_ref().fields().iter().map(|field| field.data_type().clone()).collect();
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let index = callers.iter().position(|(known, _)| *known == kinds);
        let index = index.unwrap_or_else(|| {
            let caller = self.function.plugin.caller(self.function.stage.clone(), description);
            if let Some(counts) = &self.counts {
                counts.share_counters(caller.counters().clone());
                counts.share_account(PluginId::new(&self.function.plugin, description), caller.account().clone());
            }
            callers.push((kinds, caller));
            callers.len() - 1
        });
        let Some((_, caller)) = callers.get_mut(index) else { return Err(Error::bug("a function without a caller")) };
        let fault = |message: String| {
            let (name, stage) = (&self.function.name, &self.function.stage.stage);
            let (plugin, version) = (&description.name, &description.version);
            let batch = context.id;
            Err(Error::plugin(format!(
                "stage `{stage}`: function `{name}` (plugin {plugin} {version}) {message} in batch {batch}"
            )))
        };
        let mut made = Vec::new();
        for slice in RowBytes::measure([given]).slices(given.num_rows(), PLUGIN_CALL_MAX) {
            let Processed { rows, rejections } =
                caller.process(context.call(), &given.slice(slice.start, slice.len()))?;
            if let Some(rejection) = rejections.first() {
                return fault(format!(
                    "rejected row {} of {}: {}; functions cannot reject rows,",
                    slice.start + rejection.row as usize,
                    given.num_rows(),
                    rejection.reason
                ));
            }
            if rows.num_rows() != slice.len() {
                return fault(format!(
                    "returned {} rows for {}; a function must return one per row,",
                    rows.num_rows(),
                    slice.len()
                ));
            }
            made.push(rows.columns().first().cloned().ok_or_else(|| Error::bug("a function without a column"))?);
        }
        let made: Vec<&dyn Array> = made.iter().map(AsRef::as_ref).collect();
        concat(&made).map_err(Error::arrow)
    }
}
