/** Exports of a component of world `update`. */

import { type About, Calls, guarded, rejections } from "./call.ts";
import * as timers from "millstream:plugin/timers@0.1.3";
import { Batch, uint32 } from "../batch.ts";
import { returnedBy } from "../returned.ts";
import type { Update, UpdatePlugin } from "../update.ts";
import { fieldsOf, type WireBatch, type WireContext, type WireSchema } from "../types.ts";

interface WireGroups {
  readonly keys: WireBatch;
  readonly rows: WireBatch;
  readonly ends: Uint8Array;
  readonly states: WireBatch;
  readonly known: Uint8Array;
  readonly timedOut: Uint8Array;
}

/** Converts a time to a number, as the engine passes 64-bit integers. Exact up to the year 2255; rejects later times. */
function exact(at: bigint): number {
  const number = Number(at);
  if (!Number.isSafeInteger(number)) throw new RangeError(`no timer can be set at ${at}: that is after the year 2255`);
  return number;
}

const host = {
  set: (group: number, at: bigint) => timers.set(group, exact(at)),
  cancel: (group: number, at: bigint) => timers.cancel(group, exact(at)),
  due: timers.due,
};

/** Additional exports of world `update-migrating`. */
export function migrator(plugin: unknown) {
  const { migrate } = plugin as UpdatePlugin;
  if (!migrate) throw new TypeError("the plugin has no `migrations`, as those of world `update-migrating` have");
  return {
    migrate: (_config: string, version: string, schema: WireSchema, states: WireBatch) =>
      guarded(() => migrate({ version, fields: fieldsOf(schema), states: Batch.of(states) })),
  };
}

export function exports(plugin: unknown, about: About, migrates: boolean) {
  if ((plugin as Partial<UpdatePlugin> | undefined)?.migrate && !migrates) {
    throw new TypeError("the plugin has `migrations`: the world in package.json is `update-migrating` then");
  }
  const calls = new Calls<Update>(plugin, "update", about, host);
  return {
    describe: (config: string, input: WireSchema) => calls.describe(config, [input]),
    update: (context: WireContext, { keys, rows, ends, states, known, timedOut }: WireGroups) =>
      calls.call(context, (plugin, context, stage) => {
        const own = {
          keys: Batch.of(keys),
          rows: Batch.of(rows),
          ends: uint32(ends),
          states: Batch.of(states),
          known,
          timedOut,
        };
        const updated = returnedBy(plugin.update, "update", plugin.update(stage, context, own));
        return { ...updated, rejections: rejections(updated.rejected) };
      }),
  };
}
