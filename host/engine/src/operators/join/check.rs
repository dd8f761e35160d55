//! Checks of stages with `join`: two inputs, the columns that must be equal, and the output.
//!
//! A join's columns are those of `on`, named as in the first input, then the bounds of an event time window, if any. The other columns of the first
//! input follow, then the other columns of the second. A column of the second input whose name is taken gets the input's name and `_` as prefix.

use crate::checkpoint::types::{Column, Table};
use crate::event_time::TIME;
use crate::operators::join::node::{ChangingNode, JoinNode};
use crate::operators::join::state::{
    AsOf, ChangingJoinPlan, ColumnSource, Interval, Joined, SavedColumns, Side, stored_schema,
};
use crate::operators::stage::{InputNode, Operator};
use crate::operators::stage_check::{CheckedStage, StageCheck};
use crate::operators::stage_text::{StageText, on, signed, time};
use crate::operators::window;
use crate::operators::window::node::WindowNode;
use arrow::datatypes::{Field, Schema, SchemaRef};
use millstream_base::error::{Error, Result};
use millstream_base::time::microseconds;
use millstream_base::units::show_time;
use millstream_job::spec::{JoinKind, JoinSpec, OPERATION};
use millstream_rows::batch::types::{self, ColumnType};
use std::sync::Arc;

/// Returns the name of the checkpoint table with the waiting rows of the second input.
pub fn right_table(stage: &str) -> String {
    format!("{stage}.right")
}

/// Checks the stage.
pub fn check(check: &StageCheck<'_>, join: &JoinSpec) -> Result<CheckedStage> {
    let [first, second] = check.inputs else { return Err(Error::bug("a join of other than two inputs")) };
    let on = key_indexes(join, first, second)?;
    if check.window == Some(&WindowNode::All) {
        return changing(check, join, [first, second], on);
    }
    let windowed = check.window.is_some_and(WindowNode::of_event_time);
    let trailing = usize::from(join.within_us.is_some() || join.as_of);
    let (first_layout, first_columns) = layout(first, &on[0], windowed, trailing > 0);
    let (second_layout, second_columns) = layout(second, &on[1], windowed, trailing > 0);
    let columns = [first_columns, second_columns];
    let front = on[0].len() + if windowed { 2 } else { 0 };
    let joined = joined(join.kind, front, [trailing; 2], &columns, &second.name);
    let mut node = JoinNode {
        kind: join.kind,
        on: on[0].len(),
        windowed,
        layouts: [first_layout, second_layout],
        columns: columns.clone(),
        joined: joined.clone(),
        interval: None,
        as_of: None,
        changing: None,
    };
    let mut tables = Vec::new();
    if join.as_of {
        let within_us = join.within_us.map(|(from, _)| from.saturating_neg());
        let outer = join.kind == JoinKind::Left;
        let as_of = AsOf { outer, on: node.on, within_us, layouts: columns, joined };
        tables = Side::BOTH.into_iter().map(|side| as_of_table(check, &as_of, side)).collect::<Result<_>>()?;
        node.as_of = Some(as_of);
    } else if let Some(within_us) = join.within_us {
        tables = Side::BOTH.into_iter().map(|side| table(check, join, &node, side)).collect::<Result<_>>()?;
        node.interval = Some(Interval { kind: join.kind, on: node.on, within_us, layouts: columns, joined });
    }
    let output = node.joined.schema.clone();
    Ok(CheckedStage { tables, ..CheckedStage::new(output, Operator::Join(Box::new(node))) })
}

/// Checks a join of all rows ever received.
fn changing(
    check: &StageCheck<'_>,
    join: &JoinSpec,
    inputs: [&InputNode; 2],
    on: [Vec<usize>; 2],
) -> Result<CheckedStage> {
    let [first_op, second_op] = [operation(check, inputs[0], &on[0])?, operation(check, inputs[1], &on[1])?];
    if let (Some(op), None, None) = (&check.spec.op, first_op, second_op) {
        return Err(Error::job(format!(
            "op: neither `{}` nor `{}` has a column `{op}`; write the column with the operation of a row, or remove \
            `op` if no rows are deleted",
            inputs[0].name, inputs[1].name
        )));
    }
    let of = |input: &InputNode, on: &[usize], op: Option<usize>| {
        let (mut layout, _) = layout(input, on, false, false);
        layout.retain(|position| Some(*position) != op);
        layout.extend(op);
        let columns = input.schema.project(&layout).map_err(Error::arrow)?;
        Ok::<_, Error>((layout, Arc::new(columns)))
    };
    let (first, second) = (of(inputs[0], &on[0], first_op)?, of(inputs[1], &on[1], second_op)?);
    let columns = [first.1, second.1];
    let ops = [first_op.is_some(), second_op.is_some()];
    let joined = joined(join.kind, on[0].len(), ops.map(usize::from), &columns, &inputs[1].name);
    let op = check.spec.op.as_deref().unwrap_or(OPERATION);
    if joined.schema.index_of(op).is_ok() {
        return Err(Error::job(format!(
            "column `{op}` already exists, but this stage adds it to its rows for their operation; write op = \
             \"{op}\" if it has the operation of the input rows, or rename it in a previous stage with `select`"
        )));
    }
    let rows = [without_last(&columns[0], ops[0])?, without_last(&columns[1], ops[1])?];
    let tables =
        [changing_table(check, join, &rows[0], Side::First)?, changing_table(check, join, &rows[1], Side::Second)?];
    let output = types::with_fields(&joined.schema, [Arc::new(Field::new(op, ColumnType::Text.arrow(), false))]);
    let what = ChangingJoinPlan {
        kind: join.kind,
        on: on[0].len(),
        rows,
        joined: joined.clone(),
        ttl_us: join.ttl.map(microseconds),
    };
    let node = JoinNode {
        kind: join.kind,
        on: on[0].len(),
        windowed: false,
        layouts: [first.0, second.0],
        columns,
        joined,
        interval: None,
        as_of: None,
        changing: Some(ChangingNode { what, ops, output: output.clone() }),
    };
    Ok(CheckedStage { tables: tables.into(), ..CheckedStage::new(output, Operator::Join(Box::new(node))) })
}

/// Returns the input column with each row's operation, if any.
fn operation(check: &StageCheck<'_>, input: &InputNode, on: &[usize]) -> Result<Option<usize>> {
    let Some(name) = &check.spec.op else { return Ok(None) };
    let Ok(position) = input.schema.index_of(name) else { return Ok(None) };
    let kind = ColumnType::from_arrow(input.schema.field(position).data_type());
    if kind != ColumnType::Text {
        return Err(Error::job(format!(
            "op: `{name}` of `{}` is {kind}, and must be text, for example \"insert\" or \"delete\"",
            input.name
        )));
    }
    if on.contains(&position) {
        return Err(Error::job(format!(
            "`op` and `join.on` both name `{name}`; `op` says what a row does, and is not stored"
        )));
    }
    Ok(Some(position))
}

/// Drops the last column if `one`.
fn without_last(columns: &Schema, one: bool) -> Result<SchemaRef> {
    let kept: Vec<usize> = (0..columns.fields().len() - usize::from(one)).collect();
    Ok(Arc::new(columns.project(&kept).map_err(Error::arrow)?))
}

/// Returns the checkpoint table of one side of a join of all rows.
fn changing_table(check: &StageCheck<'_>, join: &JoinSpec, rows: &SchemaRef, side: Side) -> Result<Table> {
    let input = check.inputs.get(side.index()).map_or("", |input| &input.name);
    for field in rows.fields() {
        let kind = ColumnType::from_arrow(field.data_type());
        if !kind.is_kept() {
            return Err(Error::job(format!(
                "a join of all rows stores the rows of `{input}`, but column `{}` is of type {kind}, which cannot \
                 be stored; put a stage before it whose `select` omits it, or converts it to text or binary",
                field.name()
            )));
        }
    }
    let stage = &check.spec.name;
    let name = if side == Side::First { stage.clone() } else { right_table(stage) };
    let (on, others) = rows.fields().split_at(join.on.len());
    let columns = [Column::from_fields(on), Column::from_fields(others), Column::from_fields(stored_schema().fields())];
    let identity = format!("{} join of all rows", join.kind.name());
    Ok(Table::of_stage(name, identity, columns).reading(format!("`{input}`")))
}

/// Returns the indexes of the `on` columns in both inputs.
fn key_indexes(join: &JoinSpec, first: &InputNode, second: &InputNode) -> Result<[Vec<usize>; 2]> {
    let mut indexes = [Vec::new(), Vec::new()];
    for (left, right) in &join.on {
        let position = |input: &InputNode, name: &str| {
            types::column(&input.schema, name).map_err(|error| error.within(format!("`join.on`: in `{}`", input.name)))
        };
        let (a, b) = (position(first, left)?, position(second, right)?);
        let kind =
            |input: &InputNode, position: usize| ColumnType::from_arrow(input.schema.field(position).data_type());
        let (kind, other) = (kind(first, a), kind(second, b));
        if kind != other {
            return Err(Error::job(format!(
                "`join.on`: `{left}` of `{}` is {kind}, and `{right}` of `{}` is {other}; they must have the same type",
                first.name, second.name
            )));
        }
        if !kind.is_kept() {
            return Err(Error::job(format!(
                "`join.on`: `{left}` is of type {kind}, which cannot be a key; convert it to text in a stage with \
                `select`"
            )));
        }
        indexes[0].push(a);
        indexes[1].push(b);
    }
    Ok(indexes)
}

/// Returns the layout of an input's rows, see [`JoinNode::layouts`], and the columns in that order.
fn layout(input: &InputNode, on: &[usize], windowed: bool, timed: bool) -> (Vec<usize>, SchemaRef) {
    let rows = if windowed { window::check::with_bounds(&input.schema) } else { input.schema.clone() };
    let time = timed.then(|| Arc::new(Field::new(TIME, ColumnType::Timestamp.arrow(), false)));
    let all: Vec<Arc<Field>> = rows.fields().iter().cloned().chain(time).collect();
    let bounds = input.schema.fields().len()..rows.fields().len();
    let front: Vec<usize> = on.iter().copied().chain(bounds).collect();
    let others = (0..all.len()).filter(|position| !front.contains(position));
    let layout: Vec<usize> = front.iter().copied().chain(others).collect();
    let fields: Vec<Arc<Field>> = layout.iter().filter_map(|position| all.get(*position).cloned()).collect();
    (layout, Arc::new(Schema::new(fields)))
}

/// Returns the output columns. The first `front` columns of a layout have the same values on both sides. The last `trailing` columns are not emitted.
fn joined(kind: JoinKind, front: usize, trailing: [usize; 2], columns: &[SchemaRef; 2], second: &str) -> Joined {
    let [left, right] = columns;
    let mut fields: Vec<Field> = Vec::new();
    let mut sources = Vec::new();
    for (position, (a, b)) in left.fields().iter().zip(right.fields()).take(front).enumerate() {
        fields.push(a.as_ref().clone().with_nullable(a.is_nullable() || b.is_nullable()));
        sources.push(ColumnSource::Both(position));
    }
    let others = |side: &SchemaRef, trailing: usize| front..side.fields().len().saturating_sub(trailing).max(front);
    for position in others(left, trailing[0]) {
        let field = left.field(position).clone();
        let nullable = field.is_nullable() || Side::Second.is_outer(kind);
        fields.push(field.with_nullable(nullable));
        sources.push(ColumnSource::First(position));
    }
    let taken: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
    for position in others(right, trailing[1]) {
        let field = right.field(position).clone();
        let nullable = field.is_nullable() || Side::First.is_outer(kind);
        let name = match taken.contains(field.name()) {
            true => format!("{second}_{}", field.name()),
            false => field.name().clone(),
        };
        fields.push(field.with_name(name).with_nullable(nullable));
        sources.push(ColumnSource::Second(position));
    }
    Joined { schema: Arc::new(Schema::new(fields)), sources }
}

/// Returns the checkpoint table of one side of an as-of join.
fn as_of_table(check: &StageCheck<'_>, as_of: &AsOf, side: Side) -> Result<Table> {
    let input = check.inputs.get(side.index()).map_or("", |input| &input.name);
    check_storable(as_of.layouts[side.index()].fields(), input)?;
    let stage = &check.spec.name;
    let name = if side == Side::First { stage.clone() } else { right_table(stage) };
    let identity =
        if side == Side::First { "rows that wait for an as-of join" } else { "rows of an as-of join, by time" };
    Ok(Table::of_stage(name, identity, as_of.table(side.index()).map(|fields| Column::from_fields(&fields)))
        .reading(format!("`{input}`")))
}

/// Rejects columns that a table does not support.
fn check_storable(fields: &[Arc<Field>], input: &str) -> Result<()> {
    for field in fields {
        let kind = ColumnType::from_arrow(field.data_type());
        if !kind.is_kept() {
            return Err(Error::job(format!(
                "the rows of `{input}` wait for partners, but column `{}` is of type {kind}, which cannot be \
                 stored; put a stage before it whose `select` omits it, or converts it to text or binary",
                field.name()
            )));
        }
    }
    Ok(())
}

/// Returns the checkpoint table of one side's waiting rows.
fn table(check: &StageCheck<'_>, join: &JoinSpec, node: &JoinNode, side: Side) -> Result<Table> {
    let layout = &node.columns[side.index()];
    check_storable(layout.fields(), check.inputs.get(side.index()).map_or("", |input| &input.name))?;
    let (from, to) = join.within_us.unwrap_or_default();
    let kind = join.kind.name();
    let columns = SavedColumns::new(layout, node.on);
    let stage = &check.spec.name;
    let name = if side == Side::First { stage.clone() } else { right_table(stage) };
    let identity = format!("{kind} join within {from} to {to} microseconds");
    let columns = [
        Column::from_fields(&columns.key),
        Column::from_fields(&columns.sub),
        Column::from_fields(columns.state.fields()),
    ];
    let of = check.inputs.get(side.index()).map_or(String::new(), |input| format!("`{}`", input.name));
    Ok(Table::of_stage(name, identity, columns).reading(of))
}

/// The rows in which a join searches for partners.
enum PartnerRows<'a> {
    /// Rows of a batch or window, by that name.
    These(&'a str),
    /// All rows ever received; the result's column with each row's operation.
    All(&'a str),
}

/// Describes what the stage does.
pub fn summary(text: &StageText<'_>, join: &JoinSpec) -> String {
    let among = if text.is_over_all() { PartnerRows::All(text.op()) } else { PartnerRows::These(text.rows()) };
    let among = match (join.within_us, among) {
        (within, _) if join.as_of => {
            let max_bound = within.map_or(String::new(), |(from, _)| format!(", at most {} before", time(from)));
            format!("with the latest row at the time of each{max_bound}")
        }
        (Some((from, to)), _) => format!("within {} to {} of event time", signed(from), signed(to)),
        (None, PartnerRows::These(rows)) => format!("in each {rows}"),
        (None, PartnerRows::All(op)) => {
            let ttl = join
                .ttl
                .map_or(String::new(), |ttl| format!(", dropped {} after the last row of a key", show_time(ttl)));
            format!("of all rows{ttl}; emitted as it changes, with the operation in `{op}`")
        }
    };
    format!("{} join of {} on {}, {among}", join.kind.name(), text.inputs().join(" and "), on(&join.on))
}
