/** Checks functions that must return something and return nothing, mostly because of a missing `return`. */

import { internalError, type PluginError } from "./error.ts";
import { placeOf } from "./stack.ts";

/** Returns an error that names the function by its own name, or else by its purpose. */
export function missingReturn(function_: Function, what: string, returned: null | undefined, hint: string): PluginError {
  const name = function_.name === "" ? `the function of \`${what}\`` : `\`${function_.name}\``;
  return internalError(`${name} returned ${returned}: is a \`return\` missing? ${hint}${placeOf(function_)}`);
}

/** Checks the return value of a function that is called for all rows of a batch. */
export function returnedBy<T>(function_: Function, what: string, returned: T): T {
  if (returned === undefined || returned === null) throw missingReturn(function_, what, returned as null | undefined, "");
  return returned;
}

/** Hint for functions that return rows. */
export const NO_ROWS = "To return no row, write `return null`; a function that only pushes rows takes `out` from its call.";
