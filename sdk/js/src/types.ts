/** What crosses the boundary between host and plugin, as the interface's WIT has it and QuickJS shows it. */

import { isWritten, type WrittenType } from "./written.ts";

/**
 * The type of a column: a plain one; one whose values are written out, as columns of text are; or `arrow …`, any other Arrow type,
 * whose column is an Arrow IPC stream.
 */
export type Type = "bool" | "int64" | "float64" | "text" | "binary" | "timestamp" | WrittenType | `arrow ${string}`;

/** One column of a schema. */
export interface Field {
  readonly name: string;
  readonly type: Type;
  /** Whether rows may be null. */
  readonly nullable: boolean;
}

/** The rows of one column: Arrow's buffers as bytes. */
export interface Column {
  /** A bitmap, one bit a row, least significant bit first; a set bit is a value, a clear one a null. `null`: no nulls. */
  readonly validity: Uint8Array | null;
  /** Of text and binary: where each row begins, rows + 1 signed 32-bit numbers. */
  readonly offsets: Uint8Array | null;
  /** The values. */
  readonly data: Uint8Array;
}

/** A rejected row, by its index in the passed batch. */
export interface Rejected {
  readonly row: number;
  readonly reason: string;
}

/** A plugin's description of itself for a given stage. Missing parts are empty. */
export interface Description {
  /** The columns that it reads, by name, in the order in which calls pass them. */
  readonly input?: readonly Field[];
  /** World `cogroup`: the same for each input. */
  readonly inputs?: readonly (readonly Field[])[];
  /** The columns of the rows that it returns; in world `aggregate` without the key columns. */
  readonly output: readonly Field[];
  /** The columns of a state (world `update`) or of an accumulator (world `aggregate`). */
  readonly state?: readonly Field[];
  /** The required types of the key columns; any by default. */
  readonly key?: readonly Field[] | undefined;
  /** Whether `inverse` works (world `aggregate`). */
  readonly inverse?: boolean;
  /** What it is for; the text of `package.json` by default. */
  readonly doc?: string | undefined;
  /** A JSON Schema of the config; any config by default. */
  readonly configSchema?: string;
}

export interface WireField {
  readonly name: string;
  readonly type: { readonly tag: string; readonly val?: string };
  readonly nullable: boolean;
}

export interface WireSchema {
  readonly fields: readonly WireField[];
}

export interface WireBatch {
  readonly rows: number;
  readonly columns: readonly Column[];
}

export interface WireContext {
  readonly batch: number;
  readonly time: number;
  readonly watermark: number | null;
  readonly config: string;
}

export function fieldsOf(schema: WireSchema): Field[] {
  return schema.fields.map(({ name, type, nullable }) => ({
    name,
    type: (type.tag !== "arrow" ? type.tag : isWritten(type.val ?? "") ? type.val : `arrow ${type.val}`) as Type,
    nullable,
  }));
}

export function schemaOf(fields: readonly Field[]): WireSchema {
  const typeOf = (type: Type) => {
    if (isWritten(type)) return { tag: "arrow", val: type };
    return type.startsWith("arrow ") ? { tag: "arrow", val: type.slice(6) } : { tag: type };
  };
  return { fields: fields.map(({ name, type, nullable }) => ({ name, type: typeOf(type), nullable })) };
}
