/** The imports of a component, as componentize-qjs names them. */

declare module "millstream:plugin/log@0.1.3" {
  export function write(level: string, message: string): void;
}

declare module "millstream:plugin/metrics@0.1.3" {
  export function add(counter: string, amount: number): void;
}

declare module "millstream:plugin/files@0.1.3" {
  export function size(name: string): number;
  export function read(name: string, offset: number, length: number): Uint8Array;
}

declare module "millstream:plugin/stage@0.1.3" {
  import type { WireSchema } from "../types.ts";
  export function input(): WireSchema;
  export function key(): WireSchema;
  export function inputs(): WireSchema[];
}

declare module "millstream:plugin/timers@0.1.3" {
  export function set(group: number, at: number): void;
  export function cancel(group: number, at: number): void;
  export function due(): { ends: Uint8Array; times: Uint8Array };
}

declare module "millstream:plugin/net@0.1.3" {
  export function connect(host: string, port: number, timeoutMs: number): number;
  export function read(socket: number, bytesMax: number, timeoutMs: number): Uint8Array;
  export function write(socket: number, data: Uint8Array, timeoutMs: number): void;
  export function bind(host: string, port: number): number;
  export function receive(socket: number, bytesMax: number, timeoutMs: number): { sender: string; data: Uint8Array };
  export function send(socket: number, host: string, port: number, data: Uint8Array): void;
  export function close(socket: number): void;
}

declare module "wasi:random/random@0.2.12" {
  export function getRandomBytes(length: number): Uint8Array;
}

declare module "host:http/types@0.2.9" {
  export interface Tagged {
    readonly tag: string;
    readonly val?: unknown;
  }
  export interface Resource {
    [Symbol.dispose](): void;
  }
  export class Fields implements Resource {
    static fromList(entries: [string, Uint8Array][]): Fields;
    entries(): [string, Uint8Array][];
    [Symbol.dispose](): void;
  }
  export class OutgoingRequest implements Resource {
    constructor(headers: Fields);
    body(): OutgoingBody;
    setMethod(method: Tagged): void;
    setPathWithQuery(path: string): void;
    setScheme(scheme: Tagged): void;
    setAuthority(authority: string): void;
    [Symbol.dispose](): void;
  }
  export class RequestOptions implements Resource {
    setConnectTimeout(nanoseconds: number): void;
    setFirstByteTimeout(nanoseconds: number): void;
    setBetweenBytesTimeout(nanoseconds: number): void;
    [Symbol.dispose](): void;
  }
  export class OutgoingBody implements Resource {
    write(): OutputStream;
    static finish(body: OutgoingBody, trailers: Fields | null): void;
    [Symbol.dispose](): void;
  }
  export interface OutputStream extends Resource {
    blockingWriteAndFlush(contents: Uint8Array): void;
  }
  export interface InputStream extends Resource {
    blockingRead(length: number): Uint8Array;
  }
  export interface Pollable extends Resource {
    block(): void;
  }
  export type Taken =
    | { readonly tag: "ok"; readonly val: { readonly tag: "ok"; readonly val: IncomingResponse } | { readonly tag: "err"; readonly val: Tagged } }
    | { readonly tag: "err" };
  export interface FutureIncomingResponse extends Resource {
    subscribe(): Pollable;
    get(): Taken | null;
  }
  export interface IncomingResponse extends Resource {
    status(): number;
    headers(): Fields;
    consume(): IncomingBody;
  }
  export interface IncomingBody extends Resource {
    stream(): InputStream;
  }
}

declare module "host:http/outgoing-handler@0.2.9" {
  import type { FutureIncomingResponse, OutgoingRequest, RequestOptions } from "host:http/types@0.2.9";
  export function handle(request: OutgoingRequest, options: RequestOptions | null): FutureIncomingResponse;
}
