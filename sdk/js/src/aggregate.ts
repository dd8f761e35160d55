/** World `aggregate`: reduces rows with lift, combine and lower. */

import { Batch } from "./batch.ts";
import { type Config, configSchema, type ConfigSpec, readConfig } from "./config.ts";
import { inputError, internalError, Rejection } from "./error.ts";
import { returnedBy } from "./returned.ts";
import type { RowType } from "./row.ts";
import type { Context, Stage } from "./stage.ts";
import type { Description } from "./types.ts";
import { refusable } from "./update.ts";

/** A plugin of world `aggregate` that processes batches. {@link aggregate} creates one from functions. */
export interface Aggregate {
  /** Called when a job is loaded. Describes output and accumulator, or throws if config or input are unsuitable. */
  describe(stage: Stage): Description;
  /** Returns an accumulator for each row. */
  lift(context: Context, rows: Batch): Batch;
  /** Combines pairs of accumulators. Must be associative. */
  combine(context: Context, left: Batch, right: Batch): Batch;
  /**
   * Returns the output row of each accumulator. `keys` has one row per accumulator, without columns if the plugin
   * reads no key.
   */
  lower(context: Context, keys: Batch, accumulators: Batch): Batch;
  /** Removes accumulators from others, in pairs: `inverse(combine(a, b), a) = b`. */
  inverse?(context: Context, whole: Batch, part: Batch): Batch;
}

/** A plugin; the default export of its module. */
export interface AggregatePlugin {
  readonly world: "aggregate";
  /** Reads the config. Called before everything else, and again when the config changes. */
  create(stage: Stage): Aggregate;
}

/** Settings of a plugin. */
export interface AggregateSpec<K, I, A, O, S> {
  /** The input columns. */
  readonly input: RowType<I>;
  /** The columns of the accumulator, to which rows are reduced. */
  readonly accumulator: RowType<A>;
  /** The output columns. The key columns come before them. */
  readonly output: RowType<O>;
  /** The key columns, if `lower` needs the key; any key by default. */
  readonly key?: RowType<K>;
  /** The fields of its config; none by default. */
  readonly config?: S;
  /** Description of the plugin; the `description` of `package.json` by default. */
  readonly doc?: string;
}

/** Arguments of the functions besides their rows. */
export interface AggregateCall<C> {
  readonly config: C;
  readonly context: Context;
}

/** The functions of a plugin. A function that throws or returns a `Rejection` fails the call. */
export interface AggregateFunctions<K, I, A, O, C> {
  /** Returns an accumulator for a row. */
  lift(row: I, call: AggregateCall<C>): A | Rejection;
  /** Combines two accumulators. Must be associative. */
  combine(left: A, right: A, call: AggregateCall<C>): A | Rejection;
  /** Returns the output row of an accumulator. */
  lower(accumulator: A, call: AggregateCall<C> & { readonly key: K }): O | Rejection;
  /** Undoes `combine`, which makes sliding windows cheaper: `inverse(combine(a, b), a)` is b. */
  inverse?(whole: A, part: A, call: AggregateCall<C>): A | Rejection;
}

/** Turns functions on rows and accumulators into a plugin. */
export function aggregate<I, A, O, K = {}, S extends ConfigSpec<unknown> | undefined = undefined>(
  spec: AggregateSpec<K, I, A, O, S>,
  functions: AggregateFunctions<K, I, A, O, Config<S>>,
): AggregatePlugin {
  const { input, accumulator, output, key } = spec;
  return batches((stage) => {
    const config = readConfig(spec.config, stage) as Config<S>;
    return {
      describe: () => ({
        input: input.fields,
        output: output.fields,
        state: accumulator.fields,
        key: key?.fields,
        inverse: functions.inverse !== undefined,
        doc: spec.doc,
        configSchema: configSchema(spec.config),
      }),
      lift: (context, rows) => {
        const call = { config, context };
        const read = input.reader(rows);
        const [missing] = input.missing(rows);
        if (missing !== undefined) throw inputError(`row ${missing.row}: ${missing.reason}`);
        return each(functions, "lift", rows.rows, accumulator, (row) => functions.lift(read(row), call));
      },
      combine: (context, left, right) => {
        const call = { config, context };
        return pairs(functions, "combine", accumulator, left, right, (left, right) => functions.combine(left, right, call));
      },
      lower: (context, keys, accumulators) => {
        const call = { config, context, key: {} as K };
        const keyOf = key?.reader(keys);
        const read = accumulator.reader(accumulators);
        return each(functions, "lower", accumulators.rows, output, (row) => {
          if (keyOf !== undefined) call.key = keyOf(row);
          return functions.lower(read(row), call);
        });
      },
      ...(functions.inverse === undefined
        ? {}
        : {
            inverse: (context: Context, whole: Batch, part: Batch) => {
              const call = { config, context };
              return pairs(functions, "inverse", accumulator, whole, part, (whole, part) => functions.inverse!(whole, part, call));
            },
          }),
    };
  });
}

/** Creates a plugin from functions on batches, which may accept any columns. */
function batches(create: (stage: Stage) => Aggregate): AggregatePlugin {
  return { world: "aggregate", create };
}

aggregate.batches = batches;

/** The functions of a plugin. */
type Functions = AggregateFunctions<any, any, any, any, any>;

/** Calls a function for this number of rows. */
function each<O>(
  of: Functions,
  name: keyof Functions,
  rows: number,
  output: RowType<O>,
  function_: (row: number) => O | Rejection,
): Batch {
  const writer = output.writer();
  for (let row = 0; row < rows; row++) {
    const returned = refusable(() => function_(row));
    if (returned instanceof Rejection) throw internalError(`row ${row}: ${returned.reason}`);
    writer.push(returnedBy(of[name]!, name, returned));
  }
  return new Batch(rows, writer.finish());
}

function pairs<A>(
  of: Functions,
  name: keyof Functions,
  type: RowType<A>,
  left: Batch,
  right: Batch,
  function_: (left: A, right: A) => A | Rejection,
): Batch {
  if (left.rows !== right.rows) throw internalError(`row counts differ: ${left.rows} and ${right.rows}`);
  const [lefts, rights] = [type.reader(left), type.reader(right)];
  return each(of, name, left.rows, type, (row) => function_(lefts(row), rights(row)));
}
