/**
 * Requests over HTTP, as the job grants them: `grant = { http = { hosts = ["api.example.com"] } }`. For plugins whose `package.json`
 * wants that: `"millstream": { …, "grants": { "http": { "hosts": ["api.example.com"] } } }`.
 *
 * An answer that redirects is an answer; following it is a request of its own. In tests servers are what the test makes up.
 */

import { host } from "./host.ts";
import { Fault } from "./net.ts";
import { encodeOne } from "./utf8.ts";

/** The time limit of a response, unless a request sets one. */
export const TIMEOUT_MS = 10_000;
/** The maximum size of a response's body, unless a request sets one. */
export const BODY_BYTES_MAX = 8 << 20;

/** The options of a request besides its address. */
export interface Options {
  /** `GET` by default. */
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | string;
  /** The time limit of connecting, of the response and of each part of it. */
  readonly timeoutMs?: number;
  readonly bodyBytesMax?: number;
}

/** A response. */
export interface Response {
  /** 200, 404 and so on. */
  readonly status: number;
  /** The header fields, with lower-case names; of several with the same name, the last. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

/** A request, as hosts see it. */
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

/** Sends requests; a string that it throws says why there is no response. */
export type HttpHost = (request: HttpRequest) => HttpAnswer;

/**
 * Sends a request, and waits for the complete response. Throws a `net.Fault` without one; it names server and method,
 * but not the rest of the address, which may be a secret.
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
  let answer: HttpAnswer;
  try {
    answer = http({
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
  const names = answer.headers.map(([name, value]) => [name.toLowerCase(), value] as const);
  return { status: answer.status, headers: Object.fromEntries(names), body: answer.body };
}

/** Gets an address. Throws a `net.Fault` without a response. */
export function get(url: string, options: Omit<Options, "method" | "body"> = {}): Response {
  return request(url, options);
}
