/** Read-only files that the job grants by name (broadcast variables): `grant = { files = { name = "path" } }`. */

import { host } from "./host.ts";
import { decodeOne } from "./utf8.ts";

/** The job grants no file of this name. While a plugin reads its config, this is an error of kind `config`. */
export class FileError extends Error {
  override readonly name = "FileError";
}

/** Returns the contents of a granted file. In tests, reads the file of this name in `testdata/` of the project. */
export function readAll(name: string): Uint8Array {
  try {
    return host().file(name);
  } catch (error) {
    throw new FileError(messageOf(error));
  }
}

/** Returns the contents of a granted file as a string. */
export function readText(name: string): string {
  return decodeOne(readAll(name));
}

/** Returns the host's message, which is in `payload`. */
function messageOf(error: unknown): string {
  const { payload, message } = error as { payload?: unknown; message?: unknown };
  return String(payload ?? message ?? error);
}
