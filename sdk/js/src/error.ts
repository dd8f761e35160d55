/** Why a call fails, and why a row is rejected. */

/** Who can fix the error: the author of the job (`config` and `input`), or that of the plugin (`internal`). */
export type ErrorKind = "config" | "input" | "internal";

/** A call that fails, said by kind. Any other exception is an `internal` one. */
export class PluginError extends Error {
  readonly kind: ErrorKind;

  constructor(kind: ErrorKind, message: string) {
    super(message);
    this.name = "PluginError";
    this.kind = kind;
  }
}

/** The stage's config is wrong. */
export function configError(message: string): PluginError {
  return new PluginError("config", message);
}

/** The input's columns or the key do not fit. */
export function inputError(message: string): PluginError {
  return new PluginError("input", message);
}

/** Any other error: a bug of the plugin, or a condition that it cannot handle. */
export function internalError(message: string): PluginError {
  return new PluginError("internal", message);
}

/**
 * Why a plugin rejects a row: throw it, or return it, which is cheaper. The row then goes to the stage's rejected
 * rows, and the job continues.
 */
export class Rejection {
  // No `Error`: a stack trace for each row that is refused would cost more than the row.
  readonly reason: string;

  constructor(reason: unknown) {
    this.reason = reason instanceof Error ? reason.message : String(reason);
  }

  toString(): string {
    return this.reason;
  }
}
