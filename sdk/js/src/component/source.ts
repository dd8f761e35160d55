/** The exports of a component of world `source`. */

import * as log from "millstream:plugin/log@0.1.3";
import * as net from "millstream:plugin/net@0.1.3";
import { type About, guardedBy } from "./guarded.ts";
import { configError, PluginError } from "../error.ts";
import { FileError } from "../files.ts";
import { Fault } from "../net.ts";
import type { Source, SourcePartition, SourcePlugin } from "../source.ts";
import { describeError } from "../stack.ts";
import { Stage } from "../stage.ts";
import { schemaOf } from "../types.ts";

/** A source has no stage. */
const nothing = () => ({ fields: [] });
const host = { input: nothing, inputs: () => [], key: nothing, timers: undefined, net };

export function exports(plugin: unknown, about: About) {
  const made = plugin as SourcePlugin | undefined;
  if (typeof made?.create !== "function") {
    throw new TypeError("the module has no plugin: it ends with `export default source({ … }, …)`");
  }
  if (made.world !== "source") {
    throw new TypeError(`the module makes a plugin of world \`${made.world}\`, and package.json says \`source\``);
  }
  let partition: SourcePartition | undefined;
  const create = (config: string): Source => made.create(new Stage(config, [], []));
  return {
    describe: (config: string) =>
      guardedBy(host, () => {
        const { output, doc, configSchema } = create(config).describe();
        const { name, version } = about;
        return { name, version, doc: doc ?? about.doc, output: schemaOf(output), configSchema: configSchema ?? "" };
      }),
    partitions: (config: string) => orDies(() => create(config).partitions().map((name) => name.toWellFormed())),
    open: (config: string, name: string, position: Uint8Array | null) =>
      orDies(() => void (partition = create(config).open(name, position ?? null))),
    poll: (rowsMax: number, waitMs: number) =>
      orDies(() => {
        const { rows, refused, position, pauseMs, ended } = partition!.poll(rowsMax, waitMs);
        const pause = Math.min(Math.max(Math.trunc(pauseMs), 0), 0xffff_ffff);
        const next = ended ? { tag: "ended" } : pause > 0 ? { tag: "pause", val: pause } : { tag: "ready" };
        const told = refused.map(({ data, reason }) => ({ data, reason: reason.toWellFormed() }));
        return { rows, refused: told, position, next };
      }),
    durable: (position: Uint8Array) => orDies(() => partition!.durable(position)),
    published: (position: Uint8Array) => orDies(() => partition!.published(position)),
  };
}

/**
 * Runs a call. Errors of the plugin's own making and faults of connections pass, and the host tries again for ever; any other
 * exception is a mistake of the plugin, and does not pass. So the instance dies of it, with its last words, and that ends the job.
 */
function orDies<T>(function_: () => T): T {
  let mistake: string | undefined;
  const returned = guardedBy(host, () => {
    try {
      return function_();
    } catch (error) {
      if (error instanceof PluginError) throw error;
      if (error instanceof FileError) throw configError(error.message);
      if (error instanceof Fault) throw new PluginError("internal", error.message);
      mistake = describeError(error);
    }
  });
  if (mistake !== undefined) {
    // The host takes the line that begins so for what happened.
    for (const line of `panic: ${mistake}`.toWellFormed().split("\n")) log.write("error", line);
    // It is no error of the interface, and so the engine gives up.
    throw mistake;
  }
  return returned as T;
}
