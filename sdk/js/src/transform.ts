/** World `transform`: rows in, rows out. */

import { Batch, type Output } from "./batch.ts";
import type { Cell, Kind } from "./cell.ts";
import { type Config, configSchema, type ConfigSpec, readConfig } from "./config.ts";
import { internalError, Rejection } from "./error.ts";
import { type Out, Output as Rows } from "./out.ts";
import { returnedBy } from "./returned.ts";
import type { RowType } from "./row.ts";
import type { Context, Stage } from "./stage.ts";
import type { Column, Description } from "./types.ts";

/** A plugin of world `transform` that works on batches: what {@link transform} makes of a function. */
export interface Transform {
  /** Called when a job is loaded: says what is read and what is returned, or that config or input do not fit. */
  describe(stage: Stage): Description;
  /** Called with the rows of a batch that one worker holds, or a part of them. */
  process(context: Context, rows: Batch): Output;
}

/** A plugin; the default export of its module. */
export interface TransformPlugin {
  readonly world: "transform";
  /** Reads the config. Called before everything else, and again when the config changes. */
  create(stage: Stage): Transform;
}

/** What a plugin function says of itself. */
export interface TransformSpec<I, O, S> {
  /** The columns that it reads. A row with a null where none may be is rejected before the function sees it. */
  readonly input: RowType<I>;
  /** The columns of the rows that it returns. */
  readonly output: RowType<O>;
  /** The fields of its config; none by default. */
  readonly config?: S;
  /** What it is for; the `description` of `package.json` by default. */
  readonly doc?: string;
}

/** The arguments of a plugin function besides its row. */
export interface TransformCall<O, C> {
  readonly config: C;
  readonly context: Context;
  /** Takes output rows, in addition to those that the function returns. */
  readonly out: Out<O>;
}

/**
 * The result of a plugin function: a row, `null` for none, any number of rows, or why it rejects its own. Only a
 * function that has read `out` from its call may return nothing at all.
 */
export type Returned<O> = O | Iterable<O> | Rejection | null | undefined | void;

/** Makes a function a plugin: it is called for each row. */
export function transform<I, O, S extends ConfigSpec<unknown> | undefined = undefined>(
  spec: TransformSpec<I, O, S>,
  function_: (row: I, call: TransformCall<O, Config<S>>) => Returned<O>,
): TransformPlugin {
  return batches((stage) => {
    const config = readConfig(spec.config, stage) as Config<S>;
    return {
      describe: () => describe(spec),
      process(context, rows) {
        const read = spec.input.reader(rows);
        const rejected = spec.input.missing(rows);
        const skip = new Set(rejected.map(({ row }) => row));
        const out = new Rows(spec.output.writer(), false);
        const call = {
          config,
          context,
          get out() {
            return out.ask();
          },
        };
        let row = 0;
        let before = 0;
        while (row < rows.rows) {
          try {
            // A loop within the `try`, which costs as much as a call.
            for (; row < rows.rows; row++) {
              if (skip.size > 0 && skip.has(row)) continue;
              before = out.rows();
              out.addOf(function_, "transform", function_(read(row), call));
            }
          } catch (error) {
            if (!(error instanceof Rejection)) throw error;
            out.truncate(before);
            rejected.push({ row: row++, reason: error.reason });
          }
        }
        rejected.sort((a, b) => a.row - b.row);
        return { rows: out.batch(), rejected };
      },
    };
  });
}

function describe<I, O>(spec: TransformSpec<I, O, ConfigSpec<unknown> | undefined>): Description {
  return {
    input: spec.input.fields,
    output: spec.output.fields,
    doc: spec.doc,
    configSchema: configSchema(spec.config),
  };
}

/** Creates a plugin from functions on batches, which may work on any columns. */
function batches(create: (stage: Stage) => Transform): TransformPlugin {
  return { world: "transform", create };
}

/** The values of a column: a typed array if there is one for the type. */
export type ColumnOf<T> = [T] extends [bigint]
  ? BigInt64Array
  : [T] extends [number]
    ? Float64Array
    : readonly T[];

/** The columns of a row type. */
export type Columns<T> = { readonly [K in keyof T]: ColumnOf<T[K]> };

/** The arguments of a function on columns besides them. */
export interface ColumnsCall<C> {
  readonly config: C;
  readonly context: Context;
  /** How many rows there are. */
  readonly rows: number;
  /** Rejects a row. The columns that the function returns still have a row for it, which is skipped. */
  reject(row: number, reason: string): void;
}

/**
 * Creates a plugin from a function on columns, which returns one row for each row. `float64` is passed as a
 * `Float64Array` and `int64` as a `BigInt64Array` over the bytes that the host has passed, other types and columns
 * with nulls as arrays.
 */
function columns<I, O, S extends ConfigSpec<unknown> | undefined = undefined>(
  spec: TransformSpec<I, O, S>,
  function_: (columns: Columns<I>, call: ColumnsCall<Config<S>>) => Columns<O>,
): TransformPlugin {
  return batches((stage) => {
    const config = readConfig(spec.config, stage) as Config<S>;
    return {
      describe: () => describe(spec),
      process(context, batch) {
        const rejected = spec.input.missing(batch);
        const places = without(batch.rows, rejected);
        const rows = places === null ? batch : batch.take(places, spec.input.fields);
        const own = new Map<number, string>();
        const given = readColumns(spec.input, rows);
        const call = { config, context, rows: rows.rows, reject: (row: number, reason: string) => void own.set(row, reason) };
        const returned = writeColumns(spec.output, returnedBy(function_, "transform.columns", function_(given, call)), rows.rows);
        if (own.size === 0) return { rows: returned, rejected };
        rejected.push(...Array.from(own, ([row, reason]) => ({ row: places === null ? row : places[row]!, reason })));
        rejected.sort((a, b) => a.row - b.row);
        const kept = without(rows.rows, Array.from(own.keys(), (row) => ({ row })));
        return { rows: returned.take(kept!, spec.output.fields), rejected };
      },
    };
  });
}

/** The rows that are left; `null` where those are all. */
function without(rows: number, rejected: readonly { readonly row: number }[]): number[] | null {
  if (rejected.length === 0) return null;
  const gone = new Set(rejected.map(({ row }) => row));
  return Array.from({ length: rows }, (_, row) => row).filter((row) => !gone.has(row));
}

/** Kinds whose columns are typed arrays. */
const TYPED: { readonly [K in Kind]?: Float64ArrayConstructor | BigInt64ArrayConstructor } = {
  float64: Float64Array,
  int64: BigInt64Array,
};

function isTyped(cell: Cell<unknown>): boolean {
  return !cell.nullable && TYPED[cell.kind] !== undefined;
}

function readColumns<I>(type: RowType<I>, batch: Batch): Columns<I> {
  const others = type.fields.some(({ cell }) => !isTyped(cell)) ? type.reader(batch) : undefined;
  const rows = others && Array.from({ length: batch.rows }, (_, row) => others(row) as Record<string, unknown>);
  const values = type.fields.map(({ name, cell }, index) => {
    if (!isTyped(cell)) return [name, cell.kind === "integer" && !cell.nullable ? Float64Array.from(rows!, (row) => row[name] as number) : rows!.map((row) => row[name])];
    return [name, cell.kind === "float64" ? batch.float64(index) : batch.int64(index)];
  });
  return Object.fromEntries(values);
}

function writeColumns<O>(type: RowType<O>, columns: Columns<O>, rows: number): Batch {
  const of = columns as Record<string, ArrayLike<unknown>>;
  for (const { name } of type.fields) {
    const length = of[name]?.length;
    if (length !== rows) throw internalError(`the column \`${name}\` has ${length ?? "no"} values for ${rows} rows`);
  }
  const writer = type.fields.every(({ cell, name }) => isTyped(cell) && of[name] instanceof TYPED[cell.kind]!) ? undefined : type.writer();
  if (writer === undefined) {
    const bytes = (view: Float64Array | BigInt64Array) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    const column = (name: string): Column => ({ validity: null, offsets: null, data: bytes(of[name] as Float64Array) });
    return new Batch(rows, type.fields.map(({ name }) => column(name)));
  }
  for (let row = 0; row < rows; row++) {
    writer.push(Object.fromEntries(type.fields.map(({ name }) => [name, of[name]![row]])) as O);
  }
  return new Batch(rows, writer.finish());
}

transform.batches = batches;
transform.columns = columns;
