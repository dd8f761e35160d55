/** Exports of a component of world `sink`. */

import { host, orTrap, pluginOf } from "./connector.ts";
import { type About, guardedBy } from "./guarded.ts";
import { Batch } from "../batch.ts";
import type { Identity, Sink, SinkPlugin, SinkWriter } from "../sink.ts";
import { microseconds, Stage } from "../stage.ts";
import { fieldsOf, schemaOf, type WireBatch, type WireSchema } from "../types.ts";

interface WireOwner {
  readonly identity: Identity;
  readonly generation: number;
}

export function exports(plugin: unknown, about: About) {
  const made = pluginOf<SinkPlugin>(plugin, "sink");
  let writer: SinkWriter | undefined;
  const create = (config: string): Sink => made.create(new Stage(config, [], []));
  return {
    describe: (config: string, input: WireSchema) =>
      guardedBy(host, () => {
        const of = create(config).describe(fieldsOf(input));
        const { name, version } = about;
        const doc = of.doc ?? about.doc;
        return { name, version, doc, input: schemaOf(of.input), promise: of.promise, configSchema: of.configSchema ?? "" };
      }),
    committed: (config: string, identity: Identity) => orTrap(() => create(config).committed(identity)),
    open: (config: string, input: WireSchema, owner: WireOwner) =>
      orTrap(() => {
        writer = create(config).open(fieldsOf(input), owner);
        return writer.last;
      }),
    begin: (batch: number, time: number) => orTrap(() => writer!.begin(batch, microseconds(time))),
    write: (rows: WireBatch) =>
      orTrap(() => writer!.write(Batch.of(rows)).map(({ row, reason }) => ({ row, reason: reason.toWellFormed() }))),
    commit: (batch: number) => orTrap(() => writer!.commit(batch)),
  };
}
