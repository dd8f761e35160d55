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

/** A plugin of world `transform` that processes batches. {@link transform} creates one from a function. */
export interface Transform {
  /** Called when a job is loaded. Describes input and output, or throws if config or input are unsuitable. */
  describe(stage: Stage): Description;
  /** Called with the rows of a batch in one worker, or with a part of them. */
  process(context: Context, rows: Batch): Output;
}

/** A plugin; the default export of its module. */
export interface TransformPlugin {
  readonly world: "transform";
  /** Reads the config. Called before everything else, and again when the config changes. */
  create(stage: Stage): Transform;
}

/** Settings of a plugin. */
export interface TransformSpec<I, O, S> {
  /** The input columns. A row with a null in a column that is not nullable is rejected before the function sees it. */
  readonly input: RowType<I>;
  /** The output columns. */
  readonly output: RowType<O>;
  /** The fields of its config; none by default. */
  readonly config?: S;
  /** Description of the plugin; the `description` of `package.json` by default. */
  readonly doc?: string;
}

/** Arguments of a plugin function besides its row. */
export interface TransformCall<O, C> {
  readonly config: C;
  readonly context: Context;
  /** Collects output rows, in addition to those that the function returns. */
  readonly out: Out<O>;
}

/**
 * Return value of a plugin function: a row, `null` for none, any number of rows, or a rejection. Only a function that has
 * read `out` from its call may return nothing.
 */
export type Returned<O> = O | Iterable<O> | Rejection | null | undefined | void;

/** Turns a function into a plugin. It is called for each row. */
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
            // The loop is within the `try`, which costs as much as a call.
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

/** Creates a plugin from functions on batches, which may accept any columns. */
function batches(create: (stage: Stage) => Transform): TransformPlugin {
  return { world: "transform", create };
}

/** The values of a column: a typed array if the type has one. */
export type ColumnOf<T> = [T] extends [bigint]
  ? BigInt64Array
  : [T] extends [number]
    ? Float64Array
    : readonly T[];

/** The columns of a row type. */
export type Columns<T> = { readonly [K in keyof T]: ColumnOf<T[K]> };

/** Arguments of a function on columns besides them. */
export interface ColumnsCall<C> {
  readonly config: C;
  readonly context: Context;
  /** Number of rows. */
  readonly rows: number;
  /** Rejects a row. The columns that the function returns still have a row for it, which is skipped. */
  reject(row: number, reason: string): void;
}

/**
 * Creates a plugin from a function on columns, which returns one row for each row. `float64` is passed as a
 * `Float64Array` and `int64` as a `BigInt64Array`, views of the host's bytes. Other types, and columns with nulls, are
 * passed as arrays.
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
        const readable = without(batch.rows, rejected);
        const rows = readable === null ? batch : batch.take(readable, spec.input.fields);
        const own = new Map<number, string>();
        const given = readColumns(spec.input, rows);
        const call = { config, context, rows: rows.rows, reject: (row: number, reason: string) => void own.set(row, reason) };
        const returned = writeColumns(spec.output, returnedBy(function_, "transform.columns", function_(given, call)), rows.rows);
        if (own.size === 0) return { rows: returned, rejected };
        rejected.push(...Array.from(own, ([row, reason]) => ({ row: readable === null ? row : readable[row]!, reason })));
        rejected.sort((a, b) => a.row - b.row);
        const kept = without(rows.rows, Array.from(own.keys(), (row) => ({ row })));
        return { rows: returned.take(kept!, spec.output.fields), rejected };
      },
    };
  });
}

/** Returns the remaining rows, or `null` if all remain. */
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
