/** World `cogroup`: several inputs, grouped by key. */

import type { Batch } from "./batch.ts";
import { type Config, configSchema, type ConfigSpec, readConfig } from "./config.ts";
import { internalError, Rejection } from "./error.ts";
import { type Out, outputFields, type OutputType } from "./out.ts";
import type { Row, RowType } from "./row.ts";
import type { Context, Stage } from "./stage.ts";
import type { Returned } from "./transform.ts";
import type { Description, Rejected } from "./types.ts";
import { GroupedRows, newOutput, NOTHING, refusable } from "./update.ts";

/** A plugin of world `cogroup` that processes batches. {@link cogroup} creates one from a function. */
export interface Cogroup {
  /** Called when a job is loaded. Describes the inputs and the output, or throws if config, inputs or key are unsuitable. */
  describe(stage: Stage): Description;
  /** Called with the groups of a batch or a window. Every key occurs once. */
  cogroup(stage: Stage, context: Context, groups: CogroupGroups): Cogrouped;
}

/** A plugin; the default export of its module. */
export interface CogroupPlugin {
  readonly world: "cogroup";
  /** Reads the config. Called before everything else, and again when the config changes. */
  create(stage: Stage): Cogroup;
}

/** Rows grouped by key. A group is a key that has rows in at least one input. */
export interface CogroupGroups {
  /** The key columns, one row per group. */
  readonly keys: Batch;
  /** The inputs, in the order of the stage's inputs. */
  readonly inputs: readonly { readonly rows: Batch; readonly ends: Uint32Array }[];
}

/** Result of a call in world `cogroup`. */
export interface Cogrouped {
  /** The output rows. */
  readonly rows: Batch;
  /** For each input, the rejected rows. */
  readonly rejected: readonly (readonly Rejected[])[];
}

/** Settings of a plugin. */
export interface CogroupSpec<K, I extends readonly (RowType<any> | null)[], O, S> {
  /** The columns of each input, in the order of the stage's inputs. `null`: rows with any columns, which are only counted. */
  readonly inputs: I;
  /** The output columns. With {@link keyed}, the key columns come before them. */
  readonly output: OutputType<O>;
  /** The key columns; any key by default. */
  readonly key?: RowType<K>;
  /** The fields of its config; none by default. */
  readonly config?: S;
  /** Description of the plugin; the `description` of `package.json` by default. */
  readonly doc?: string;
}

/** The rows of a key in each input. */
export type RowsOf<I extends readonly (RowType<any> | null)[]> = {
  readonly [N in keyof I]: readonly (I[N] extends null ? {} : Row<I[N]>)[];
};

/** Arguments of a plugin function besides its rows. */
export interface CogroupCall<K, O, C> {
  /** The key of this call. An empty object if the plugin accepts any key. */
  readonly key: K;
  readonly out: Out<O>;
  readonly config: C;
  readonly context: Context;
}

/** Turns a function into a plugin. It is called for each key with its rows from every input. */
export function cogroup<
  const I extends readonly (RowType<any> | null)[],
  O,
  K = {},
  S extends ConfigSpec<unknown> | undefined = undefined,
>(
  spec: CogroupSpec<K, I, O, S>,
  function_: (rows: RowsOf<I>, call: CogroupCall<K, O, Config<S>>) => Returned<O>,
): CogroupPlugin {
  const key = spec.key ?? (NOTHING as RowType<K>);
  const types = spec.inputs.map((input) => input ?? NOTHING);
  return batches((stage) => {
    const config = readConfig(spec.config, stage) as Config<S>;
    return {
      describe: (stage) => ({
        inputs: types.map((type) => type.fields),
        output: outputFields(spec.output, stage),
        key: spec.key?.fields,
        doc: spec.doc,
        configSchema: configSchema(spec.config),
      }),
      cogroup(stage, context, { keys, inputs }) {
        if (inputs.length !== types.length) {
          throw internalError(`${inputs.length} inputs where ${types.length} are needed`);
        }
        const grouped = inputs.map(({ rows, ends }, index) => new GroupedRows(types[index]!, rows, ends));
        const keyOf = key.reader(keys);
        const out = newOutput(spec.output);
        const call = {
          config,
          context,
          get out() {
            return out.ask();
          },
          key: undefined as K,
        };
        for (let group = 0; group < keys.rows; group++) {
          out.begin(group);
          call.key = keyOf(group);
          const before = out.rows();
          const rows = grouped.map((input) => input.of(group)) as unknown as RowsOf<I>;
          const returned = refusable(() => out.addOf(function_, "cogroup", function_(rows, call)));
          if (!(returned instanceof Rejection)) continue;
          out.truncate(before);
          grouped.forEach((input) => input.reject(group, returned.reason));
        }
        return { rows: out.finish(stage, keys), rejected: grouped.map((input) => input.rejected()) };
      },
    };
  });
}

/** Creates a plugin from functions on batches, which may accept any columns. */
function batches(create: (stage: Stage) => Cogroup): CogroupPlugin {
  return { world: "cogroup", create };
}

cogroup.batches = batches;
