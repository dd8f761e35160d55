/** Types whose values cross the boundary written out, as text: dates, decimals, structs and lists. */

/** Their names, as job files have them. */
export type WrittenType = "date" | `decimal(${string})` | NestedType;
/** The names of structs and lists. */
export type NestedType = `list<${string}>` | `struct<${string}>`;

/** Whether the values of a type are written out. */
export function isWritten(type: string): type is WrittenType {
  return type === "date" || type.startsWith("decimal(") || isNested(type);
}

/** Whether it is a struct or a list. */
export function isNested(type: string): type is NestedType {
  return type.startsWith("list<") || type.startsWith("struct<");
}

/** Precedes the digits of a bigint within a JSON string. */
const MARK = "\u0000";
/** A string, or an integer that may be more than 2^53 - 1. */
const LONG = /"(?:[^"\\]|\\.)*"|-?\d{16,}(?![\d.eE])/g;
const MARKED = /"\\u0000(-?\d+)"/g;

/** The value of a struct or list; integers beyond 2^53 - 1 in it are bigints. */
export function parse(text: string): unknown {
  // What stands under a null.
  if (text === "") return undefined;
  if (!/\d{16}/.test(text)) return JSON.parse(text);
  const marked = text.replace(LONG, (found) => (found[0] === '"' || Number.isSafeInteger(Number(found)) ? found : `"\\u0000${found}"`));
  return JSON.parse(marked, (_, value) => (typeof value === "string" && value[0] === MARK ? BigInt(value.slice(1)) : value));
}

/** The text of a struct or list. */
export function write(value: unknown): string {
  let hasBigints = false;
  const written = JSON.stringify(value, (_, member) => {
    if (typeof member !== "bigint") return member;
    hasBigints = true;
    return `${MARK}${member}`;
  });
  return hasBigints ? written.replace(MARKED, "$1") : written;
}
