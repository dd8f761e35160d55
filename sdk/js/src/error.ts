/** Errors that fail a call, and rejections of rows. */

/** Who can fix the error: the author of the job (`config` and `input`) or of the plugin (`internal`). */
export type ErrorKind = "config" | "input" | "internal";

/** An error that fails the call, with its kind. Any other exception is an `internal` error. */
export class PluginError extends Error {
  readonly kind: ErrorKind;

  constructor(kind: ErrorKind, message: string) {
    super(message);
    this.name = "PluginError";
    this.kind = kind;
  }
}

/** Returns an error for an invalid config. */
export function configError(message: string): PluginError {
  return new PluginError("config", message);
}

/** Returns an error for unsuitable input columns or an unsuitable key. */
export function inputError(message: string): PluginError {
  return new PluginError("input", message);
}

/** Returns any other error: a bug in the plugin, or a condition that it cannot handle. */
export function internalError(message: string): PluginError {
  return new PluginError("internal", message);
}

/**
 * Rejects a row, with a reason. Throw it, or return it, which is cheaper. The row goes to the stage's rejected rows,
 * and the job continues.
 */
export class Rejection {
  // Not an `Error`: a stack trace per rejected row would cost more than the row.
  readonly reason: string;

  constructor(reason: unknown) {
    this.reason = reason instanceof Error ? reason.message : String(reason);
  }

  toString(): string {
    return this.reason;
  }
}
