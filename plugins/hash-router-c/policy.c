/* The hash router in C: places rows by the hash of their shard key, as the gateway does without a
   policy; with `{"buckets": N}` by the hash of one of N buckets, so that a new shard moves whole
   buckets. */

#define TIDEGATE_ROUTE
#include <tidegate.h>

enum { SHARD_KEY };

static const tg_input INPUTS[] = {[SHARD_KEY] = {TG_SHARD_KEY}};

static const char SCHEMA[] =
    "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"type\":\"object\",\"additionalProperties\":false,"
    "\"properties\":{\"buckets\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":65536}}}";

/* 0: no buckets. */
static uint64_t buckets;

static bool configure(const tg_json *config, tg_error *error) {
  static const char *const NAMES[] = {"buckets", NULL};
  if (!tg_json_only(config, NAMES, error)) return false;
  const tg_json *wanted = tg_json_get(config, "buckets");
  if (wanted != NULL && !tg_json_whole(wanted, 1, 65536, &buckets)) {
    return tg_refuse(error, TG_NOT_READY, "buckets must be a whole number from 1 to 65536");
  }
  return true;
}

/* The hash of a number's decimal text. */
static uint64_t hash_of_number(uint64_t number) {
  uint8_t digits[20], *at = digits + sizeof digits;
  do *--at = (uint8_t)('0' + number % 10);
  while ((number /= 10) > 0);
  return tg_hash_key((tg_text){at, (size_t)(digits + sizeof digits - at)});
}

bool tg_route(const tg_request *request, tg_targets *targets, tg_error *error) {
  (void)error;
  tg_text key;
  if (!tg_has(request, SHARD_KEY, &key)) return tg_all_of_tenant(targets);
  uint64_t hash = tg_hash_key(key);
  return tg_hash(targets, buckets == 0 ? hash : hash_of_number(hash % buckets));
}

static bool self_test(uint32_t *cases, tg_error *error) {
  *cases = 1;
  if (tg_shard_for_hash(tg_hash_key(tg_text_of("42"))) < tg_shard_count()) return true;
  return tg_refuse(error, TG_NOT_READY, "the gateway placed a key on a shard that does not exist");
}

const tg_policy tidegate_policy = {
    .name = "hash-router-c",
    .version = "0.1.0",
    .config_schema = SCHEMA,
    .hooks = {{"route", INPUTS, TG_COUNT(INPUTS)}},
    .configure = configure,
    .self_test = self_test,
};
