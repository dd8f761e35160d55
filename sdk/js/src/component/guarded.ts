/** Common code for all calls of a component, in all worlds. */

import { beginCall } from "./start.ts";
import * as files from "millstream:plugin/files@0.1.3";
import * as log from "millstream:plugin/log@0.1.3";
import * as metrics from "millstream:plugin/metrics@0.1.3";
import { getRandomBytes } from "wasi:random/random@0.2.12";
import { PluginError } from "../error.ts";
import { type Host, setHost } from "../host.ts";
import type { HttpHost } from "../http.ts";
import { describeError } from "../stack.ts";

/** What the manifest says about the plugin. */
export interface About {
  readonly name: string;
  readonly version: string;
  readonly doc: string;
}

/** Host functions that only some worlds have. */
export type HostOfWorld = Omit<Host, "log" | "count" | "file" | "http">;

let http: HttpHost | undefined;

/** Sets the implementation of HTTP requests, in components that import it. */
export function setHttp(own: HttpHost): void {
  http = own;
}

/** Runs a call. Converts exceptions to errors of the interface, which it throws: the engine returns them. */
export function guardedBy<T>(own: HostOfWorld, function_: () => T): T {
  beginCall(getRandomBytes);
  setHost({ log: log.write, count: metrics.add, file: readFile, http, ...own });
  try {
    return function_();
  } catch (error) {
    if (error instanceof PluginError && error.kind !== "internal") throw { tag: error.kind, val: error.message.toWellFormed() };
    const message = error instanceof PluginError ? error.message : describeError(error);
    throw { tag: "internal", val: message.toWellFormed() };
  }
}

function readFile(name: string): Uint8Array {
  const size = files.size(name);
  const bytes = new Uint8Array(size);
  // The host may return a large file in pieces.
  for (let at = 0; at < size; ) {
    const piece = files.read(name, at, Math.min(size - at, 0xffff_ffff));
    if (piece.length === 0) throw new Error(`the file \`${name}\` ended at ${at} of ${size} bytes`);
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}
