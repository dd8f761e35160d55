//! Bounds of frames by value: `range between 1 preceding and 1 following` over integers. For DataFusion a bound beyond the largest integer would be
//! unlimited, and the frame of that number would include rows with null. So these rows are ordered by decimals, which have room for any bound.

use super::arithmetic::type_of;
use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Sort, WindowFunction};
use datafusion::logical_expr::{Expr, ExprSchemable, Window, WindowFrameBound, WindowFrameUnits, cast};

const WIDE: DataType = DataType::Decimal128(38, 0);

/// Returns whether one of the functions, which all have one order, has such bounds, and the number that orders its rows.
pub fn is_wide(window: &Window) -> Result<bool> {
    let calls = window.window_expr.iter().filter_map(call_of);
    let mut by_value = calls.filter(|call| call.params.window_frame.units == WindowFrameUnits::Range && moves(call));
    let Some([sort]) = by_value.next().map(|call| &call.params.order_by[..]) else { return Ok(false) };
    Ok(kind_of(&sort.expr, window.input.schema())?.is_integer())
}

/// Converts the function's order and bounds to decimals.
pub fn widen(call: &mut WindowFunction) -> Result<()> {
    let sorts = std::mem::take(&mut call.params.order_by);
    call.params.order_by = sorts.into_iter().map(|sort| Sort { expr: cast(sort.expr, WIDE), ..sort }).collect();
    let frame = &mut call.params.window_frame;
    if frame.units == WindowFrameUnits::Range {
        frame.start_bound = wide(&frame.start_bound)?;
        frame.end_bound = wide(&frame.end_bound)?;
    }
    Ok(())
}

fn call_of(part: &Expr) -> Option<&WindowFunction> {
    match part {
        Expr::Alias(alias) => call_of(&alias.expr),
        Expr::WindowFunction(call) => Some(call),
        _ => None,
    }
}

fn kind_of(part: &Expr, columns: &DFSchema) -> Result<DataType> {
    type_of(part).map_or_else(|| part.get_type(columns), Ok)
}

fn moves(call: &WindowFunction) -> bool {
    let frame = &call.params.window_frame;
    [&frame.start_bound, &frame.end_bound].into_iter().any(|bound| distance(bound).is_some_and(|by| !by.is_null()))
}

fn distance(bound: &WindowFrameBound) -> Option<&ScalarValue> {
    match bound {
        WindowFrameBound::Preceding(by) | WindowFrameBound::Following(by) => Some(by),
        WindowFrameBound::CurrentRow => None,
    }
}

fn wide(bound: &WindowFrameBound) -> Result<WindowFrameBound> {
    Ok(match bound {
        WindowFrameBound::Preceding(by) => WindowFrameBound::Preceding(by.cast_to(&WIDE)?),
        WindowFrameBound::Following(by) => WindowFrameBound::Following(by.cast_to(&WIDE)?),
        WindowFrameBound::CurrentRow => WindowFrameBound::CurrentRow,
    })
}
