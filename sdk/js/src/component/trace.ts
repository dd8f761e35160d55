/**
 * Tells the host where the plugin's code stands, in a call that is made once more only to see that, after one took too long.
 *
 * The host cannot look into QuickJS. So `millstream build` keeps a second text of the plugin's modules, in which each statement
 * says that it runs, and such a call runs that one. The last place that it told is where it stands, also in a function of the engine, as a
 * search with a regular expression. Other calls are made by the program itself, and cost nothing more.
 */

import * as log from "millstream:plugin/log@0.1.3";
import { mapStack } from "../stack.ts";

declare global {
  /** The second text of the program, the mappings of its lines, and what evaluates it where the program's own names are. */
  // eslint-disable-next-line no-var
  var millstreamMarked: readonly [string, string, (text: string) => (at: (place: number) => boolean) => Exports] | undefined;
}

/** Stands before the config of such a call, and before what is told. */
const SIGN = "\u0001";
/** What the build puts into a line of the second text; not written as it is there, since a program may not have it. */
const MARKS = /\(?_{2}at\(\d+\)[,;]?|\/\*at\*\/\)/g;
/** Characters that the host takes of a line, and one that is written in several bytes. */
const LENGTH_MAX = 2000;

type Call = (first: unknown, ...others: unknown[]) => unknown;
type Exports = Record<string, Record<string, Call>>;

/** The functions of an interface; calls that are to tell where they stand go to those of the second text. */
export function traceable(name: string, functions: object): object {
  const traced = Object.entries(functions as Record<string, Call>).map(([function_, call]): [string, Call] => [
    function_,
    // No function has more arguments, and each by itself costs less than all together.
    (first, second, third, fourth) => {
      // Of a source's functions some take no config.
      const config = typeof first === "string" ? first : (first as { readonly config?: unknown }).config;
      if (typeof config !== "string" || config.charCodeAt(0) !== SIGN.charCodeAt(0)) return call(first, second, third, fourth);
      const own = config.slice(SIGN.length);
      return marked()[name]![function_]!(typeof first === "string" ? own : { ...(first as object), config: own }, second, third, fourth);
    },
  ]);
  return Object.fromEntries(traced);
}

/** What the second text exports. */
function marked(): Exports {
  const [text, mappings, evaluate] = globalThis.millstreamMarked!;
  return evaluate(text)(teller(text, mappings));
}

/** What each statement of the second text calls. */
function teller(text: string, mappings: string): (place: number) => boolean {
  const passed: number[] = [];
  const lines = text.split("\n");
  /** Columns as they are in the program, whose lines those of the second text are. */
  const column = (line: number, column: number) => (lines[line - 1] ?? "").slice(0, column - 1).replace(MARKS, "").length + 1;
  return (place) => {
    const times = (passed[place] ?? 0) + 1;
    passed[place] = times;
    // How it came here costs much more to say than where it is, so it is said less and less often.
    const isTold = (times & (times - 1)) === 0;
    log.write("debug", isTold ? `${SIGN}${place}\n${calls(mappings, column)}` : `${SIGN}${place}`);
    return true;
  };
}

function calls(mappings: string, column: (line: number, column: number) => number): string {
  return mapStack(new Error().stack ?? "", mappings, column).join("\n").slice(0, LENGTH_MAX);
}
