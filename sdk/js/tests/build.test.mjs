// What the build makes of a module, and what it says of one that cannot be built.
import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { BuildError, build } from "../lib/build.mjs";
import { patchU64 } from "../lib/u64.mjs";

async function built(source, name = "policy.js") {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "sdk-js-test-"));
  try {
    fs.writeFileSync(path.join(folder, "package.json"), '{"name": "@me/my-policy", "version": "1.0.0"}');
    fs.writeFileSync(path.join(folder, name), source);
    return await build(path.join(folder, name));
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

const fails = (source, says, name) => assert.rejects(built(source, name), (error) => error instanceof BuildError && says.test(error.message));
const head = 'import * as sdk from "@tidegate/policy";\n';

test("a component imports what its policy uses and exports the hooks it has", async () => {
  const { name, component } = await built(
    `${head}export default sdk.policy({ classify: { inputs: [], decide: () => ({ tenant: sdk.lookup("d", "k") }) } });`,
  );
  const has = (text) => component.includes(`tidegate:policy/${text}@0.1.0`);
  assert.equal(name, "my-policy");
  assert.deepEqual(["lifecycle", "classify", "route", "host-directory", "host-topology"].map(has), [true, true, false, true, false]);
});

test("a module that is no policy is refused with what to change", async () => {
  await fails("export const route = 1;", /export default policy/);
  await fails(`${head}export default sdk.policy({ rout: {} });`, /no part named `rout`/);
  await fails("export default {", /policy.js:1:/);
  await fails("throw new Error('at load');", /cannot be loaded: Error: at load/);
});

test("modules of Node.js are refused", async () => {
  await fails('import fs from "node:fs"; export default fs;', /node:fs/);
});

test("types of TypeScript are checked", async () => {
  const source = `${head}export default sdk.policy({ classify: { inputs: ["cookie:x"], decide: () => ({ tenant: 1 }) } });`;
  await fails(source, /policy\.ts\(2,\d+\)/, "policy.ts");
});

test("a component without the engine is left alone and refused", () => {
  const empty = Buffer.from([0, 0x61, 0x73, 0x6d, 0x0d, 0, 1, 0]);
  assert.throws(() => patchU64(empty), /found 0 JavaScript engines/);
});
