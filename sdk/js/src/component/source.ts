/** Exports of a component of world `source`. */

import { host, orTrap, pluginOf } from "./connector.ts";
import { type About, guardedBy } from "./guarded.ts";
import type { Source, SourcePartition, SourcePlugin } from "../source.ts";
import { Stage } from "../stage.ts";
import { schemaOf } from "../types.ts";

export function exports(plugin: unknown, about: About) {
  const made = pluginOf<SourcePlugin>(plugin, "source");
  let partition: SourcePartition | undefined;
  const create = (config: string): Source => made.create(new Stage(config, [], []));
  return {
    describe: (config: string) =>
      guardedBy(host, () => {
        const { output, doc, configSchema } = create(config).describe();
        const { name, version } = about;
        return { name, version, doc: doc ?? about.doc, output: schemaOf(output), configSchema: configSchema ?? "" };
      }),
    partitions: (config: string) => orTrap(() => create(config).partitions().map((name) => name.toWellFormed())),
    open: (config: string, name: string, position: Uint8Array | null) =>
      orTrap(() => void (partition = create(config).open(name, position ?? null))),
    poll: (rowsMax: number, waitMs: number) =>
      orTrap(() => {
        const { rows, refused, position, pauseMs, ended } = partition!.poll(rowsMax, waitMs);
        const pause = Math.min(Math.max(Math.trunc(pauseMs), 0), 0xffff_ffff);
        const next = ended ? { tag: "ended" } : pause > 0 ? { tag: "pause", val: pause } : { tag: "ready" };
        const rejected = refused.map(({ data, reason }) => ({ data, reason: reason.toWellFormed() }));
        return { rows, refused: rejected, position, next };
      }),
    durable: (position: Uint8Array) => orTrap(() => partition!.durable(position)),
    published: (position: Uint8Array) => orTrap(() => partition!.published(position)),
  };
}
