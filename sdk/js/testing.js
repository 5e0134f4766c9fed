import { counters, lines, pretend } from "./host/fake.js";
import * as guest from "./guest.js";
import { PolicyError } from "./index.js";

/** Loads a policy as the gateway does, with a pretended gateway around it. */
export function load(definition, { config = {}, ...world } = {}) {
  pretend(world);
  lines.length = 0;
  counters.clear();
  const exports = guest.lifecycle(definition, { name: "under-test", version: "0.0.0" });
  const manifest = exports.describe();
  passing(() => exports.configure(JSON.stringify(config)));
  passing(() => exports.selfTest());
  const asking = Object.fromEntries(guest.hooksOf(definition).map((key) => [key, asker(definition, key)]));
  return { manifest, lines, counters, ...asking };
}

function asker(definition, key) {
  const exported = guest[key](definition);
  const call = exported[Object.keys(exported)[0]];
  if (key === "invalidate") {
    const { columns } = definition.invalidate;
    const side = (values) => (values ? columns.map((name) => values[name] ?? null) : []);
    const row = (change) => ({ key: "", ...change, old: side(change.old), new: side(change.new) });
    return (...changes) => passing(() => call(0, 0, changes.map(row)));
  }
  const { inputs } = definition[key];
  return (given = {}, op = "read") => {
    const unknown = Object.keys(given).find((name) => !inputs.includes(name));
    if (unknown) throw new Error(`${guest.HOOKS[key]} does not declare the input \`${unknown}\``);
    return passing(() => call({ op, inputs: inputs.map((name) => given[name] ?? null) }));
  };
}

/** A refusal crosses to the gateway as a plain record; tests catch what the author threw. */
function passing(call) {
  try {
    return call();
  } catch (refusal) {
    throw refusal instanceof Error ? refusal : new PolicyError(refusal.code, refusal.detail);
  }
}
