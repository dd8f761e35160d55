/** Exports of a component of world `aggregate`. */

import { type About, Calls } from "./call.ts";
import type { Aggregate } from "../aggregate.ts";
import { Batch } from "../batch.ts";
import { internalError } from "../error.ts";
import type { WireBatch, WireContext, WireSchema } from "../types.ts";

export function exports(plugin: unknown, about: About) {
  const calls = new Calls<Aggregate>(plugin, "aggregate", about);
  return {
    describe: (config: string, input: WireSchema) => calls.describe(config, [input]),
    lift: (context: WireContext, rows: WireBatch) =>
      calls.call(context, (plugin, context) => plugin.lift(context, Batch.of(rows))),
    combine: (context: WireContext, left: WireBatch, right: WireBatch) =>
      calls.call(context, (plugin, context) => plugin.combine(context, Batch.of(left), Batch.of(right))),
    lower: (context: WireContext, keys: WireBatch, accumulators: WireBatch) =>
      calls.call(context, (plugin, context) => plugin.lower(context, Batch.of(keys), Batch.of(accumulators))),
    inverse: (context: WireContext, whole: WireBatch, part: WireBatch) =>
      calls.call(context, (plugin, context) => {
        if (plugin.inverse === undefined) throw internalError("this aggregate has no inverse");
        return plugin.inverse(context, Batch.of(whole), Batch.of(part));
      }),
  };
}
