/** Paths of requests, written in one way (RFC 3986, section 6). */

const PLAIN = /^(?:\/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+$/;

/**
 * The path of a request's target without query and fragment: no `//`, `.` and `..`, no `/` at the end, and characters that
 * need no escape without one. A target that is not a path, such as the `*` of `OPTIONS`, stays unchanged.
 */
export function normalise(target: string): string {
  // Most paths are in order.
  if (PLAIN.test(target)) return target;
  const path = target.replace(/^[A-Za-z][A-Za-z0-9+.-]*:\/\/[^/?#]*/, "").replace(/[?#].*$/s, "");
  if (!path.startsWith("/")) return path === "" ? "/" : path;
  const parts: string[] = [];
  for (const part of unescaped(path).split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}`;
}

/** Letters, digits and `-._~` without an escape; escapes of others in capitals. */
function unescaped(path: string): string {
  if (!path.includes("%")) return path;
  return path.replace(/%([0-9A-Fa-f]{2})/g, (escape, digits: string) => {
    const character = String.fromCharCode(Number.parseInt(digits, 16));
    return /[A-Za-z0-9._~-]/.test(character) ? character : escape.toUpperCase();
  });
}
