/**
 * Common code for components of worlds `source` and `sink`. They are not stages, and their errors are transient or
 * permanent.
 */

import * as log from "millstream:plugin/log@0.1.3";
import * as net from "millstream:plugin/net@0.1.3";
import { guardedBy, type HostOfWorld } from "./guarded.ts";
import { configError, PluginError } from "../error.ts";
import { FileError } from "../files.ts";
import { Fault } from "../net.ts";
import { describeError } from "../stack.ts";

const nothing = () => ({ fields: [] });

/** A connector has no stage. */
export const host: HostOfWorld = { input: nothing, inputs: () => [], key: nothing, timers: undefined, net };

/** Returns the plugin that a module exports. Throws if it is not one of this world. */
export function pluginOf<P extends { readonly world: string; create: unknown }>(plugin: unknown, world: P["world"]): P {
  const made = plugin as P | undefined;
  if (typeof made?.create !== "function") {
    throw new TypeError(`the module has no plugin: it ends with \`export default ${world}({ … }, …)\``);
  }
  if (made.world !== world) {
    throw new TypeError(`the module makes a plugin of world \`${made.world}\`, and package.json says \`${world}\``);
  }
  return made;
}

/**
 * Runs a call. The host retries errors that the plugin throws on purpose, and network faults, indefinitely. Any other
 * exception is a bug of the plugin, which is permanent: it traps after the last log lines, and that fails the job.
 */
export function orTrap<T>(function_: () => T): T {
  let bug: string | undefined;
  const returned = guardedBy(host, () => {
    try {
      return function_();
    } catch (error) {
      if (error instanceof PluginError) throw error;
      if (error instanceof FileError) throw configError(error.message);
      if (error instanceof Fault) throw new PluginError("internal", error.message);
      bug = describeError(error);
    }
  });
  if (bug !== undefined) {
    // The host takes the log line with this prefix as the cause.
    for (const line of `panic: ${bug}`.toWellFormed().split("\n")) log.write("error", line);
    // This is not an error of the interface, so the engine traps.
    throw bug;
  }
  return returned as T;
}
