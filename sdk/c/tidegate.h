/* Tidegate policies in C.
 *
 * Name the hooks, include this file, describe the policy and write the hooks' functions:
 *
 *     #define TIDEGATE_ROUTE
 *     #include <tidegate.h>
 *
 *     static const tg_input INPUTS[] = {{TG_SHARD_KEY}};
 *     const tg_policy tidegate_policy = {
 *         .name = "my-router", .version = "0.1.0", .hooks = {{"route", INPUTS, TG_COUNT(INPUTS)}}};
 *
 *     bool tg_route(const tg_request *request, tg_targets *targets, tg_error *error) {
 *         tg_text key;
 *         if (!tg_has(request, 0, &key)) return tg_all_of_tenant(targets);
 *         return tg_hash(targets, tg_hash_key(key));
 *     }
 *
 * The hooks are TIDEGATE_CLASSIFY, TIDEGATE_ROUTE, TIDEGATE_CACHE_POLICY and TIDEGATE_INVALIDATE;
 * define them in exactly one source file. Other source files include the header without them.
 *
 * Memory: what a function is given belongs to the SDK and lives until the call ends (the parsed
 * configuration: as long as the instance). What helpers put into an answer is copied, and freed by
 * the SDK when the gateway has read it. Running out of memory is a trap. */
#ifndef TIDEGATE_H
#define TIDEGATE_H

#include "gen/policy.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TG_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- Text: UTF-8, a length, no NUL at the end ---- */

typedef policy_string_t tg_text;

/* The text of a NUL-terminated string; not copied. */
tg_text tg_text_of(const char *string);
bool tg_is(tg_text text, const char *string);
bool tg_equal(tg_text a, tg_text b);
bool tg_ends_with(tg_text text, const char *suffix);
/* A copy that belongs to the caller: free(copy.ptr). */
tg_text tg_copy(tg_text text);
/* Both after one another; belongs to the caller as well. */
tg_text tg_joined(const char *start, tg_text end);

/* ---- Refusals ---- */

typedef tidegate_policy_types_policy_error_t tg_error;

enum {
  TG_NO_MATCH = TIDEGATE_POLICY_TYPES_ERROR_CODE_NO_MATCH,   /* no rule fits the request */
  TG_BAD_INPUT = TIDEGATE_POLICY_TYPES_ERROR_CODE_BAD_INPUT, /* an input has an unusable form */
  TG_NOT_READY = TIDEGATE_POLICY_TYPES_ERROR_CODE_NOT_READY, /* the configuration allows no answer */
  TG_OTHER = TIDEGATE_POLICY_TYPES_ERROR_CODE_OTHER,
};

/* Says no, and why (for the operator's log). Returns false: `return tg_refuse(error, ...)`. */
bool tg_refuse(tg_error *error, uint8_t code, const char *detail);
/* The same with the offending text at the end: `detail "what"`. */
bool tg_refuse_text(tg_error *error, uint8_t code, const char *detail, tg_text what);

/* ---- The configuration: JSON, read into a tree ---- */

typedef enum { TG_NULL, TG_FALSE, TG_TRUE, TG_NUMBER, TG_STRING, TG_ARRAY, TG_OBJECT } tg_json_kind;

typedef struct tg_json {
  tg_json_kind kind;
  tg_text key;                 /* in an object: the member's name */
  tg_text text;                /* of a string, decoded; of a number, as it stands there */
  size_t count;                /* of an array or object: how many children */
  const struct tg_json *first; /* of an array or object */
  const struct tg_json *next;  /* the next one of the same array or object */
} tg_json;

/* NULL, with `error` filled, where the text is no JSON or nests deeper than 32. */
const tg_json *tg_json_parse(tg_text text, tg_error *error);
/* A member of an object; NULL where there is none. */
const tg_json *tg_json_get(const tg_json *object, const char *key);
const tg_json *tg_json_get_text(const tg_json *object, tg_text key);
/* Whether it is a whole number within the bounds. */
bool tg_json_whole(const tg_json *value, uint64_t from, uint64_t to, uint64_t *out);
/* Refuses what is no object and members not among these names; names end with NULL. */
bool tg_json_only(const tg_json *object, const char *const *names, tg_error *error);

/* ---- What the policy is ---- */

typedef enum {
  TG_METHOD, TG_PATH, TG_HEADER, TG_QUERY, TG_CLAIM, TG_COLLECTION, TG_SHARD_KEY, TG_COLUMN, TG_TENANT, TG_CLASS,
  TG_REGION, TG_OTHER_INPUT,
} tg_input_kind;

typedef enum { TG_PLAIN, TG_SECRET } tg_secrecy;

typedef struct {
  tg_input_kind kind;
  const char *name;   /* of a header field, query parameter, claim, column or other kind */
  tg_secrecy secrecy; /* TG_SECRET: never logged, recorded or sampled */
} tg_input;

typedef struct {
  const char *hook; /* "classify", "route", "cache-policy", "invalidate" */
  const tg_input *inputs;
  size_t count;
} tg_hook;

typedef struct {
  const char *name;
  const char *version;
  const char *config_schema; /* JSON Schema of `config`; NULL: none */
  tg_hook hooks[4];          /* those the policy implements */
  /* Takes the operator's configuration; NULL: anything but {} is refused. */
  bool (*configure)(const tg_json *config, tg_error *error);
  /* Checks the configured policy, counting the cases; NULL: no case. */
  bool (*self_test)(uint32_t *cases, tg_error *error);
} tg_policy;

/* Every policy defines this. */
extern const tg_policy tidegate_policy;

/* ---- Questions ---- */

typedef tidegate_policy_types_request_t tg_request;

/* Whether the request has the input declared at this position, and its text. */
bool tg_has(const tg_request *request, size_t position, tg_text *text);

/* ---- classify ---- */

typedef exports_tidegate_policy_classify_classification_t tg_classification;

bool tg_classify(const tg_request *request, tg_classification *who, tg_error *error);
/* Whose request it is. Returns true. */
bool tg_tenant(tg_classification *who, tg_text tenant);
bool tg_tenant_and_class(tg_classification *who, tg_text tenant, tg_text name);

/* ---- route ---- */

typedef exports_tidegate_policy_route_targets_t tg_targets;

bool tg_route(const tg_request *request, tg_targets *targets, tg_error *error);
/* Where it goes. Each returns true. */
bool tg_hash(tg_targets *targets, uint64_t hash);
bool tg_shards(tg_targets *targets, const uint32_t *shards, size_t count);
bool tg_all_of_tenant(tg_targets *targets);

/* ---- cache-policy ---- */

typedef exports_tidegate_policy_cache_policy_decision_t tg_decision; /* `mode` and `stale_ms` are set directly */

bool tg_cache_policy(const tg_request *request, tg_decision *decision, tg_error *error);
/* How to keep it. Each returns true. */
bool tg_bypass(tg_decision *decision);
bool tg_ttl(tg_decision *decision, uint32_t milliseconds);
bool tg_vary(tg_decision *decision, uint32_t position);
bool tg_tag(tg_decision *decision, tg_text tag);

/* ---- invalidate ---- */

typedef exports_tidegate_policy_invalidate_row_change_t tg_change;
typedef exports_tidegate_policy_invalidate_list_action_t tg_actions;
typedef enum { TG_PURGE, TG_SOFT_PURGE, TG_REFRESH } tg_verb;

bool tg_invalidate(const tg_change *changes, size_t count, tg_actions *actions, tg_error *error);
/* A declared column before and after; false where it is absent. */
bool tg_old(const tg_change *change, size_t position, tg_text *text);
bool tg_new(const tg_change *change, size_t position, tg_text *text);
/* What is outdated. Each returns true. */
bool tg_row(tg_actions *actions, tg_verb verb, tg_text collection, tg_text key);
bool tg_tagged(tg_actions *actions, tg_verb verb, tg_text tag);
bool tg_query(tg_actions *actions, tg_verb verb, tg_text collection, tg_text query);
bool tg_lists(tg_actions *actions, tg_verb verb, tg_text collection);
bool tg_collection(tg_actions *actions, tg_verb verb, tg_text collection);

/* ---- The gateway ---- */

uint32_t tg_shard_count(void);
bool tg_shard_named(tg_text name, uint32_t *shard);
uint32_t tg_shard_for_hash(uint64_t hash);
/* The shards of a region; the caller frees them. */
uint32_t *tg_shards_in_region(tg_text region, size_t *count);
/* The hash that the built-in routing takes of a shard key. */
uint64_t tg_hash_key(tg_text text);
/* Needs the grant `directory`. The value belongs to the caller: free(value->ptr). */
bool tg_lookup(tg_text directory, tg_text key, tg_text *value);

typedef enum { TG_DEBUG, TG_INFO, TG_WARN, TG_ERROR } tg_level;
void tg_log(tg_level level, const char *message);
void tg_log_text(tg_level level, tg_text message);
void tg_count(const char *name, uint64_t amount);

#ifdef __cplusplus
}
#endif

#include "hooks.h"

#endif
