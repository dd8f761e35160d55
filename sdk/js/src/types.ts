/** Values that cross the boundary between host and plugin, as defined in WIT and represented in QuickJS. */

import { isWritten, type WrittenType } from "./written.ts";

/**
 * A column type: a plain type, or one whose values are encoded as text, or `arrow …`. The latter is any other Arrow type; its
 * column is an Arrow IPC stream.
 */
export type Type = "bool" | "int64" | "float64" | "text" | "binary" | "timestamp" | WrittenType | `arrow ${string}`;

/** A column of a schema. */
export interface Field {
  readonly name: string;
  readonly type: Type;
  /** Whether the column is nullable. */
  readonly nullable: boolean;
}

/** The rows of one column, as Arrow buffers. */
export interface Column {
  /** A bitmap, one bit per row, least significant bit first. A set bit is a value, a clear one a null. `null`: no nulls. */
  readonly validity: Uint8Array | null;
  /** For text and binary: the start of each row, as rows + 1 signed 32-bit numbers. */
  readonly offsets: Uint8Array | null;
  /** The values. */
  readonly data: Uint8Array;
}

/** A rejected row. `row` is its index in the batch. */
export interface Rejected {
  readonly row: number;
  readonly reason: string;
}

/** A plugin's description for a given stage. Missing parts are empty. */
export interface Description {
  /** The input columns, in the order in which calls pass them. */
  readonly input?: readonly Field[];
  /** World `cogroup`: the columns of each input. */
  readonly inputs?: readonly (readonly Field[])[];
  /** The output columns. In world `aggregate`, without the key columns. */
  readonly output: readonly Field[];
  /** The columns of a state (world `update`) or of an accumulator (world `aggregate`). */
  readonly state?: readonly Field[];
  /** The required types of the key columns; any by default. */
  readonly key?: readonly Field[] | undefined;
  /** Whether the plugin supports `inverse` (world `aggregate`). */
  readonly inverse?: boolean;
  /** Description of the plugin; the one of `package.json` by default. */
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
