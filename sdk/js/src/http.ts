/**
 * HTTP requests, if the job grants them: `grant = { http = { hosts = ["api.example.com"] } }`. The plugin's `package.json` must
 * request them: `"millstream": { …, "grants": { "http": { "hosts": ["api.example.com"] } } }`.
 *
 * Redirects are returned as responses and not followed. In tests, the test defines the servers.
 */

import { host } from "./host.ts";
import { Fault } from "./net.ts";
import { encodeOne } from "./utf8.ts";

/** Default time limit of a response, in milliseconds. */
export const TIMEOUT_MS = 10_000;
/** Default maximum size of a response body. */
export const BODY_BYTES_MAX = 8 << 20;

/** The options of a request besides its address. */
export interface Options {
  /** `GET` by default. */
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | string;
  /** Time limit for connecting, for the response and for each part of it, in milliseconds. */
  readonly timeoutMs?: number;
  readonly bodyBytesMax?: number;
}

/** A response. */
export interface Response {
  /** Status code, for example 200 or 404. */
  readonly status: number;
  /** Headers, with names in lower case. If a name is repeated, the last value wins. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

/** A request, in the host's format. */
export interface HttpRequest {
  readonly method: string;
  readonly scheme: "http" | "https";
  readonly authority: string;
  readonly path: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Uint8Array | null;
  readonly timeoutMs: number;
  readonly bodyBytesMax: number;
}

/** A response, in the host's format. */
export interface HttpAnswer {
  readonly status: number;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Uint8Array;
}

/** Sends requests. Throws a string with the reason if there is no response. */
export type HttpHost = (request: HttpRequest) => HttpAnswer;

/**
 * Sends a request and returns the complete response. Throws a `net.Fault` if there is none. Its message names server and
 * method, but not the rest of the URL, which may be secret.
 */
export function request(url: string, options: Options = {}): Response {
  const found = /^(https?):\/\/([^/?#\s]+)([^#\s]*)(?:#\S*)?$/i.exec(url);
  if (found === null || found[2]!.includes("@")) throw new Fault("failed", "this is not an address; write it as `https://example.com/feed`");
  const scheme = found[1]!.toLowerCase() as "http" | "https";
  const [authority, rest] = [found[2]!, found[3]!];
  const { method = "GET", headers = {}, body, timeoutMs = TIMEOUT_MS, bodyBytesMax = BODY_BYTES_MAX } = options;
  const { http } = host();
  if (http === undefined) {
    const wanted = '"grants": { "http": { "hosts": ["…"] } }';
    throw new Fault("failed", `write what it asks for into package.json, in \`millstream\`: ${wanted}`);
  }
  let response: HttpAnswer;
  try {
    response = http({
      method,
      scheme,
      authority,
      path: rest.startsWith("/") ? rest : `/${rest}`,
      headers: Object.entries(headers),
      body: body === undefined ? null : typeof body === "string" ? encodeOne(body) : body,
      timeoutMs: Math.min(Math.max(Math.trunc(timeoutMs), 1), 0xffff_ffff),
      bodyBytesMax,
    });
  } catch (error) {
    if (typeof error !== "string") throw error;
    throw new Fault("failed", `${method} ${scheme}://${authority}: ${error}`);
  }
  const names = response.headers.map(([name, value]) => [name.toLowerCase(), value] as const);
  return { status: response.status, headers: Object.fromEntries(names), body: response.body };
}

/** Sends a GET request. Throws a `net.Fault` if there is no response. */
export function get(url: string, options: Omit<Options, "method" | "body"> = {}): Response {
  return request(url, options);
}
