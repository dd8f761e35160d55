/**
 * The common parts of components of worlds `source` and `sink`: they are not stages, and their errors are transient
 * or permanent.
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

/** The plugin that a module exports, if it is one of this world. */
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
 * Runs a call. Errors that the plugin throws itself and network faults are transient, and the host retries them
 * indefinitely. Any other exception is a bug of the plugin, and permanent. So the instance dies of it, with its last
 * log lines, and that ends the job.
 */
export function orDies<T>(function_: () => T): T {
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
