/** The exports of a component of world `update`. */

import { type About, Calls, rejections } from "./call.ts";
import * as timers from "millstream:plugin/timers@0.1.1";
import { Batch, uint32 } from "../batch.ts";
import type { Update } from "../update.ts";
import type { WireBatch, WireContext, WireSchema } from "../types.ts";

interface WireGroups {
  readonly keys: WireBatch;
  readonly rows: WireBatch;
  readonly ends: Uint8Array;
  readonly states: WireBatch;
  readonly known: Uint8Array;
  readonly timedOut: Uint8Array;
}

/** The engine passes 64-bit integers as numbers, which are exact up to the year 2255; later times are refused, not rounded. */
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

export function exports(plugin: unknown, about: About) {
  const calls = new Calls<Update>(plugin, "update", about, host);
  return {
    describe: (config: string, input: WireSchema) => calls.describe(config, [input]),
    update: (context: WireContext, { keys, rows, ends, states, known, timedOut }: WireGroups) =>
      calls.call(context, (plugin, context, stage) => {
        const updated = plugin.update(stage, context, {
          keys: Batch.of(keys),
          rows: Batch.of(rows),
          ends: uint32(ends),
          states: Batch.of(states),
          known,
          timedOut,
        });
        return { ...updated, rejections: rejections(updated.rejected) };
      }),
  };
}
