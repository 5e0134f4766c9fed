#!/usr/bin/env node
// tidegate-policy [FOLDER] [--output OUT.wasm]: builds the policy in a folder, by default the current one.
import fs from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { build, BuildError } from "./build.mjs";

const USAGE = "usage: tidegate-policy [FOLDER] [--output NAME.wasm]";
const ENTRIES = ["policy.ts", "policy.js"];

function options() {
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { output: { type: "string", short: "o" } } });
  if (positionals.length > 1) throw new BuildError(USAGE);
  const folder = path.resolve(positionals[0] ?? ".");
  const entry = ENTRIES.map((name) => path.join(folder, name)).find((file) => fs.existsSync(file));
  if (!entry) throw new BuildError(`${folder} has no ${ENTRIES.join(" or ")}. ${USAGE}`);
  return { entry, output: values.output };
}

try {
  const { entry, output } = options();
  const { name, component } = await build(entry);
  const file = output ?? `${name}.wasm`;
  fs.writeFileSync(file, component);
  console.log(`${file}: ${Math.ceil(component.length / 1024)} KiB`);
} catch (error) {
  const plain = error instanceof BuildError || error.code?.startsWith("ERR_PARSE_ARGS");
  console.error(plain ? `tidegate-policy: ${error.message}` : error);
  process.exitCode = 1;
}
