/* What every policy in C has in common: the lifecycle, and the helpers of tidegate.h. */

#include "tidegate.h"
#include <stdlib.h>
#include <string.h>

/* Memory, or a trap: a policy has nothing better to do without. */
static void *allocate(size_t count, size_t size) {
  void *memory = calloc(count, size);
  if (memory == NULL && count > 0) __builtin_trap();
  return memory;
}

/* ---- Text ---- */

tg_text tg_text_of(const char *string) { return (tg_text){(uint8_t *)string, string == NULL ? 0 : strlen(string)}; }

bool tg_equal(tg_text a, tg_text b) { return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0); }

bool tg_is(tg_text text, const char *string) { return tg_equal(text, tg_text_of(string)); }

bool tg_ends_with(tg_text text, const char *suffix) {
  tg_text end = tg_text_of(suffix);
  return text.len >= end.len && tg_equal((tg_text){text.ptr + (text.len - end.len), end.len}, end);
}

tg_text tg_copy(tg_text text) {
  tg_text copy = {allocate(text.len, 1), text.len};
  if (text.len > 0) memcpy(copy.ptr, text.ptr, text.len);
  return copy;
}

tg_text tg_joined(const char *start, tg_text end) {
  size_t length = strlen(start);
  tg_text both = {allocate(length + end.len, 1), length + end.len};
  if (length > 0) memcpy(both.ptr, start, length);
  if (end.len > 0) memcpy(both.ptr + length, end.ptr, end.len);
  return both;
}

/* ---- Refusals ---- */

bool tg_refuse(tg_error *error, uint8_t code, const char *detail) {
  error->code = code;
  error->detail = tg_copy(tg_text_of(detail));
  return false;
}

bool tg_refuse_text(tg_error *error, uint8_t code, const char *detail, tg_text what) {
  tg_text start = tg_text_of(detail);
  uint8_t *text = allocate(start.len + what.len + 3, 1);
  memcpy(text, start.ptr, start.len);
  memcpy(text + start.len, " \"", 2);
  if (what.len > 0) memcpy(text + start.len + 2, what.ptr, what.len);
  text[start.len + 2 + what.len] = '"';
  error->code = code;
  error->detail = (tg_text){text, start.len + what.len + 3};
  return false;
}

/* ---- Lifecycle ---- */

typedef exports_tidegate_policy_lifecycle_hook_inputs_t hook_inputs;
typedef exports_tidegate_policy_lifecycle_input_t input;

static void describe_hook(hook_inputs *out, const tg_hook *hook) {
  out->hook = tg_copy(tg_text_of(hook->hook));
  out->inputs.ptr = allocate(hook->count, sizeof(input));
  out->inputs.len = hook->count;
  out->secret.ptr = allocate(hook->count, sizeof(uint32_t));
  for (size_t i = 0; i < hook->count; i++) {
    const tg_input *declared = &hook->inputs[i];
    input *described = &out->inputs.ptr[i];
    described->tag = (uint8_t)declared->kind;
    /* Every kind that has a name has it at the same place. */
    if (declared->name != NULL) described->val.header = tg_copy(tg_text_of(declared->name));
    if (declared->secrecy == TG_SECRET) out->secret.ptr[out->secret.len++] = (uint32_t)i;
  }
  if (out->secret.len == 0) free(out->secret.ptr);
}

void exports_tidegate_policy_lifecycle_describe(exports_tidegate_policy_lifecycle_manifest_t *manifest) {
  size_t count = 0;
  while (count < TG_COUNT(tidegate_policy.hooks) && tidegate_policy.hooks[count].hook != NULL) count++;
  manifest->name = tg_copy(tg_text_of(tidegate_policy.name));
  manifest->version = tg_copy(tg_text_of(tidegate_policy.version));
  manifest->config_schema = tg_copy(tg_text_of(tidegate_policy.config_schema));
  manifest->hooks.ptr = allocate(count, sizeof(hook_inputs));
  manifest->hooks.len = count;
  for (size_t i = 0; i < count; i++) describe_hook(&manifest->hooks.ptr[i], &tidegate_policy.hooks[i]);
}

static bool take_none(const tg_json *config, tg_error *error) {
  if (config->kind == TG_OBJECT && config->count == 0) return true;
  return tg_refuse(error, TG_NOT_READY, "the policy takes no configuration: remove `config`");
}

bool exports_tidegate_policy_lifecycle_configure(tg_text *json, tg_error *error) {
  /* The tree points into the text; both stay for the life of the instance. */
  const tg_json *config = tg_json_parse(*json, error);
  if (config == NULL) return false;
  return (tidegate_policy.configure == NULL ? take_none : tidegate_policy.configure)(config, error);
}

bool exports_tidegate_policy_lifecycle_self_test(uint32_t *cases, tg_error *error) {
  *cases = 0;
  return tidegate_policy.self_test == NULL || tidegate_policy.self_test(cases, error);
}

/* ---- Questions ---- */

static bool present(policy_list_option_string_t values, size_t position, tg_text *text) {
  if (position >= values.len || !values.ptr[position].is_some) return false;
  *text = values.ptr[position].val;
  return true;
}

bool tg_has(const tg_request *request, size_t position, tg_text *text) {
  return present(request->inputs, position, text);
}

bool tg_old(const tg_change *change, size_t position, tg_text *text) { return present(change->old, position, text); }

bool tg_new(const tg_change *change, size_t position, tg_text *text) { return present(change->new_, position, text); }

/* ---- Answers ---- */

bool tg_tenant(tg_classification *who, tg_text tenant) {
  who->tenant = tg_copy(tenant);
  return true;
}

bool tg_tenant_and_class(tg_classification *who, tg_text tenant, tg_text name) {
  who->class_ = (policy_option_string_t){true, tg_copy(name)};
  return tg_tenant(who, tenant);
}

bool tg_hash(tg_targets *targets, uint64_t hash) {
  targets->tag = EXPORTS_TIDEGATE_POLICY_ROUTE_TARGETS_HASH;
  targets->val.hash = hash;
  return true;
}

bool tg_shards(tg_targets *targets, const uint32_t *shards, size_t count) {
  targets->tag = EXPORTS_TIDEGATE_POLICY_ROUTE_TARGETS_SHARDS;
  targets->val.shards.ptr = allocate(count, sizeof *shards);
  targets->val.shards.len = count;
  if (count > 0) memcpy(targets->val.shards.ptr, shards, count * sizeof *shards);
  return true;
}

bool tg_all_of_tenant(tg_targets *targets) {
  targets->tag = EXPORTS_TIDEGATE_POLICY_ROUTE_TARGETS_ALL_OF_TENANT;
  return true;
}

bool tg_bypass(tg_decision *decision) {
  decision->mode = EXPORTS_TIDEGATE_POLICY_CACHE_POLICY_MODE_BYPASS;
  return true;
}

bool tg_ttl(tg_decision *decision, uint32_t milliseconds) {
  decision->ttl_ms = (policy_option_u32_t){true, milliseconds};
  return true;
}

/* Room for one more item of an array. */
static void *grown(void *items, size_t count, size_t size) {
  void *memory = realloc(items, (count + 1) * size);
  if (memory == NULL) __builtin_trap();
  return memory;
}

bool tg_vary(tg_decision *decision, uint32_t position) {
  decision->vary.ptr = grown(decision->vary.ptr, decision->vary.len, sizeof position);
  decision->vary.ptr[decision->vary.len++] = position;
  return true;
}

bool tg_tag(tg_decision *decision, tg_text tag) {
  decision->tags.ptr = grown(decision->tags.ptr, decision->tags.len, sizeof tag);
  decision->tags.ptr[decision->tags.len++] = tg_copy(tag);
  return true;
}

typedef exports_tidegate_policy_invalidate_target_t target;

static bool act(tg_actions *actions, tg_verb verb, target what) {
  actions->ptr = grown(actions->ptr, actions->len, sizeof *actions->ptr);
  actions->ptr[actions->len++] = (exports_tidegate_policy_invalidate_action_t){(uint8_t)verb, what};
  return true;
}

bool tg_row(tg_actions *actions, tg_verb verb, tg_text collection, tg_text key) {
  target row = {.tag = EXPORTS_TIDEGATE_POLICY_INVALIDATE_TARGET_ROW};
  row.val.row.collection = tg_copy(collection);
  row.val.row.key = tg_copy(key);
  return act(actions, verb, row);
}

bool tg_tagged(tg_actions *actions, tg_verb verb, tg_text tag) {
  target tagged = {.tag = EXPORTS_TIDEGATE_POLICY_INVALIDATE_TARGET_TAG};
  tagged.val.tag = tg_copy(tag);
  return act(actions, verb, tagged);
}

bool tg_query(tg_actions *actions, tg_verb verb, tg_text collection, tg_text query) {
  target one = {.tag = EXPORTS_TIDEGATE_POLICY_INVALIDATE_TARGET_QUERY};
  one.val.query.collection = tg_copy(collection);
  one.val.query.query = tg_copy(query);
  return act(actions, verb, one);
}

bool tg_lists(tg_actions *actions, tg_verb verb, tg_text collection) {
  target lists = {.tag = EXPORTS_TIDEGATE_POLICY_INVALIDATE_TARGET_LISTS};
  lists.val.lists = tg_copy(collection);
  return act(actions, verb, lists);
}

bool tg_collection(tg_actions *actions, tg_verb verb, tg_text collection) {
  target whole = {.tag = EXPORTS_TIDEGATE_POLICY_INVALIDATE_TARGET_COLLECTION};
  whole.val.collection = tg_copy(collection);
  return act(actions, verb, whole);
}

/* ---- The gateway ---- */

uint32_t tg_shard_count(void) { return tidegate_policy_host_topology_shard_count(); }

bool tg_shard_named(tg_text name, uint32_t *shard) { return tidegate_policy_host_topology_shard_named(&name, shard); }

uint32_t tg_shard_for_hash(uint64_t hash) { return tidegate_policy_host_topology_shard_for_hash(hash); }

uint32_t *tg_shards_in_region(tg_text region, size_t *count) {
  tidegate_policy_host_topology_list_shard_id_t shards;
  tidegate_policy_host_topology_shards_in_region(&region, &shards);
  *count = shards.len;
  return shards.len > 0 ? shards.ptr : NULL;
}

uint64_t tg_hash_key(tg_text text) { return tidegate_policy_host_topology_hash_key(&text); }

bool tg_lookup(tg_text directory, tg_text key, tg_text *value) {
  return tidegate_policy_host_directory_lookup(&directory, &key, value);
}

void tg_log_text(tg_level level, tg_text message) { tidegate_policy_host_log_log((uint8_t)level, &message); }

void tg_log(tg_level level, const char *message) { tg_log_text(level, tg_text_of(message)); }

void tg_count(const char *name, uint64_t amount) {
  tg_text text = tg_text_of(name);
  tidegate_policy_host_metrics_add(&text, amount);
}
