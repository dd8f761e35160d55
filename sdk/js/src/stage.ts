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
   * The columns of the rows that calls pass: in `describe` all columns of the stage's input, later those that the
   * description named. With several inputs, the first one.
   */
  input(): readonly Field[] {
    return this.#inputs === undefined ? fieldsOf(host().input()) : (this.#inputs[0] ?? []);
  }

  /** The columns of each input: one, but in world `cogroup`. */
  inputs(): readonly (readonly Field[])[] {
    return this.#inputs ?? host().inputs().map(fieldsOf);
  }

  /** The stage's key columns; none if it has no key. */
  key(): readonly Field[] {
    return this.#key ?? fieldsOf(host().key());
  }
}

/** Strings, which may contain digits, and numbers. */
const TEXT_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
/** The prefix that hides a large number while JSON is parsed: no string of a config begins like this. */
const HIDDEN = "\u0000bigint ";

function parseExactly(json: string): unknown {
  const isLarge = (part: string) => /^-?\d+$/.test(part) && !Number.isSafeInteger(Number(part));
  const hidden = json.replace(TEXT_OR_NUMBER, (part) => (isLarge(part) ? JSON.stringify(HIDDEN + part) : part));
  if (hidden === json) return JSON.parse(json);
  const show = (_: string, value: unknown) =>
    typeof value === "string" && value.startsWith(HIDDEN) ? BigInt(value.slice(HIDDEN.length)) : value;
  return JSON.parse(hidden, show);
}

/** Returns the index of the column with this name and type; throws an error of kind `input` if there is none. */
export function position(fields: readonly Field[], name: string, type: Type): number {
  const place = fields.findIndex((field) => field.name === name);
  const found = fields[place];
  if (found === undefined) throw inputError(`the input has no column \`${name}\`; it has: ${shown(fields)}`);
  if (found.type !== type) throw inputError(`column \`${name}\` is ${found.type}, but must be ${type}`);
  return place;
}

function shown(fields: readonly Field[]): string {
  return fields.length === 0 ? "no columns" : fields.map(({ name, type }) => `${name} ${type}`).join(", ");
}

/** What a call may know about the outside. A replay of the batch gives the same. */
export interface Context {
  /** The batch id: 1, 2, 3 … since the job's first start. */
  readonly batch: number;
  /** The batch time: the end of the batch's interval. `Date.now()` is the same in milliseconds. */
  readonly time: Timestamp;
  /** Event time up to which input is considered complete. */
  readonly watermark: Timestamp | null;
  /**
   * World `update`: whether this is the last call of a key that was idle for the stage's `timeout`. Its state is removed
   * afterwards, whatever the function returns.
   */
  readonly timedOut: boolean;
}

/** A context whose `timedOut` goes from key to key. */
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
