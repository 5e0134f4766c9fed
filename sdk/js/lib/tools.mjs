// The programs a build needs. They are this package's dependencies; where the package is used from a checkout
// without them, they are installed once, as package-lock.json has them, into a cache folder.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const SDK = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const LOCK = ["package.json", "package-lock.json"];

/** A module of the toolchain. */
export async function tool(name) {
  return import(pathToFileURL(from(name).resolve(name)));
}

/** Runs the TypeScript compiler. */
export function typescript(args, cwd) {
  const manifest = from("typescript").resolve("typescript/package.json");
  const { bin } = JSON.parse(fs.readFileSync(manifest, "utf8"));
  const { status, stdout, stderr } = spawnSync(process.execPath, [path.join(path.dirname(manifest), bin.tsc), ...args], { cwd, encoding: "utf8" });
  return { status, output: stdout + stderr };
}

/** Where modules of the toolchain resolve. */
function from(name) {
  const here = createRequire(import.meta.url);
  try {
    here.resolve(name === "typescript" ? "typescript/package.json" : name);
    return here;
  } catch {
    return createRequire(path.join(cached(), "index.js"));
  }
}

function cached() {
  const digest = createHash("sha256");
  for (const file of LOCK) digest.update(fs.readFileSync(path.join(SDK, file)));
  const caches = process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), ".cache");
  const root = process.env.TIDEGATE_TOOLS ?? path.join(caches, "tidegate", "tools");
  const folder = path.join(root, `npm-${digest.digest("hex").slice(0, 16)}-${process.platform}-${process.arch}`);
  if (!fs.existsSync(folder)) install(root, folder);
  return folder;
}

/** Installs beside and renames, so that no half of it is ever there. */
function install(root, folder) {
  fs.mkdirSync(root, { recursive: true });
  const beside = fs.mkdtempSync(`${folder}.`);
  for (const file of LOCK) fs.copyFileSync(path.join(SDK, file), path.join(beside, file));
  console.error("tidegate-policy: installing the build tools (once, about 80 MB)");
  // Not `npm ci`: the lock file has no entry for platforms whose package its registry lacked.
  const { status, error, stderr } = spawnSync("npm", ["install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error"], { cwd: beside, encoding: "utf8" });
  if (status !== 0) {
    fs.rmSync(beside, { recursive: true, force: true });
    console.error(`tidegate-policy: the build tools cannot be installed: ${(error?.message ?? stderr).trim()}
Give npm access to its registry, or run \`npm install\` in ${SDK} where there is access and copy its node_modules here.`);
    process.exit(69);
  }
  try {
    fs.renameSync(beside, folder);
  } catch (raced) {
    fs.rmSync(beside, { recursive: true, force: true });
    if (!fs.existsSync(folder)) throw raced;
  }
}
