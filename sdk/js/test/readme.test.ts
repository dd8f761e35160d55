/** The plugins in the README: their types are correct, and each is a plugin. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import test from "node:test";

function run(program: string, ...args: string[]): void {
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: "utf8" });
  assert.equal(status, 0, `${program}: ${error ?? ""}${stdout}${stderr}`);
}

test("the plugins of the README are plugins", async () => {
  const blocks = Array.from(readFileSync("README.md", "utf8").matchAll(/^```ts\n(.*?)^```/gms), ([, code]) => code!);
  const plugins = blocks.filter((code) => code.includes("export default"));
  assert.ok(plugins.length >= 8, `${plugins.length} plugins`);
  const work = mkdtempSync(join(tmpdir(), "millstream-readme-"));
  try {
    mkdirSync(join(work, "src"));
    const files = plugins.map((code, i) => {
      const file = join(work, `src/plugin-${i}.ts`);
      writeFileSync(file, code);
      return file;
    });
    writeFileSync(join(work, "tsconfig.json"), JSON.stringify({ extends: resolve("tsconfig.json"), include: ["src"] }));
    run("tsc", "--noEmit", "--pretty", "false", "--project", work);
    const alias = `--alias:millstream-sdk=${resolve("src/index.ts")}`;
    run("esbuild", "--bundle", "--format=esm", "--out-extension:.js=.mjs", alias, `--outdir=${join(work, "out")}`, ...files);
    for (const [i, code] of plugins.entries()) {
      const { default: plugin } = await import(pathToFileURL(join(work, `out/plugin-${i}.mjs`)).href);
      assert.ok(code.includes(plugin.world) && typeof plugin.create === "function", code);
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
});
