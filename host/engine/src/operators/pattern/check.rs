//! Checks of stages with `pattern`: their conditions and measures, the columns that these read, and the output. There is one row per match, with its
//! key, the times of its first and last row, and the measures.

use crate::checkpoint::types::{Column, Table};
use crate::operators::pattern::state::{
    Condition, ForbiddenRows, Layout, PatternNode, Plan, Skip, Step, Value, saved_fields, saved_schema,
};
use crate::operators::stage::Operator;
use crate::operators::stage_check::{CheckedStage, StageCheck};
use crate::operators::stage_text::StageText;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millstream_base::error::{Error, Result};
use millstream_base::time::microseconds;
use millstream_base::units::show_time;
use millstream_job::spec::{PatternNots, PatternSkip, PatternSpec};
use millstream_rows::batch::types::ColumnType;
use millstream_sql::references::{BEFORE, Reference, ReferringText};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The columns of a match after its key.
pub const MATCH_TIMES: [&str; 2] = ["match_start", "match_end"];

/// Checks the stage.
pub fn check(check: &StageCheck<'_>, spec: &PatternSpec) -> Result<CheckedStage> {
    let expressions = PatternExpressions::new(check, spec)?;
    let layout = layout(check, &expressions)?;
    let mut made =
        Conditions { spec, expressions: &expressions, layout: &layout, of_row: Vec::new(), of_match: Vec::new() };
    let steps = spec.steps.steps.iter().map(|step| {
        Ok(Step {
            condition: made.condition(&step.name)?,
            relaxed: step.relaxed,
            nots: made.nots(&step.nots)?,
            min: step.least,
            max: step.most,
            reluctant: step.reluctant,
            gaps: step.gaps,
            gap_nots: made.all(&step.gap_nots)?,
        })
    });
    let steps = steps.collect::<Result<Vec<_>>>()?;
    let end = made.nots(&spec.steps.end)?;
    let Conditions { of_row, of_match, .. } = made;
    let plan = Plan::new(steps, end, spec.within.map(microseconds), skip(spec)?);
    let mut measures = Vec::new();
    let mut columns: Vec<Field> =
        layout.schema.fields().iter().take(layout.key).map(|field| field.as_ref().clone()).collect();
    columns.extend(MATCH_TIMES.map(|name| Field::new(name, ColumnType::Timestamp.arrow(), false)));
    for (name, text) in &expressions.measures {
        let value = Value::new(text, &layout, &expressions.steps, false)
            .map_err(|error| error.within(format!("`pattern.measures.{name}`")))?;
        columns.push(Field::new(name, value.data_type().clone(), true));
        measures.push(value);
    }
    let output: SchemaRef = Arc::new(Schema::new(columns));
    let key: Vec<Arc<Field>> = layout.schema.fields().iter().take(layout.key).cloned().collect();
    let columns = [
        Column::from_fields(&key),
        Column::from_fields(&saved_fields()),
        Column::from_fields(saved_schema(&layout).fields()),
    ];
    let table = Table::of_stage(&check.spec.name, "pattern", columns);
    let indexes = layout.schema.fields().iter().map(|field| check.input.index_of(field.name()));
    let node = PatternNode {
        indexes: indexes.collect::<Result<_, _>>().map_err(Error::arrow)?,
        plan,
        layout,
        of_row,
        of_match,
        measures,
        output: output.clone(),
        rows_max: spec.rows_max,
        partials_max: spec.partials_max,
    };
    Ok(CheckedStage { tables: vec![table], ..CheckedStage::new(output, Operator::Pattern(Box::new(node))) })
}

/// The expressions of a pattern, with their references.
struct PatternExpressions {
    /// Names of the steps that take rows.
    steps: Vec<String>,
    define: Vec<(String, ReferringText)>,
    measures: Vec<(String, ReferringText)>,
}

impl PatternExpressions {
    fn new(check: &StageCheck<'_>, spec: &PatternSpec) -> Result<PatternExpressions> {
        let steps: Vec<String> = spec.steps.steps.iter().map(|step| step.name.clone()).collect();
        if let Some(name) = steps.iter().chain(spec.steps.negated()).find(|name| check.input.index_of(name).is_ok()) {
            return Err(Error::job(format!(
                "`pattern.steps` has a step `{name}`, but a column has the same name; rename the step"
            )));
        }
        // Against all columns, so that error messages can list them.
        let all = Layout { schema: check.input.clone(), key: 0 };
        let (mut define, mut measures) = (Vec::new(), Vec::new());
        for (name, text) in &spec.define {
            let read = || {
                let text = ReferringText::new(text, &steps)?;
                refers_back(name, &text, spec, &steps)?;
                let value = Value::new(&text, &all, &steps, true)?;
                is_condition(&value, &spec.define, name)?;
                Ok::<_, Error>(text)
            };
            define.push((name.clone(), read().map_err(|error| error.within(format!("`pattern.define.{name}`")))?));
        }
        for (name, text) in &spec.measures {
            let read = || {
                let text = ReferringText::new(text, &steps)?;
                if text.references.iter().any(|of| matches!(of, Reference::Before { .. })) {
                    return Err(text.wrong(
                        BEFORE,
                        "a measure covers the complete match, so it has no previous row; name a step, for example last(a).x",
                    ));
                }
                Value::new(&text, &all, &steps, false)?;
                Ok(text)
            };
            measures.push((name.clone(), read().map_err(|error| error.within(format!("`pattern.measures.{name}`")))?));
        }
        Ok(PatternExpressions { steps, define, measures })
    }
}

/// Checks that a condition refers only to rows that a match may have when it is evaluated.
fn refers_back(name: &str, text: &ReferringText, spec: &PatternSpec, steps: &[String]) -> Result<()> {
    let own = steps.iter().position(|step| step == name);
    let has = |nots: &PatternNots| nots.next.iter().chain(&nots.between).any(|not| not == name);
    // A `not` before a step is evaluated when the steps before have their rows; in gaps, when the step has some itself.
    let in_gaps = spec.steps.steps.iter().position(|step| step.gap_nots.iter().any(|not| not == name));
    let before = spec.steps.steps.iter().position(|step| has(&step.nots));
    let following = own.or(in_gaps).map(|index| index + 1).into_iter().chain(before).min();
    for reference in &text.references {
        let Some(step) = reference.step() else { continue };
        let at = steps.iter().position(|other| other == step);
        if following.is_some() && at >= following {
            return Err(text.wrong(
                step,
                &format!(
                    "`{step}` comes after `{name}`, so the match has no row of it yet; name steps that come before"
                ),
            ));
        }
        if at == own
            && own.is_some()
            && let Reference::Last { column, is_short: true, .. } = reference
        {
            return Err(text.wrong(
                step,
                &format!(
                    "`{step}.{column}` could be the current row or the previous row of `{step}`; write `{column}` \
                     for the current row, and last({step}).{column} for the previous one"
                ),
            ));
        }
    }
    Ok(())
}

fn is_condition(value: &Value, define: &[(String, String)], name: &str) -> Result<()> {
    if *value.data_type() == DataType::Boolean {
        return Ok(());
    }
    let kind = ColumnType::from_arrow(value.data_type());
    let text = define.iter().find(|(other, _)| other == name).map_or("", |(_, text)| text);
    Err(Error::job(format!(
        "`{text}` is {kind}, but a condition must be true or false; compare it, for example \
        `{text} = …`"
    )))
}

/// Returns the columns of the key, then those that expressions read.
fn layout(check: &StageCheck<'_>, expressions: &PatternExpressions) -> Result<Layout> {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for (_, text) in expressions.define.iter().chain(&expressions.measures) {
        names.extend(text.columns.iter().map(String::as_str));
        names.extend(text.references.iter().filter_map(Reference::column));
    }
    let others = (0..check.input.fields().len()).filter(|index| !check.key.contains(index));
    let others: Vec<usize> = others.filter(|index| names.contains(check.input.field(*index).name().as_str())).collect();
    for index in &others {
        let field = check.input.field(*index);
        let kind = ColumnType::from_arrow(field.data_type());
        if !kind.is_kept() {
            return Err(Error::job(format!(
                "`pattern` cannot store `{}`, which is of type {kind}; convert it to text in a previous stage with \
                `select`",
                field.name()
            )));
        }
    }
    let indexes: Vec<usize> = check.key.iter().copied().chain(others).collect();
    let schema = Arc::new(check.input.project(&indexes).map_err(Error::arrow)?);
    Ok(Layout { schema, key: check.key.len() })
}

/// Conditions by step.
struct Conditions<'a> {
    spec: &'a PatternSpec,
    expressions: &'a PatternExpressions,
    layout: &'a Layout,
    of_row: Vec<Value>,
    of_match: Vec<Value>,
}

impl Conditions<'_> {
    /// Returns the condition of a step, checked before.
    fn condition(&mut self, name: &str) -> Result<Option<Condition>> {
        let Some((_, text)) = self.expressions.define.iter().find(|(other, _)| other == name) else { return Ok(None) };
        let value = Value::new(text, self.layout, &self.expressions.steps, true)?;
        is_condition(&value, &self.spec.define, name)?;
        let (among, condition): (_, fn(usize) -> Condition) = match text.references.is_empty() {
            true => (&mut self.of_row, Condition::OfRow),
            false => (&mut self.of_match, Condition::OfMatch),
        };
        among.push(value);
        Ok(Some(condition(among.len() - 1)))
    }

    fn nots(&mut self, nots: &PatternNots) -> Result<ForbiddenRows> {
        Ok(ForbiddenRows { next: self.all(&nots.next)?, between: self.all(&nots.between)? })
    }

    fn all(&mut self, names: &[String]) -> Result<Vec<Condition>> {
        names.iter().filter_map(|name| self.condition(name).transpose()).collect()
    }
}

fn skip(spec: &PatternSpec) -> Result<Skip> {
    let step = |name: &String| {
        let index = spec.steps.steps.iter().position(|step| step.name == *name);
        index.ok_or_else(|| Error::job(format!("`pattern.skip` names `{name}`, but no step of this name takes rows")))
    };
    Ok(match &spec.skip {
        PatternSkip::PastLastRow => Skip::PastLastRow,
        PatternSkip::ToNextRow => Skip::ToNextRow,
        PatternSkip::ToFirst(name) => Skip::ToFirst(step(name)?),
        PatternSkip::ToLast(name) => Skip::ToLast(step(name)?),
    })
}

/// Describes what the stage does.
pub fn summary(text: &StageText<'_>, pattern: &PatternSpec) -> String {
    let within =
        pattern.within.map_or_else(String::new, |within| format!(" within {} of event time", show_time(within)));
    let each = text.each(" of each ");
    let skip = match &pattern.skip {
        PatternSkip::PastLastRow => "past its last row".to_owned(),
        PatternSkip::ToNextRow => "at the row after its first".to_owned(),
        PatternSkip::ToFirst(name) => format!("at its first row of {name}"),
        PatternSkip::ToLast(name) => format!("at its last row of {name}"),
    };
    format!("pattern {}{each}{within}; after a match the search continues {skip}", pattern.steps.text)
}
