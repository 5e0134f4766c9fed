/* {{name}}: say here what it decides. */

// {{#classify}}
#define TIDEGATE_CLASSIFY
// {{/classify}}
// {{#route}}
#define TIDEGATE_ROUTE
// {{/route}}
// {{#cache-policy}}
#define TIDEGATE_CACHE_POLICY
// {{/cache-policy}}
// {{#invalidate}}
#define TIDEGATE_INVALIDATE
// {{/invalidate}}
#include <stdlib.h>
#include <tidegate.h>
// {{#classify}}

/* What `classify` sees, in this order; nothing else may influence its answer. */
enum { CLAIM_TENANT };
static const tg_input CLASSIFY_INPUTS[] = {[CLAIM_TENANT] = {TG_CLAIM, "tenant"}};

bool tg_classify(const tg_request *request, tg_classification *who, tg_error *error) {
  tg_text tenant;
  if (!tg_has(request, CLAIM_TENANT, &tenant)) {
    return tg_refuse(error, TG_NO_MATCH, "the token has no claim `tenant`");
  }
  return tg_tenant(who, tenant);
}
// {{/classify}}
// {{#route}}

/* What `route` sees, in this order; nothing else may influence its answer. */
enum { SHARD_KEY };
static const tg_input ROUTE_INPUTS[] = {[SHARD_KEY] = {TG_SHARD_KEY}};

/* Reads and writes of one key must go to the same shard. */
bool tg_route(const tg_request *request, tg_targets *targets, tg_error *error) {
  (void)error;
  tg_text key;
  if (!tg_has(request, SHARD_KEY, &key)) return tg_all_of_tenant(targets);
  return tg_hash(targets, tg_hash_key(key));
}
// {{/route}}
// {{#cache-policy}}

/* What `cache-policy` sees, in this order; nothing else may influence its answer. */
enum { CLASS, QUERY_CATEGORY };
static const tg_input CACHE_INPUTS[] = {[CLASS] = {TG_CLASS}, [QUERY_CATEGORY] = {TG_QUERY, "category_id"}};

bool tg_cache_policy(const tg_request *request, tg_decision *decision, tg_error *error) {
  (void)error;
  tg_text class_, category;
  if (tg_has(request, CLASS, &class_) && tg_is(class_, "admin")) return tg_bypass(decision);
  if (tg_has(request, QUERY_CATEGORY, &category)) {
    tg_text tag = tg_joined("category:", category);
    tg_tag(decision, tag);
    free(tag.ptr);
  }
  return true;
}
// {{/cache-policy}}
// {{#invalidate}}

/* The columns that `invalidate` sees, in this order. */
enum { CATEGORY };
static const tg_input COLUMNS[] = {[CATEGORY] = {TG_COLUMN, "category_id"}};

static void purge(tg_actions *actions, tg_text category) {
  tg_text tag = tg_joined("category:", category);
  tg_tagged(actions, TG_PURGE, tag);
  free(tag.ptr);
}

bool tg_invalidate(const tg_change *changes, size_t count, tg_actions *actions, tg_error *error) {
  (void)error;
  tg_text category;
  for (size_t i = 0; i < count; i++) {
    if (tg_old(&changes[i], CATEGORY, &category)) purge(actions, category);
    if (tg_new(&changes[i], CATEGORY, &category)) purge(actions, category);
  }
  return true;
}
// {{/invalidate}}

/* `configure`, `self_test` and `config_schema` may be added: see tidegate.h. */
const tg_policy tidegate_policy = {
    .name = "{{name}}",
    .version = "0.1.0",
    .hooks =
        {
            // {{#classify}}
            {"classify", CLASSIFY_INPUTS, TG_COUNT(CLASSIFY_INPUTS)},
            // {{/classify}}
            // {{#route}}
            {"route", ROUTE_INPUTS, TG_COUNT(ROUTE_INPUTS)},
            // {{/route}}
            // {{#cache-policy}}
            {"cache-policy", CACHE_INPUTS, TG_COUNT(CACHE_INPUTS)},
            // {{/cache-policy}}
            // {{#invalidate}}
            {"invalidate", COLUMNS, TG_COUNT(COLUMNS)},
            // {{/invalidate}}
        },
};
