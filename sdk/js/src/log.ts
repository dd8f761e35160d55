/** Log lines for the operator. The host shows them with stage, plugin and batch, and drops lines above its limits. */

import { writeLog } from "./host.ts";

/** For the plugin's developer. */
export function debug(message: unknown): void {
  writeLog("debug", String(message));
}

/** For the job's operator. `console.log` does the same. */
export function info(message: unknown): void {
  writeLog("info", String(message));
}

/** Something that the operator should look at. */
export function warn(message: unknown): void {
  writeLog("warn", String(message));
}

/** Something that went wrong. */
export function error(message: unknown): void {
  writeLog("error", String(message));
}
