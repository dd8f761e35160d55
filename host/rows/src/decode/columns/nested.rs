//! Parses structs and lists from their JSON text.

use super::super::json::scan::Scanner;
use super::{BuilderValues, ColumnBuilder};
use crate::batch::binary_text::BinaryEncoding;
use crate::decode::written_value::WrittenValue;

/// Maximum values per byte of text: missing members of a struct take memory, too.
const VALUES_PER_BYTE_MAX: usize = 8;
/// This number of values is always allowed.
const VALUES_MIN: usize = 10_000;

/// Appends the struct or list in a string.
pub(super) fn push_value(column: &mut ColumnBuilder, text: &str, encoding: BinaryEncoding) -> Result<(), String> {
    let mut scanner = Scanner::new(text);
    let mut values = VALUES_MIN.max(text.len().saturating_mul(VALUES_PER_BYTE_MAX));
    push(column, &mut scanner, encoding, &mut values)?;
    scanner.end()
}

/// Reads the next value; `values` may still be created.
fn push(
    column: &mut ColumnBuilder,
    scanner: &mut Scanner<'_>,
    encoding: BinaryEncoding,
    values: &mut usize,
) -> Result<(), String> {
    let ColumnBuilder { name, kind, values: builder, .. } = column;
    match (scanner.peek(), builder) {
        (Some(b'['), BuilderValues::List { item, ends }) => {
            scanner.advance(1);
            if !scanner.eat(b']') {
                loop {
                    take(values, 1, name)?;
                    push(item, scanner, encoding, values)?;
                    if !scanner.eat(b',') {
                        break;
                    }
                }
                scanner.close(b']')?;
            }
            let end = i32::try_from(item.values.len());
            ends.push(end.map_err(|_| format!("column `{name}`: more than 2^31 values of lists in a part"))?);
            Ok(())
        }
        (Some(b'{'), BuilderValues::Struct { members, rows }) => {
            take(values, members.len(), name)?;
            scanner.advance(1);
            if !scanner.eat(b'}') {
                loop {
                    read_member(name, members, *rows, scanner, encoding, values)?;
                    if !scanner.eat(b',') {
                        break;
                    }
                }
                scanner.close(b'}')?;
            }
            members.iter_mut().filter(|member| member.values.len() == *rows).for_each(ColumnBuilder::push_null);
            *rows += 1;
            Ok(())
        }
        (_, BuilderValues::List { .. } | BuilderValues::Struct { .. }) => {
            let mut scratch = String::new();
            match scanner.value(&mut scratch)? {
                WrittenValue::Null => {
                    column.push_null();
                    Ok(())
                }
                _ => Err(format!("column `{name}`: not {kind}")),
            }
        }
        (_, _) => {
            let mut scratch = String::new();
            let value = scanner.value(&mut scratch)?;
            column.push(value, encoding)
        }
    }
}

/// Reads a key and its value. If a key is repeated, the last value wins; keys without a member are ignored.
fn read_member(
    name: &str,
    members: &mut [ColumnBuilder],
    rows: usize,
    scanner: &mut Scanner<'_>,
    encoding: BinaryEncoding,
    values: &mut usize,
) -> Result<(), String> {
    let mut scratch = String::new();
    let key = scanner.key()?.unescaped(&mut scratch)?;
    // The name of a member follows that of the struct and a dot.
    let found = members.iter_mut().find(|member| member.name.get(name.len() + 1..) == Some(key));
    let Some(member) = found else { return scanner.skip(1) };
    member.truncate(rows);
    push(member, scanner, encoding, values)
}

fn take(values: &mut usize, taken: usize, name: &str) -> Result<(), String> {
    let left = values.checked_sub(taken);
    *values = left.ok_or_else(|| {
        format!("column `{name}`: more values than {VALUES_PER_BYTE_MAX} for each byte that they are written in")
    })?;
    Ok(())
}

#[cfg(test)]
mod tests;
