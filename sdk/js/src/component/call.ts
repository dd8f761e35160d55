/** Calls from the host to a plugin: the common code of all worlds. */

import { type About, guardedBy } from "./guarded.ts";
import * as stage from "millstream:plugin/stage@0.1.3";
import { configError } from "../error.ts";
import { FileError } from "../files.ts";
import type { TimersHost } from "../host.ts";
import { returnedBy } from "../returned.ts";
import { type CallContext, contextOf, Stage } from "../stage.ts";
import { type Description, fieldsOf, type Rejected, schemaOf, type WireContext, type WireSchema } from "../types.ts";

export type { About };

/** A created plugin: the functions of its world. */
interface Running {
  describe(stage: Stage): Description;
}

/** A plugin as its module exports it. */
interface Plugin<R extends Running> {
  readonly world: string;
  create(stage: Stage): R;
}

/** The calls of a component's plugin. */
export class Calls<R extends Running> {
  readonly #plugin: Plugin<R>;
  readonly #about: About;
  readonly #timers: TimersHost | undefined;
  /** The plugin of this instance and its config. It is created on the first call. */
  #running: { readonly config: string; readonly plugin: R; readonly stage: Stage } | undefined;

  constructor(plugin: unknown, world: string, about: About, timers?: TimersHost) {
    const made = plugin as Plugin<R> | undefined;
    if (typeof made?.create !== "function") {
      throw new TypeError(`the module has no plugin: it ends with \`export default ${world}({ … }, …)\``);
    }
    if (made.world !== world) {
      throw new TypeError(`the module makes a plugin of world \`${made.world}\`, and package.json says \`${world}\``);
    }
    this.#plugin = made;
    this.#about = about;
    this.#timers = timers;
  }

  /** Returns the plugin's description in the host's format. */
  describe(config: string, inputs: readonly WireSchema[]): Record<string, unknown> {
    return guarded(() => {
      const stage = new Stage(config, inputs.map(fieldsOf));
      const running = this.#create(stage);
      const of = returnedBy(running.describe, "describe", running.describe(stage));
      const schema = (fields: Description["input"]) => schemaOf(fields ?? []);
      return {
        name: this.#about.name,
        version: this.#about.version,
        doc: of.doc ?? this.#about.doc,
        input: schema(of.input),
        inputs: (of.inputs ?? []).map(schemaOf),
        output: schema(of.output),
        state: schema(of.state),
        key: of.key === undefined ? null : schema(of.key),
        inverse: of.inverse ?? false,
        configSchema: of.configSchema ?? "",
      };
    }, this.#timers);
  }

  /** Runs a call of the plugin, which is created again if the config changes. */
  call<T>(wire: WireContext, function_: (plugin: R, context: CallContext, stage: Stage) => T): T {
    return guarded(() => {
      if (this.#running?.config !== wire.config) {
        const stage = new Stage(wire.config);
        this.#running = { config: wire.config, plugin: this.#create(stage), stage };
      }
      const { plugin, stage } = this.#running;
      return returnedBy(function_, this.#plugin.world, function_(plugin, contextOf(wire), stage));
    }, this.#timers);
  }

  /** Creates the plugin. If a granted file is missing at this time, the job's config is wrong. */
  #create(stage: Stage): R {
    try {
      return returnedBy(this.#plugin.create, this.#plugin.world, this.#plugin.create(stage));
    } catch (error) {
      throw error instanceof FileError ? configError(error.message) : error;
    }
  }
}

/** Runs a call for a stage's plugin. */
export function guarded<T>(function_: () => T, timers?: TimersHost): T {
  return guardedBy({ input: stage.input, inputs: stage.inputs, key: stage.key, timers, net: undefined }, function_);
}

/** Returns rejections with reasons that the host accepts. */
export function rejections(rejected: readonly Rejected[]): Rejected[] {
  return rejected.map(({ row, reason }) => ({ row, reason: reason.toWellFormed() }));
}
