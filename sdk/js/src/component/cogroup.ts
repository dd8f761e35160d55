/** Exports of a component of world `cogroup`. */

import { type About, Calls, rejections } from "./call.ts";
import { Batch, uint32 } from "../batch.ts";
import type { Cogroup } from "../cogroup.ts";
import { returnedBy } from "../returned.ts";
import type { WireBatch, WireContext, WireSchema } from "../types.ts";

interface WireGroups {
  readonly keys: WireBatch;
  readonly inputs: readonly { readonly rows: WireBatch; readonly ends: Uint8Array }[];
}

export function exports(plugin: unknown, about: About) {
  const calls = new Calls<Cogroup>(plugin, "cogroup", about);
  return {
    describe: (config: string, inputs: readonly WireSchema[]) => calls.describe(config, inputs),
    cogroup: (context: WireContext, { keys, inputs }: WireGroups) =>
      calls.call(context, (plugin, context, stage) => {
        const groups = {
          keys: Batch.of(keys),
          inputs: inputs.map(({ rows, ends }) => ({ rows: Batch.of(rows), ends: uint32(ends) })),
        };
        const { rows, rejected } = returnedBy(plugin.cogroup, "cogroup", plugin.cogroup(stage, context, groups));
        return { rows, rejections: rejected.map(rejections) };
      }),
  };
}
