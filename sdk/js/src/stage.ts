/** The stage that uses a plugin, and the context of a call. */

import type { Timestamp } from "./cell.ts";
import { configError, inputError } from "./error.ts";
import { host } from "./host.ts";
import { type Field, fieldsOf, type Type, type WireContext } from "./types.ts";

/** The stage that uses the plugin: its config, its input and its key. */
export class Stage {
  readonly #config: string;
  readonly #inputs: readonly (readonly Field[])[] | undefined;
  readonly #key: readonly Field[] | undefined;

  /** Missing schemas are requested from the host. */
  constructor(config: string, inputs?: readonly (readonly Field[])[], key?: readonly Field[]) {
    this.#config = config;
    this.#inputs = inputs;
    this.#key = key;
  }

  /**
   * The stage's `config` as a JSON value; an empty object if there is none. Integers that a `number` cannot represent
   * exactly are bigints.
   */
  config(): unknown {
    if (this.#config.trim() === "") return {};
    try {
      return parseExactly(this.#config) ?? {};
    } catch (error) {
      throw configError(String(error));
    }
  }

  /** Throws unless the stage's `config` is absent or empty. */
  noConfig(): void {
    if (!["", "{}", "null"].includes(this.#config.trim())) throw configError("this plugin takes no config");
  }

  /**
   * Returns the columns of the input rows. In `describe`, these are all columns of the stage's input, later only those
   * that the description selects. With several inputs, it returns the first one.
   */
  input(): readonly Field[] {
    return this.#inputs === undefined ? fieldsOf(host().input()) : (this.#inputs[0] ?? []);
  }

  /** Returns the columns of each input. Only world `cogroup` has several. */
  inputs(): readonly (readonly Field[])[] {
    return this.#inputs ?? host().inputs().map(fieldsOf);
  }

  /** Returns the stage's key columns. Empty if the stage has no key. */
  key(): readonly Field[] {
    return this.#key ?? fieldsOf(host().key());
  }
}

/** Matches strings, which may contain digits, and numbers. */
const TEXT_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
/** Prefix that hides a large number while JSON is parsed. No string of a config starts with it. */
const HIDDEN = "\u0000bigint ";

function parseExactly(json: string): unknown {
  const isLarge = (part: string) => /^-?\d+$/.test(part) && !Number.isSafeInteger(Number(part));
  const hidden = json.replace(TEXT_OR_NUMBER, (part) => (isLarge(part) ? JSON.stringify(HIDDEN + part) : part));
  if (hidden === json) return JSON.parse(json);
  const show = (_: string, value: unknown) =>
    typeof value === "string" && value.startsWith(HIDDEN) ? BigInt(value.slice(HIDDEN.length)) : value;
  return JSON.parse(hidden, show);
}

/** Returns the index of the column with this name and type. Throws an error of kind `input` if there is none. */
export function position(fields: readonly Field[], name: string, type: Type): number {
  const index = fields.findIndex((field) => field.name === name);
  const found = fields[index];
  if (found === undefined) throw inputError(`the input has no column \`${name}\`; it has: ${shown(fields)}`);
  if (found.type !== type) throw inputError(`column \`${name}\` is ${found.type}, but must be ${type}`);
  return index;
}

function shown(fields: readonly Field[]): string {
  return fields.length === 0 ? "no columns" : fields.map(({ name, type }) => `${name} ${type}`).join(", ");
}

/** Context of a call. A replay of the batch has the same context. */
export interface Context {
  /** ID of the batch: 1, 2, 3 … since the job's first start. */
  readonly batch: number;
  /** Time of the batch: the end of its interval. `Date.now()` is the same in milliseconds. */
  readonly time: Timestamp;
  /** Event time up to which input is considered complete. */
  readonly watermark: Timestamp | null;
  /**
   * World `update`: whether this is the last call for a key that was idle for the stage's `timeout`. The key's state is
   * removed afterwards, whatever the function returns.
   */
  readonly timedOut: boolean;
}

/** A context whose `timedOut` changes from key to key. */
export type CallContext = { -readonly [K in keyof Context]: Context[K] };

export function contextOf(wire: WireContext): CallContext {
  return {
    batch: wire.batch,
    time: microseconds(wire.time),
    watermark: wire.watermark === null ? null : microseconds(wire.watermark),
    timedOut: false,
  };
}

/** QuickJS passes 64-bit integers as numbers: exact up to the year 2255. */
export function microseconds(time: number): Timestamp {
  const exact = BigInt(time);
  return BigInt.asIntN(64, exact) === exact ? exact : 2n ** 63n - 1n;
}
