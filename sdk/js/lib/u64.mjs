// Gives the JavaScript engine in a component whole 64-bit numbers.
//
// The engine's bindings know numbers only as doubles, which are exact up to 2^53, and the gateway's hashes
// have 64 bits. So the two functions of the bindings that pass a u64 are replaced: it crosses as an array of
// two 32-bit halves, [low, high], made and read with functions that the bindings have for lists. The SDK's
// index.js turns halves into BigInts and back. Everything else in the component stays as it was.

const CORE_MODULE = 1;
const COMPONENT = 4;
const SECTION = { type: 1, import: 2, function: 3, export: 7, code: 10 };
const FUNCTION = 0;
const I32_CONST = 0x41;
const I64_CONST = 0x42;
const CALL = 0x10;
const LOCAL_GET = 0x20;
const LOCAL_SET = 0x21;
const GLOBAL_GET = 0x23;
const GLOBAL_SET = 0x24;
const I32_ADD = 0x6a;
const I32_SUB = 0x6b;
const I32_WRAP_I64 = 0xa7;
const I64_EXTEND_I32_U = 0xad;
const I64_SHL = 0x86;
const I64_SHR_U = 0x88;
const I64_OR = 0x84;
const DROP = 0x1a;
const END = 0x0b;
const I32 = 0x7f;

/** Replaces the u64 functions of the engine in a component; fails where it has none, or two. */
export function patchU64(component) {
  let patched = 0;
  const bytes = rewrite(component, (module) => {
    const replaced = patchModule(module);
    if (replaced) patched += 1;
    return replaced ?? module;
  });
  if (patched !== 1) {
    throw new Error(`found ${patched} JavaScript engines in the component instead of one: use the componentize-qjs of package-lock.json`);
  }
  return bytes;
}

/** The component with every core module in it, however deep, put through `change`. */
function rewrite(component, change) {
  const parts = [component.subarray(0, 8)];
  for (const { id, body } of sections(component)) {
    if (id === CORE_MODULE) parts.push(section(id, change(body)));
    else if (id === COMPONENT) parts.push(section(id, rewrite(body, change)));
    else parts.push(section(id, body));
  }
  return Buffer.concat(parts);
}

/** The engine's module with other u64 functions; nothing for any other module. */
function patchModule(module) {
  const all = [...sections(module)];
  const of = (id) => all.find((section) => section.id === id)?.body;
  if (!of(SECTION.export) || !of(SECTION.import)) return undefined;
  const imports = readImports(of(SECTION.import));
  const exports = readExports(of(SECTION.export));
  // The bindings' own module imports these functions, a table in between exports them without a stack.
  if (!exports.has("wit_dylib_pop_u64") || imports.stackPointer === undefined) return undefined;

  const [functions, code] = [items(of(SECTION.function)), items(of(SECTION.code))];
  const typeOf = (name) => skipTo(functions, exports.get(name).index - imports.functions);
  const next = imports.functions + functions.count;
  const added = {
    wit_dylib_pop_u64: { type: typeOf("wit_dylib_pop_u64"), index: next, body: popU64(exports, imports.stackPointer) },
    wit_dylib_push_u64: { type: typeOf("wit_dylib_push_u64"), index: next + 1, body: pushU64(exports) },
  };
  const more = Object.values(added);
  const replaced = {
    [SECTION.function]: appended(functions, more.map((f) => leb(f.type))),
    [SECTION.code]: appended(code, more.map((f) => [...leb(f.body.length), ...f.body])),
    [SECTION.export]: redirected(exports, added),
  };
  return Buffer.concat([module.subarray(0, 8), ...all.map(({ id, body }) => section(id, replaced[id] ?? body))]);
}

/** `(context) -> i64`: takes the array on top of the engine's stack apart. */
function popU64(exports, stackPointer) {
  const call = (name) => [CALL, ...leb(exports.get(`wit_dylib_${name}`).index)];
  const half = [LOCAL_GET, 0, I32_CONST, 0, ...call("pop_list_iter_next"), LOCAL_GET, 0, ...call("pop_s32"), I64_EXTEND_I32_U];
  const moveStack = (op) => [GLOBAL_GET, ...leb(stackPointer), I32_CONST, 16, op, GLOBAL_SET, ...leb(stackPointer)];
  return [
    1, 1, 0x7e, // one local: i64
    ...moveStack(I32_SUB),
    LOCAL_GET, 0, I32_CONST, 0, GLOBAL_GET, ...leb(stackPointer), ...call("pop_list"), DROP,
    ...moveStack(I32_ADD),
    ...half, LOCAL_SET, 1,
    ...half, I64_CONST, 32, I64_SHL, LOCAL_GET, 1, I64_OR, LOCAL_SET, 1,
    LOCAL_GET, 0, I32_CONST, 0, ...call("pop_list_iter"),
    LOCAL_GET, 1, END,
  ];
}

/** `(context, i64)`: leaves an array of two halves on the engine's stack. */
function pushU64(exports) {
  const call = (name) => [CALL, ...leb(exports.get(`wit_dylib_${name}`).index)];
  const append = [...call("push_s32"), LOCAL_GET, 0, I32_CONST, 0, ...call("list_append")];
  return [
    0, // no locals
    LOCAL_GET, 0, I32_CONST, 0, I32_CONST, 0, I32_CONST, 2, ...call("push_list"), DROP,
    LOCAL_GET, 0, LOCAL_GET, 1, I32_WRAP_I64, ...append,
    LOCAL_GET, 0, LOCAL_GET, 1, I64_CONST, 32, I64_SHR_U, I32_WRAP_I64, ...append,
    END,
  ];
}

function* sections(bytes) {
  for (let at = 8; at < bytes.length; ) {
    const id = bytes[at];
    const size = readLeb(bytes, at + 1);
    yield { id, body: bytes.subarray(size.next, size.next + size.value) };
    at = size.next + size.value;
  }
}

const section = (id, body) => Buffer.concat([Buffer.from([id, ...leb(body.length)]), body]);

/** How many functions a module imports, and the number of its stack pointer. */
function readImports(body) {
  let { value: count, next: at } = readLeb(body, 0);
  let [functions, globals, stackPointer] = [0, 0, undefined];
  for (; count > 0; count -= 1) {
    const module = readName(body, at);
    const name = readName(body, module.next);
    const kind = body[name.next];
    at = name.next + 1;
    if (kind === FUNCTION) [functions, at] = [functions + 1, readLeb(body, at).next];
    else if (kind === 1) at = skipLimits(body, at + 1); // table: element type, limits
    else if (kind === 2) at = skipLimits(body, at);
    else if (kind === 3) {
      if (name.value === "__stack_pointer" && body[at] === I32) stackPointer = globals;
      [globals, at] = [globals + 1, at + 2];
    } else at = readLeb(body, at + 1).next; // tag: attribute, type
  }
  return { functions, stackPointer };
}

function skipLimits(body, at) {
  const minimum = readLeb(body, at + 1);
  return body[at] & 1 ? readLeb(body, minimum.next).next : minimum.next;
}

function readExports(body) {
  const exports = new Map();
  let { value: count, next: at } = readLeb(body, 0);
  for (; count > 0; count -= 1) {
    const name = readName(body, at);
    const index = readLeb(body, name.next + 1);
    exports.set(name.value, { kind: body[name.next], index: index.value });
    at = index.next;
  }
  return exports;
}

function redirected(exports, to) {
  const parts = [Buffer.from(leb(exports.size))];
  for (const [name, { kind, index }] of exports) {
    const text = Buffer.from(name);
    parts.push(Buffer.from(leb(text.length)), text, Buffer.from([kind, ...leb(to[name]?.index ?? index)]));
  }
  return Buffer.concat(parts);
}

function items(body) {
  const count = readLeb(body, 0);
  return { count: count.value, rest: body.subarray(count.next) };
}

const appended = ({ count, rest }, more) => Buffer.concat([Buffer.from(leb(count + more.length)), rest, ...more.map((item) => Buffer.from(item))]);

/** The nth number of a list of numbers. */
function skipTo({ rest }, nth) {
  let at = 0;
  for (; nth > 0; nth -= 1) at = readLeb(rest, at).next;
  return readLeb(rest, at).value;
}

function readName(bytes, at) {
  const length = readLeb(bytes, at);
  const next = length.next + length.value;
  return { value: bytes.toString("utf8", length.next, next), next };
}

/** An unsigned LEB128 number. Sizes in a file of at most 64 MiB fit JavaScript's 32-bit operators. */
function readLeb(bytes, at) {
  let [value, shift] = [0, 0];
  for (;;) {
    const byte = bytes[at];
    value += (byte & 0x7f) * 2 ** shift;
    at += 1;
    if (byte < 0x80) return { value, next: at };
    shift += 7;
  }
}

function leb(value) {
  const bytes = [];
  do {
    const low = value & 0x7f;
    value >>>= 7;
    bytes.push(value === 0 ? low : low | 0x80);
  } while (value !== 0);
  return bytes;
}
