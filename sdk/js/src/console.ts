/** `console`, which writes to the host's log. */

import { type Level, writeLog } from "./host.ts";
import { describeError } from "./stack.ts";

declare global {
  interface Console {
    /** Logs an info message. */
    log(...values: unknown[]): void;
    /** Logs an info message. */
    info(...values: unknown[]): void;
    /** Logs a warning. */
    warn(...values: unknown[]): void;
    /** Logs an error. */
    error(...values: unknown[]): void;
    /** Logs a message for the plugin's developers. */
    debug(...values: unknown[]): void;
  }
  // eslint-disable-next-line no-var
  var console: Console;
}

/** Maximum characters of one value. */
const LENGTH_MAX = 10_000;

export const hostConsole: Console = {
  log: line("info"),
  info: line("info"),
  warn: line("warn"),
  error: line("error"),
  debug: line("debug"),
} as Console;

function line(level: Level): (...values: unknown[]) => void {
  return (...values) => writeLog(level, values.map(show).join(" "));
}

/** Formats a value for the log. */
export function show(value: unknown): string {
  if (typeof value === "string") return value;
  if (value instanceof Error) return describeError(value);
  const seen: unknown[] = [];
  return inner(value, seen).slice(0, LENGTH_MAX);
}

function inner(value: unknown, above: unknown[]): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "function") return `[function ${value.name}]`;
  if (typeof value !== "object" || value === null) return String(value);
  if (above.includes(value)) return "[circular]";
  const below = [...above, value];
  if (value instanceof Error) return `${value.name}: ${value.message}`;
  if (value instanceof Date || value instanceof RegExp) return String(value);
  if (Array.isArray(value)) return `[${value.map((element) => inner(element, below)).join(", ")}]`;
  if (ArrayBuffer.isView(value) && Symbol.iterator in value) {
    return `${value.constructor.name} [${Array.from(value as Iterable<unknown>, String).join(", ")}]`;
  }
  if (value instanceof Map) return `Map ${inner(Object.fromEntries(value), below)}`;
  if (value instanceof Set) return `Set ${inner([...value], below)}`;
  const fields = Object.entries(value).map(([name, field]) => `${name}: ${inner(field, below)}`);
  return fields.length === 0 ? "{}" : `{ ${fields.join(", ")} }`;
}
