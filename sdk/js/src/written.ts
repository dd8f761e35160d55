/** Types whose values are encoded as text at the boundary: dates, decimals, structs and lists. */

/** Names of these types, as in job files. */
export type WrittenType = "date" | `decimal(${string})` | NestedType;
/** Names of structs and lists. */
export type NestedType = `list<${string}>` | `struct<${string}>`;

/** Returns whether the values of a type are encoded as text. */
export function isWritten(type: string): type is WrittenType {
  return type === "date" || type.startsWith("decimal(") || isNested(type);
}

/** Returns whether a type is a struct or a list. */
export function isNested(type: string): type is NestedType {
  return type.startsWith("list<") || type.startsWith("struct<");
}

/** Marks the digits of a bigint in a JSON string. */
const MARK = "\u0000";
/** Matches a string, or an integer that may exceed 2^53 - 1. */
const LONG = /"(?:[^"\\]|\\.)*"|-?\d{16,}(?![\d.eE])/g;
const MARKED = /"\\u0000(-?\d+)"/g;

/** Decodes a struct or list. Integers beyond 2^53 - 1 are bigints. */
export function parse(text: string): unknown {
  // A null has an empty text.
  if (text === "") return undefined;
  if (!/\d{16}/.test(text)) return JSON.parse(text);
  const marked = text.replace(LONG, (found) => (found[0] === '"' || Number.isSafeInteger(Number(found)) ? found : `"\\u0000${found}"`));
  return JSON.parse(marked, (_, value) => (typeof value === "string" && value[0] === MARK ? BigInt(value.slice(1)) : value));
}

/** Encodes a struct or list. */
export function write(value: unknown): string {
  let hasBigints = false;
  const written = JSON.stringify(value, (_, member) => {
    if (typeof member !== "bigint") return member;
    hasBigints = true;
    return `${MARK}${member}`;
  });
  return hasBigints ? written.replace(MARKED, "$1") : written;
}
