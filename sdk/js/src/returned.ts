/** Functions that return nothing but must return something: most often a `return` was forgotten. */

import { internalError, type PluginError } from "./error.ts";
import { placeOf } from "./stack.ts";

/** An error that names the function, as its author knows it: by the name that it has, else by what it is for. */
export function missingReturn(function_: Function, what: string, returned: null | undefined, hint: string): PluginError {
  const name = function_.name === "" ? `the function of \`${what}\`` : `\`${function_.name}\``;
  return internalError(`${name} returned ${returned}: is a \`return\` missing? ${hint}${placeOf(function_)}`);
}

/** Checks the result of a function that is called for all rows of a batch. */
export function returnedBy<T>(function_: Function, what: string, returned: T): T {
  if (returned === undefined || returned === null) throw missingReturn(function_, what, returned as null | undefined, "");
  return returned;
}

/** The hint for functions that return rows. */
export const NO_ROWS = "To return no row, write `return null`; a function that only pushes rows takes `out` from its call.";
