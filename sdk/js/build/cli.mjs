#!/usr/bin/env node
// tidegate-policy [FILE] [--output OUT.wasm]: builds the policy in the current folder.
import fs from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { build, BuildError } from "./build.mjs";

const USAGE = "usage: tidegate-policy [policy.js | policy.ts] [--output NAME.wasm]";

function options() {
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { output: { type: "string", short: "o" } } });
  if (positionals.length > 1) throw new BuildError(USAGE);
  const entry = positionals[0] ?? ["policy.ts", "policy.js"].find((name) => fs.existsSync(name));
  if (!entry || !fs.existsSync(entry)) throw new BuildError(`no policy to build: ${entry ?? "policy.js or policy.ts"} is not here. ${USAGE}`);
  return { entry: path.resolve(entry), output: values.output };
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
