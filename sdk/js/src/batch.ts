/** Batches, for plugins that accept any columns. */

import { isWritten } from "./written.ts";
import { inputError, internalError } from "./error.ts";
import type { Column, Field, Rejected, Type, WireBatch } from "./types.ts";
import { decode, type Texts } from "./utf8.ts";

/**
 * Rows as columns. The stage's `input` and `key` have their names and types. Methods return views of the host's bytes
 * without a copy.
 */
export class Batch {
  readonly rows: number;
  readonly columns: readonly Column[];

  constructor(rows: number, columns: readonly Column[]) {
    this.rows = rows;
    this.columns = columns;
  }

  static of(wire: WireBatch): Batch {
    return new Batch(wire.rows, wire.columns);
  }

  /** Number of columns. */
  get width(): number {
    return this.columns.length;
  }

  /** Returns the buffers of a column. */
  column(index: number): Column {
    const column = this.columns[index];
    if (column === undefined) throw internalError(`column ${index}: the batch has no such column`);
    return column;
  }

  /** Returns whether a row of a column is null. Works for all types. */
  isNull(column: number, row: number): boolean {
    const validity = this.columns[column]?.validity;
    return validity ? !bit(validity, row) : false;
  }

  /** Returns a bitmap of the rows of a column that have values, one bit per row, or `null` if all have one. */
  validity(index: number): Uint8Array | null {
    const { validity } = this.column(index);
    if (validity && validity.length < Math.ceil(this.rows / 8)) throw internalError(`column ${index}: its validity is too short`);
    return validity;
  }

  /** Returns a column of `float64`. */
  float64(index: number): Float64Array {
    return new Float64Array(...this.eightBytes(index));
  }

  /** Returns a column of `int64`, or of `timestamp`, in microseconds since 1970. */
  int64(index: number): BigInt64Array {
    return new BigInt64Array(...this.eightBytes(index));
  }

  /** Returns a column of `bool`. */
  bool(index: number): Bits {
    return new Bits(this.column(index).data, this.rows);
  }

  /** Returns a column of `text`: string i is `text.substring(offsets[i], offsets[i + 1])`. */
  text(index: number): Texts {
    return decode(this.column(index).data, this.offsets(index));
  }

  /**
   * Returns the start of each row of a `text` or `binary` column in its `data`, in bytes, followed by the end of the
   * last row.
   */
  offsets(index: number): Int32Array {
    const { offsets } = this.column(index);
    if (!offsets) throw internalError(`column ${index}: it has no offsets`);
    // In Arrow, a column without rows may have no offsets.
    if (this.rows === 0) return new Int32Array(1);
    if (offsets.length < 4 * (this.rows + 1)) throw internalError(`column ${index}: its offsets are too short`);
    return new Int32Array(...aligned(offsets, 4, this.rows + 1));
  }

  private eightBytes(index: number): [ArrayBuffer, number, number] {
    const { data } = this.column(index);
    if (data.length < 8 * this.rows) throw internalError(`column ${index}: its values are too short`);
    return aligned(data, 8, this.rows);
  }

  /** Returns the rows with these indexes, in this order. An index may occur several times. */
  take(rows: ArrayLike<number>, fields: readonly Field[]): Batch {
    for (let i = 0; i < rows.length; i++) {
      if (!(rows[i]! < this.rows)) throw internalError("a row was taken that the batch does not have");
    }
    if (fields.length !== this.width) throw internalError(`${fields.length} types for ${this.width} columns`);
    return new Batch(rows.length, fields.map((field, index) => this.takeColumn(index, field.type, rows)));
  }

  private takeColumn(index: number, type: Type, rows: ArrayLike<number>): Column {
    const column = this.column(index);
    const validity = column.validity && takeBits(column.validity, rows);
    switch (isWritten(type) ? "text" : type) {
      case "bool":
        return { validity, offsets: null, data: takeBits(column.data, rows) };
      case "int64":
      case "float64":
      case "timestamp": {
        const values = this.int64(index);
        return { validity, offsets: null, data: bytesOf(BigInt64Array.from(rows, (row) => values[row]!)) };
      }
      case "text":
      case "binary": {
        const offsets = this.offsets(index);
        const parts = Array.from(rows, (row) => column.data.subarray(offsets[row], offsets[row + 1]));
        return { validity, ...joined(parts) };
      }
      default:
        throw inputError(`a column of type ${type.slice(6)} cannot be taken apart by a plugin: cast or drop it before`);
    }
  }

  /** Returns these columns of the batch, in this order. */
  select(columns: readonly number[]): Batch {
    return new Batch(this.rows, columns.map((index) => this.column(index)));
  }

  /** Returns the columns of both batches, which must have the same number of rows. */
  beside(other: Batch): Batch {
    if (this.rows !== other.rows) throw internalError(`columns of ${this.rows} and of ${other.rows} rows`);
    return new Batch(this.rows, [...this.columns, ...other.columns]);
  }
}

/** Result of a call in world `transform`. */
export interface Output {
  /** The output rows, with the described columns. */
  readonly rows: Batch;
  /** The rejected rows of the input. */
  readonly rejected: readonly Rejected[];
}

/** A bitmap with one bit per row. */
export class Bits {
  readonly bytes: Uint8Array;
  readonly length: number;

  constructor(bytes: Uint8Array, length: number) {
    if (bytes.length < Math.ceil(length / 8)) throw internalError("a bitmap is too short");
    this.bytes = bytes;
    this.length = length;
  }

  get(index: number): boolean {
    return bit(this.bytes, index);
  }
}

/** Returns a bit of a bitmap. False after the bitmap's end. */
export function bit(bits: Uint8Array, index: number): boolean {
  return ((bits[index >> 3]! >> (index & 7)) & 1) === 1;
}

/** Converts booleans to a bitmap. */
export function bitmap(bits: ArrayLike<boolean>): Uint8Array {
  const bytes = new Uint8Array((bits.length + 7) >> 3);
  for (let i = 0; i < bits.length; i++) {
    if (bits[i]) bytes[i >> 3]! |= 1 << (i & 7);
  }
  return bytes;
}

/** Concatenates byte strings. */
export function joined(parts: readonly Uint8Array[]): { data: Uint8Array; offsets: Uint8Array } {
  const offsets = new Int32Array(parts.length + 1);
  let end = 0;
  parts.forEach((part, i) => (offsets[i + 1] = end += part.length));
  const data = new Uint8Array(end);
  parts.forEach((part, i) => data.set(part, offsets[i]));
  return { data, offsets: bytesOf(offsets) };
}

/** Returns the bytes of a typed array. */
export function bytesOf(array: Float64Array | BigInt64Array | Int32Array | Uint32Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** Converts bytes to unsigned 32-bit numbers. */
export function uint32(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(...aligned(bytes, 4, bytes.length >> 2));
}

/** Returns the buffer of a typed array with `count` elements of `size` bytes. Copies bytes that are not aligned. */
function aligned(bytes: Uint8Array, size: number, count: number): [ArrayBuffer, number, number] {
  const at = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  return [at.buffer as ArrayBuffer, at.byteOffset, count];
}

function takeBits(bits: Uint8Array, rows: ArrayLike<number>): Uint8Array {
  return bitmap(Array.from(rows, (row) => bit(bits, row)));
}
