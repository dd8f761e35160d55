/** Types of a row's fields. */

import type { Type } from "./types.ts";
import { isNested, isWritten, type NestedType } from "./written.ts";

/** Microseconds since 1970-01-01 00:00 UTC. */
export type Timestamp = bigint;

/** Representation of a field's values in JavaScript. */
export type Kind = "bool" | "int64" | "integer" | "float64" | "text" | "binary" | "nested";

/** The type of a field. Only this module creates cells. */
export interface Cell<T> {
  /** The column's type. */
  readonly type: Type;
  readonly kind: Kind;
  /** Whether the column is nullable. */
  readonly nullable: boolean;
  /** Always missing: it only has the type of the values. */
  readonly value?: T;
}

/** `true` or `false`. */
export const bool: Cell<boolean> = { type: "bool", kind: "bool", nullable: false };
/** A 64-bit integer without loss: a `bigint`. */
export const int64: Cell<bigint> = { type: "int64", kind: "int64", nullable: false };
/**
 * A 64-bit integer as a `number`, which represents integers up to 2^53 - 1. A row with a larger integer is rejected.
 * A call that returns a larger one or a fraction fails. Nothing is rounded.
 */
export const integer: Cell<number> = { type: "int64", kind: "integer", nullable: false };
/** A `number`. */
export const float64: Cell<number> = { type: "float64", kind: "float64", nullable: false };
/** A `string`. When it is written, unpaired surrogates become U+FFFD. */
export const text: Cell<string> = { type: "text", kind: "text", nullable: false };
/** Bytes. A value from the input is a view; copy it (`slice`) to use it after the call. */
export const binary: Cell<Uint8Array> = { type: "binary", kind: "binary", nullable: false };
/** A point in time: a `bigint` of microseconds since 1970-01-01 00:00 UTC. */
export const timestamp: Cell<Timestamp> = { type: "timestamp", kind: "int64", nullable: false };

/** A date, for example `"2026-11-20"`. Years with more or fewer than four digits have a sign. */
export const date: Cell<string> = { type: "date", kind: "text", nullable: false };

/**
 * A decimal number with this precision and scale: a `string`, for example `"12.50"`. A value from the input has all
 * digits of the scale, so `BigInt(price.replace(".", ""))` is the number of cents. A value that you return may have
 * fewer.
 */
export function decimal(precision: number, scale: number): Cell<string> {
  return { type: `decimal(${precision},${scale})`, kind: "text", nullable: false };
}

/**
 * A struct or a list, with the type as in job files: `nested<{ id: number; tags: string[] }>("struct<id: int64, tags:
 * list<text>>")`. Values are as in JSON: times and dates are strings, binaries hexadecimal strings, decimals numbers.
 * Any of them may be `null`. Integers beyond 2^53 - 1 are bigints.
 */
export function nested<T = unknown>(type: NestedType): Cell<T> {
  return { type, kind: "nested", nullable: false };
}

/** The same type, nullable. */
export function nullable<T>(cell: Cell<T>): Cell<T | null> {
  return { type: cell.type, kind: cell.kind, nullable: true };
}

/** Converts a timestamp to a `Date`, which has milliseconds. */
export function toDate(time: Timestamp): Date {
  const milliseconds = time / 1000n - (time % 1000n < 0n ? 1n : 0n);
  return new Date(Number(milliseconds));
}

/** Converts a `Date` to a timestamp. */
export function fromDate(date: Date): Timestamp {
  return BigInt(date.getTime()) * 1000n;
}

/** Returns the nullable cell for columns of a type. */
export function cellOf(type: Type): Cell<unknown> {
  switch (type) {
    case "int64":
    case "timestamp":
      return { type, kind: "int64", nullable: true };
    case "bool":
    case "float64":
    case "text":
    case "binary":
      return { type, kind: type, nullable: true };
    default:
      if (isWritten(type)) return { type, kind: isNested(type) ? "nested" : "text", nullable: true };
      throw new TypeError(`rows have no columns of type ${type}: pass them on as whole batches`);
  }
}
