// Runs the tests of the project in the current directory: bundles `test/*.test.ts` (or .js) and passes them to Node's test runner.
//
// Node runs TypeScript only since version 22. A project without other dependencies should need no `npm install`. So this uses
// esbuild, which `millstream build` needs anyway, to build plain modules.

import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { delimiter, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const sdk = fileURLToPath(new URL("../", import.meta.url));
const windows = process.platform === "win32";

/** Searches esbuild where `millstream build` searches its tools, in the same order. */
function findEsbuild() {
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
  const folders = [
    resolve("node_modules/.bin"),
    ...(process.env.PATH ?? "").split(delimiter),
    join(cache, "millstream/tools/js/node_modules/.bin"),
  ];
  const program = folders.map((folder) => join(folder, windows ? "esbuild.cmd" : "esbuild")).find(existsSync);
  if (program !== undefined) return program;
  console.error("esbuild is missing, which tests are bundled with. Install it:\n  npm install --global esbuild@0.28.2");
  process.exit(1);
}

const tests = readdirSync("test").filter((name) => /\.test\.m?[jt]s$/.test(name));
if (tests.length === 0) {
  console.error("there are no tests: write test/NAME.test.ts");
  process.exit(1);
}
const work = mkdtempSync(join(tmpdir(), "millstream-test-"));
try {
  const options = [
    "--bundle",
    "--format=esm",
    "--platform=node",
    "--target=node20",
    "--sourcemap=inline",
    "--out-extension:.js=.mjs",
    "--log-level=warning",
    `--alias:millstream-sdk/testing=${join(sdk, "src/testing.ts")}`,
    `--alias:millstream-sdk=${join(sdk, "src/index.ts")}`,
    `--outdir=${work}`,
  ];
  const bundled = spawnSync(findEsbuild(), [...tests.map((name) => join("test", name)), ...options], {
    stdio: "inherit",
    shell: windows,
  });
  if (bundled.status !== 0) process.exit(1);
  const files = readdirSync(work).map((name) => join(work, name));
  const run = spawnSync(process.execPath, ["--enable-source-maps", "--test", ...files], { stdio: "inherit" });
  process.exitCode = run.status ?? 1;
} finally {
  rmSync(work, { recursive: true, force: true });
}
