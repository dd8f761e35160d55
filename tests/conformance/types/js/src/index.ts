/**
 * A value of every type, with and without nulls: every output column is computed, so that a value that is read or
 * written wrongly is detected.
 */

import { binary, bool, float64, int64, nullable, row, text, timestamp, transform } from "millstream-sdk";

const Values = row({
  flag: bool,
  int: int64,
  float: float64,
  text,
  binary,
  at: timestamp,
  flag_or_null: nullable(bool),
  int_or_null: nullable(int64),
  float_or_null: nullable(float64),
  text_or_null: nullable(text),
  binary_or_null: nullable(binary),
  at_or_null: nullable(timestamp),
  type: nullable(text),
  class: nullable(int64),
  func: nullable(bool),
  "two words": nullable(text),
  größe: nullable(int64),
});

const Computed = row({
  flag: bool,
  int: int64,
  float: float64,
  is_negative: bool,
  text,
  length: int64,
  binary,
  at: timestamp,
  flag_or_null: nullable(bool),
  int_or_null: nullable(int64),
  float_or_null: nullable(float64),
  text_or_null: nullable(text),
  length_or_null: nullable(int64),
  binary_or_null: nullable(binary),
  at_or_null: nullable(timestamp),
  type: nullable(text),
  class: nullable(int64),
  func: nullable(bool),
  "two words": nullable(text),
  größe: nullable(int64),
});

/** Computes something from a value of every type. */
export default transform({ input: Values, output: Computed }, (row) => ({
  flag: !row.flag,
  int: ~row.int,
  float: row.float * 2,
  is_negative: row.float < 0 || Object.is(row.float, -0),
  text: longer(row.text),
  length: length(row.text),
  binary: reversed(row.binary),
  at: later(row.at),
  flag_or_null: map(row.flag_or_null, (flag) => !flag),
  int_or_null: map(row.int_or_null, (int) => ~int),
  float_or_null: map(row.float_or_null, (float) => float * 2),
  text_or_null: map(row.text_or_null, longer),
  length_or_null: map(row.text_or_null, length),
  binary_or_null: map(row.binary_or_null, reversed),
  at_or_null: map(row.at_or_null, later),
  type: row.type,
  class: map(row.class, (int) => ~int),
  func: map(row.func, (flag) => !flag),
  "two words": row["two words"],
  größe: map(row.größe, (int) => ~int),
}));

function map<T, U>(value: T | null, function_: (value: T) => U): U | null {
  return value === null ? null : function_(value);
}

function longer(text: string): string {
  return `${text}!`;
}

function length(text: string): bigint {
  return BigInt([...text].length);
}

function reversed(bytes: Uint8Array): Uint8Array {
  return bytes.toReversed();
}

function later(at: bigint): bigint {
  return at + 1_000_000n;
}
