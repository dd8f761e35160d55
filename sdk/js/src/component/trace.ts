/**
 * Reports where the plugin's code is, in a call that is repeated for this purpose after a timeout.
 *
 * The host cannot inspect QuickJS. So `millstream build` includes a second version of the plugin's modules, in which each
 * statement reports that it runs, and such a call runs this version. The last report is the location, even inside a function
 * of the engine, for example a regular expression search. Other calls run the program itself and have no extra cost.
 */

import * as log from "millstream:plugin/log@0.1.3";
import { mapStack } from "../stack.ts";

declare global {
  /** The second version of the program, its source map, and a function that evaluates it in the scope of the program. */
  // eslint-disable-next-line no-var
  var millstreamMarked: readonly [string, string, (text: string) => (at: (location: number) => boolean) => Exports] | undefined;
}

/** Prefix of the config of such a call, and of each report. */
const SIGN = "\u0001";
/** What the build inserts into the second version. Written as a pattern, since the program must not contain the text itself. */
const MARKS = /\(?_{2}at\(\d+\)[,;]?|\/\*at\*\/\)/g;
/** Maximum characters that the host accepts per line, if some of them have several bytes. */
const LENGTH_MAX = 2000;

type Call = (first: unknown, ...others: unknown[]) => unknown;
type Exports = Record<string, Record<string, Call>>;

/** Returns the functions of an interface. Calls that report their location run those of the second version. */
export function traceable(name: string, functions: object): object {
  const traced = Object.entries(functions as Record<string, Call>).map(([function_, call]): [string, Call] => [
    function_,
    // No function has more arguments. Separate parameters are faster than a rest parameter.
    (first, second, third, fourth) => {
      // Some functions of a source take no config.
      const config = typeof first === "string" ? first : (first as { readonly config?: unknown }).config;
      if (typeof config !== "string" || config.charCodeAt(0) !== SIGN.charCodeAt(0)) return call(first, second, third, fourth);
      const own = config.slice(SIGN.length);
      return marked()[name]![function_]!(typeof first === "string" ? own : { ...(first as object), config: own }, second, third, fourth);
    },
  ]);
  return Object.fromEntries(traced);
}

/** Returns the exports of the second version. */
function marked(): Exports {
  const [text, mappings, evaluate] = globalThis.millstreamMarked!;
  return evaluate(text)(reporter(text, mappings));
}

/** Returns the function that each statement of the second version calls. */
function reporter(text: string, mappings: string): (location: number) => boolean {
  const passed: number[] = [];
  const lines = text.split("\n");
  /** Maps a column to the program, which has the same lines. */
  const column = (line: number, column: number) => (lines[line - 1] ?? "").slice(0, column - 1).replace(MARKS, "").length + 1;
  return (location) => {
    const times = (passed[location] ?? 0) + 1;
    passed[location] = times;
    // A call stack costs much more than a location, so it is reported less and less often.
    const showsCalls = (times & (times - 1)) === 0;
    log.write("debug", showsCalls ? `${SIGN}${location}\n${calls(mappings, column)}` : `${SIGN}${location}`);
    return true;
  };
}

function calls(mappings: string, column: (line: number, column: number) => number): string {
  return mapStack(new Error().stack ?? "", mappings, column).join("\n").slice(0, LENGTH_MAX);
}
