/** Exports of a component of world `transform`. */

import { type About, Calls, rejections } from "./call.ts";
import { Batch } from "../batch.ts";
import type { Transform } from "../transform.ts";
import { returnedBy } from "../returned.ts";
import type { WireBatch, WireContext, WireSchema } from "../types.ts";

export function exports(plugin: unknown, about: About) {
  const calls = new Calls<Transform>(plugin, "transform", about);
  return {
    describe: (config: string, input: WireSchema) => calls.describe(config, [input]),
    process: (context: WireContext, input: WireBatch) =>
      calls.call(context, (plugin, context) => {
        const { rows, rejected } = returnedBy(plugin.process, "process", plugin.process(context, Batch.of(input)));
        return { rows, rejections: rejections(rejected) };
      }),
  };
}
