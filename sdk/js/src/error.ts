/** Why a call fails, and why a row is refused. */

/** Whose mistake it is: `config` and `input` are for the author of the job to mend, `internal` for that of the plugin. */
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

/** Anything else: the plugin itself is wrong, or meets what it cannot go on with. */
export function internalError(message: string): PluginError {
  return new PluginError("internal", message);
}

/**
 * Why a plugin refuses a row: throw it, or return it, which is cheaper. The row then goes to the stage's rejected rows, and
 * the job goes on.
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
