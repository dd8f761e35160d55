/** World `aggregate`: rows reduced by lift, combine and lower. */

import { Batch } from "./batch.ts";
import { type Config, configSchema, type ConfigSpec, readConfig } from "./config.ts";
import { inputError, internalError, Rejection } from "./error.ts";
import { returnedBy } from "./returned.ts";
import type { RowType } from "./row.ts";
import type { Context, Stage } from "./stage.ts";
import type { Description } from "./types.ts";
import { refusable } from "./update.ts";

/** A plugin of world `aggregate` that works on batches: what {@link aggregate} makes of functions. */
export interface Aggregate {
  /** Called when a job is loaded: describes output and accumulator, or says that config or input do not fit. */
  describe(stage: Stage): Description;
  /** Makes an accumulator of each row. */
  lift(context: Context, rows: Batch): Batch;
  /** Combines accumulators pair by pair; must be associative. */
  combine(context: Context, left: Batch, right: Batch): Batch;
  /**
   * Returns the output row of each accumulator. `keys` has one row per accumulator, without columns if there is no
   * key.
   */
  lower(context: Context, keys: Batch, accumulators: Batch): Batch;
  /** Takes accumulators out again, pair by pair: `inverse(combine(a, b), a) = b`. */
  inverse?(context: Context, whole: Batch, part: Batch): Batch;
}

/** A plugin; the default export of its module. */
export interface AggregatePlugin {
  readonly world: "aggregate";
  /** Reads the config. Called before everything else, and again when the config changes. */
  create(stage: Stage): Aggregate;
}

/** What a plugin says of itself. */
export interface AggregateSpec<K, I, A, O, S> {
  /** The columns that it reads. */
  readonly input: RowType<I>;
  /** What rows are reduced to on the way. */
  readonly accumulator: RowType<A>;
  /** The columns of the row that comes out, after those of the key. */
  readonly output: RowType<O>;
  /** The columns of the key, if `lower` needs it; any key by default. */
  readonly key?: RowType<K>;
  /** The fields of its config; none by default. */
  readonly config?: S;
  /** What it is for; the `description` of `package.json` by default. */
  readonly doc?: string;
}

/** The arguments of the functions besides their rows. */
export interface AggregateCall<C> {
  readonly config: C;
  readonly context: Context;
}

/** The functions of a plugin. A function that throws or returns a `Rejection` fails the call. */
export interface AggregateFunctions<K, I, A, O, C> {
  /** Makes an accumulator of a row. */
  lift(row: I, call: AggregateCall<C>): A | Rejection;
  /** Makes one accumulator of two; must be associative. */
  combine(left: A, right: A, call: AggregateCall<C>): A | Rejection;
  /** Makes the output row of an accumulator. */
  lower(accumulator: A, call: AggregateCall<C> & { readonly key: K }): O | Rejection;
  /** Undoes `combine`, which makes sliding windows cheaper: `inverse(combine(a, b), a)` is b. */
  inverse?(whole: A, part: A, call: AggregateCall<C>): A | Rejection;
}

/** Makes functions on rows and accumulators a plugin. */
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

/** Creates a plugin from functions on batches, which may work on any columns. */
function batches(create: (stage: Stage) => Aggregate): AggregatePlugin {
  return { world: "aggregate", create };
}

aggregate.batches = batches;

/** The functions of a plugin, one of which is called. */
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
  if (left.rows !== right.rows) throw internalError(`${left.rows} and ${right.rows} rows are not pairs`);
  const [lefts, rights] = [type.reader(left), type.reader(right)];
  return each(of, name, left.rows, type, (row) => function_(lefts(row), rights(row)));
}
