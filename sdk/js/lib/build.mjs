// From a policy in JavaScript or TypeScript to a component: types are checked, modules bundled, the hooks
// found by loading the bundle, and a world made of exactly these hooks and the imports in use.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { tool, typescript } from "./tools.mjs";
import { patchU64 } from "./u64.mjs";
import { HOOKS, hooksOf } from "../guest.js";

const SDK = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const WIT = path.join(SDK, "wit");
const PACKAGE = "tidegate:policy";
const VERSION = "0.1.0";

// The engine has a clock and random numbers as the language has them, and nothing behind them.
const PURE = `{
  const none = () => { throw new Error("a policy has no clock and no randomness: its answers are remembered"); };
  Math.random = Date.now = none;
}`;

/** What the author can do something about. */
export class BuildError extends Error {}

/** The component that a module makes, and the policy's name. */
export async function build(entry) {
  const scratch = fs.mkdtempSync(path.join(os.tmpdir(), "tidegate-policy-"));
  try {
    if (/\.[cm]?ts$/.test(entry)) checkTypes(entry, scratch);
    const defaults = packageOf(entry);
    const definition = await load(entry, scratch);
    const hooks = found(() => hooksOf(definition));
    const { source, imports } = await bundle(entry, hooks, defaults);
    const world = writeWorld(scratch, hooks, imports);
    const { componentize } = await tool("componentize-qjs");
    const { component } = await componentize({
      witPath: path.join(scratch, "wit"), world, jsSource: source, stubWasi: true, sync: true, optSize: true,
    });
    return { name: definition.name ?? defaults.name, component: patchU64(component) };
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}

function found(call) {
  try {
    return call();
  } catch (error) {
    throw new BuildError(error.message);
  }
}

/** Name and version of the nearest package.json: operators see them. */
function packageOf(entry) {
  for (let folder = path.dirname(entry); folder !== path.dirname(folder); folder = path.dirname(folder)) {
    const file = path.join(folder, "package.json");
    if (fs.existsSync(file)) {
      const { name, version } = JSON.parse(fs.readFileSync(file, "utf8"));
      return { name: name?.replace(/^@[^/]*\//, "") ?? path.basename(folder), version: version ?? "0.0.0" };
    }
  }
  return { name: path.basename(path.dirname(entry)), version: "0.0.0" };
}

function checkTypes(entry, scratch) {
  const own = path.join(path.dirname(entry), "tsconfig.json");
  const config = path.join(scratch, "tsconfig.json");
  const options = {
    noEmit: true, strict: true, target: "es2022", lib: ["es2023"], types: [], module: "preserve", moduleResolution: "bundler",
    paths: { "@tidegate/policy": [path.join(SDK, "index.d.ts")] },
  };
  const extending = fs.existsSync(own) ? { extends: own, compilerOptions: { noEmit: true, paths: options.paths } } : { compilerOptions: options };
  fs.writeFileSync(config, JSON.stringify({ ...extending, files: [entry] }));
  const { status, output } = typescript(["--project", config, "--pretty", "false"], path.dirname(entry));
  if (status !== 0) throw new BuildError(`types do not fit:\n${output.trim()}`);
}

/** The default export of a module, loaded here with a pretended gateway. */
async function load(entry, scratch) {
  const file = path.join(scratch, "loaded.mjs");
  await run({ entryPoints: [entry], outfile: file, platform: "neutral", plugins: [sdkPlugin()] });
  let loaded;
  try {
    loaded = await import(pathToFileURL(file));
  } catch (error) {
    throw new BuildError(`${path.basename(entry)} cannot be loaded: ${error.stack}`);
  }
  return loaded.default;
}

/** The module with the SDK as one text, and the gateway's interfaces it imports. */
async function bundle(entry, hooks, defaults) {
  const exported = hooks.map((key) => `export const ${key} = guest.${key}(definition);`);
  const contents = [
    `import definition from ${JSON.stringify(entry)};`,
    `import * as guest from "@tidegate/policy/guest";`,
    `export const lifecycle = guest.lifecycle(definition, ${JSON.stringify(defaults)});`,
    ...exported,
  ].join("\n");
  const { outputFiles, metafile } = await run({
    stdin: { contents, resolveDir: path.dirname(entry), sourcefile: "exports.js" },
    conditions: ["tidegate"], platform: "neutral", write: false, metafile: true, outfile: "policy.js", plugins: [sdkPlugin()], banner: { js: PURE },
  });
  const imports = Object.values(metafile.outputs).flatMap((output) => output.imports).filter((item) => item.external);
  const foreign = imports.find((item) => !item.path.startsWith(`${PACKAGE}/`));
  if (foreign) throw new BuildError(`${foreign.path} cannot be imported: a policy has no files, network or clock`);
  return { source: outputFiles[0].text, imports: [...new Set(imports.map((item) => item.path))].sort() };
}

async function run(options) {
  const esbuild = await tool("esbuild");
  try {
    return await esbuild.build({ bundle: true, format: "esm", target: "es2022", legalComments: "none", logLevel: "silent", ...options });
  } catch (error) {
    if (!error.errors) throw error;
    const shown = await esbuild.formatMessages(error.errors, { kind: "error" });
    throw new BuildError(shown.join("").trim());
  }
}

/** Finds the SDK beside this file, and leaves the gateway's interfaces, as far as they are used, to the component. */
function sdkPlugin() {
  return {
    name: "tidegate",
    setup(build) {
      build.onResolve({ filter: /^@tidegate\/policy(\/guest)?$/ }, ({ path: name }) => ({
        path: path.join(SDK, name.endsWith("/guest") ? "guest.js" : "index.js"), sideEffects: false,
      }));
      build.onResolve({ filter: /^tidegate:policy\// }, ({ path: name }) => ({ path: name, external: true, sideEffects: false }));
    },
  };
}

/** Writes a world beside the WIT package's own, with these hooks and imports and nothing else. */
function writeWorld(scratch, hooks, imports) {
  const folder = path.join(scratch, "wit");
  fs.mkdirSync(folder);
  for (const file of fs.readdirSync(WIT)) if (file.endsWith(".wit")) fs.copyFileSync(path.join(WIT, file), path.join(folder, file));
  const plain = (name) => name.slice(PACKAGE.length + 1, -(VERSION.length + 1));
  const lines = [...imports.map((name) => `import ${plain(name)};`), "export lifecycle;", ...hooks.map((key) => `export ${HOOKS[key]};`)];
  fs.writeFileSync(path.join(folder, "zz-this-policy.wit"), `world this-policy {\n${lines.join("\n")}\n}\n`);
  return "this-policy";
}
