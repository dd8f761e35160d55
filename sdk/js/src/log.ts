/** Log messages for operators. The host adds stage, plugin and batch, and drops messages above its limits. */

import { writeLog } from "./host.ts";

/** Logs a message for the plugin's developers. */
export function debug(message: unknown): void {
  writeLog("debug", String(message));
}

/** Logs a message for the job's operators, like `console.log`. */
export function info(message: unknown): void {
  writeLog("info", String(message));
}

/** Logs a problem that operators should look at. */
export function warn(message: unknown): void {
  writeLog("warn", String(message));
}

/** Logs an error. */
export function error(message: unknown): void {
  writeLog("error", String(message));
}
