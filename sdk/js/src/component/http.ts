/** HTTP requests in a component. Only in plugins whose manifest requests them, since only their WIT has the imports. */

import * as handler from "host:http/outgoing-handler@0.2.9";
import * as wasi from "host:http/types@0.2.9";
import { setHttp } from "./guarded.ts";
import type { HttpAnswer, HttpRequest } from "../http.ts";

/** Maximum bytes per write in WASI. */
const WRITE_BYTES = 4096;
const READ_BYTES = 1 << 16;
const QUESTION_MARK = 63;
const METHODS = ["get", "head", "post", "put", "delete", "connect", "options", "trace", "patch"];

setHttp((request) => {
  try {
    return using(send(request), (future) => {
      using(future.subscribe(), (ready) => ready.block());
      return responseOf(future.get(), request.bodyBytesMax);
    });
  } catch (error) {
    throw formatError(error);
  }
});

/** Uses a resource, then releases it. */
function using<R extends wasi.Resource, T>(resource: R, use: (resource: R) => T): T {
  try {
    return use(resource);
  } finally {
    resource[Symbol.dispose]();
  }
}

function send({ method, scheme, authority, path, headers, body, timeoutMs }: HttpRequest): wasi.FutureIncomingResponse {
  const fields = headers.map(([name, value]): [string, Uint8Array] => [name, latin1(value)]);
  // Without a length, the body is sent in chunks, which small servers do not support.
  if (body !== null && !headers.some(([name]) => name.toLowerCase() === "content-length")) {
    fields.push(["content-length", latin1(String(body.length))]);
  }
  const request = new wasi.OutgoingRequest(wasi.Fields.fromList(fields));
  const known = METHODS.includes(method.toLowerCase());
  request.setMethod(known ? { tag: method.toLowerCase() } : { tag: "other", val: method });
  request.setScheme({ tag: scheme === "https" ? "HTTPS" : "HTTP" });
  request.setAuthority(authority);
  request.setPathWithQuery(path);
  const options = new wasi.RequestOptions();
  options.setConnectTimeout(timeoutMs * 1_000_000);
  options.setFirstByteTimeout(timeoutMs * 1_000_000);
  options.setBetweenBytesTimeout(timeoutMs * 1_000_000);
  if (body === null) return handler.handle(request, options);
  const outgoing = request.body();
  const future = handler.handle(request, options);
  try {
    using(outgoing.write(), (stream) => {
      for (let at = 0; at < body.length; at += WRITE_BYTES) stream.blockingWriteAndFlush(body.slice(at, at + WRITE_BYTES));
    });
    wasi.OutgoingBody.finish(outgoing, null);
  } catch {
    // The server does not read the rest of the body. Its response says why.
  }
  return future;
}

/** Reads a result in a result: the outer one is an error if the response was already taken. */
function responseOf(taken: wasi.Taken | null, bytesMax: number): HttpAnswer {
  if (taken?.tag !== "ok") throw "no response";
  if (taken.val.tag !== "ok") throw taken.val.val;
  return using(taken.val.val, (response) => {
    const headers = using(response.headers(), (fields) => fields.entries());
    const body = using(response.consume(), (body) => using(body.stream(), (stream) => all(stream, bytesMax)));
    return { status: response.status(), headers: headers.map(([name, value]) => [name, text(value)]), body };
  });
}

function all(stream: wasi.InputStream, bytesMax: number): Uint8Array {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    let piece;
    try {
      piece = stream.blockingRead(READ_BYTES);
    } catch (error) {
      if (payload(error)?.tag === "closed") break;
      throw "the response was cut off";
    }
    length += piece.length;
    if (length > bytesMax) throw `the response has more than ${bytesMax} bytes`;
    pieces.push(piece);
  }
  const whole = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

function payload(error: unknown): wasi.Tagged | undefined {
  const own = (error as { payload?: unknown }).payload ?? error;
  return typeof own === "object" && own !== null && "tag" in own ? (own as wasi.Tagged) : undefined;
}

/** Formats a WASI error: `HTTP-request-denied` becomes `http request denied`. Throws other values again. */
function formatError(error: unknown): unknown {
  const tagged = payload(error);
  if (tagged === undefined) return error;
  const said = tagged.tag.toLowerCase().replaceAll("-", " ");
  return typeof tagged.val === "string" ? `${said} (${tagged.val})` : said;
}

function latin1(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => (character <= "\xff" ? character.charCodeAt(0) : QUESTION_MARK));
}

function text(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}
