/* The tier classifier in C: tells the tenant and class of a request from its host, a header field, an
   API key or a claim, in the configured order. The first source that names a tenant decides; an API key
   that is present and unknown is refused at once, so that nobody falls through to a weaker source. */

#define TIDEGATE_CLASSIFY
#include <string.h>
#include <tidegate.h>

enum { HOST, X_TENANT, X_API_KEY, TENANT, TIER };

static const tg_input INPUTS[] = {
    [HOST] = {TG_HEADER, "host"},     [X_TENANT] = {TG_HEADER, "x-tenant"}, [X_API_KEY] = {TG_HEADER, "x-api-key", TG_SECRET},
    [TENANT] = {TG_CLAIM, "tenant"},  [TIER] = {TG_CLAIM, "tier"},
};

static const char SCHEMA[] =
    "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"type\":\"object\",\"additionalProperties\":false,"
    "\"required\":[\"sources\"],\"properties\":{"
    "\"sources\":{\"type\":\"array\",\"minItems\":1,\"uniqueItems\":true,"
    "\"items\":{\"enum\":[\"host\",\"header\",\"api-key\",\"claim\"]}},"
    "\"host_suffix\":{\"type\":\"string\",\"minLength\":1},"
    "\"api_keys\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"}},"
    "\"classes\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"}},"
    "\"default_class\":{\"type\":\"string\"}}}";

enum { MOST_SOURCES = 4 };

/* Where a tenant may come from; the order of NAMES. */
typedef enum { BY_HOST, BY_HEADER, BY_API_KEY, BY_CLAIM } source;
static const char *const NAMES[MOST_SOURCES] = {"host", "header", "api-key", "claim"};

static struct {
  source sources[MOST_SOURCES];
  size_t count;
  const tg_json *host_suffix, *api_keys, *classes, *default_class; /* NULL: not configured */
} settings;

/* ---- Configuration ---- */

static bool add_source(const tg_json *item, tg_error *error) {
  size_t kind = 0;
  while (kind < MOST_SOURCES && !(item->kind == TG_STRING && tg_is(item->text, NAMES[kind]))) kind++;
  if (kind == MOST_SOURCES) {
    return tg_refuse_text(error, TG_NOT_READY, "sources may name host, header, api-key and claim, not", item->text);
  }
  for (size_t i = 0; i < settings.count; i++) {
    if (settings.sources[i] == (source)kind) return tg_refuse_text(error, TG_NOT_READY, "sources repeats", item->text);
  }
  settings.sources[settings.count++] = (source)kind;
  return true;
}

static bool has_source(source wanted) {
  for (size_t i = 0; i < settings.count; i++) {
    if (settings.sources[i] == wanted) return true;
  }
  return false;
}

/* A member that, if present, is a string. */
static bool string_member(const tg_json *config, const char *name, const tg_json **out, tg_error *error) {
  *out = tg_json_get(config, name);
  if (*out == NULL || (*out)->kind == TG_STRING) return true;
  return tg_refuse_text(error, TG_NOT_READY, "this must be a string:", tg_text_of(name));
}

/* A member that, if present, maps names to strings. */
static bool map_member(const tg_json *config, const char *name, const tg_json **out, tg_error *error) {
  *out = tg_json_get(config, name);
  if (*out == NULL) return true;
  bool right = (*out)->kind == TG_OBJECT;
  for (const tg_json *item = (*out)->first; item != NULL; item = item->next) right = right && item->kind == TG_STRING;
  return right || tg_refuse_text(error, TG_NOT_READY, "this must be an object of strings:", tg_text_of(name));
}

static bool configure(const tg_json *config, tg_error *error) {
  static const char *const KEYS[] = {"sources", "host_suffix", "api_keys", "classes", "default_class", NULL};
  if (!tg_json_only(config, KEYS, error)) return false;
  memset(&settings, 0, sizeof settings);
  const tg_json *sources = tg_json_get(config, "sources");
  if (sources == NULL || sources->kind != TG_ARRAY || sources->count == 0) {
    return tg_refuse(error, TG_NOT_READY, "sources must list at least one of host, header, api-key and claim");
  }
  for (const tg_json *item = sources->first; item != NULL; item = item->next) {
    if (!add_source(item, error)) return false;
  }
  if (!string_member(config, "host_suffix", &settings.host_suffix, error) ||
      !string_member(config, "default_class", &settings.default_class, error) ||
      !map_member(config, "api_keys", &settings.api_keys, error) ||
      !map_member(config, "classes", &settings.classes, error)) {
    return false;
  }
  if (has_source(BY_HOST) && (settings.host_suffix == NULL || settings.host_suffix->text.len == 0)) {
    return tg_refuse(error, TG_NOT_READY, "the source host needs host_suffix, such as \".example.com\"");
  }
  if (has_source(BY_API_KEY) && settings.api_keys == NULL) {
    return tg_refuse(error, TG_NOT_READY, "the source api-key needs api_keys, an object of key and tenant");
  }
  return true;
}

/* ---- Sources ---- */

enum { LONGEST_HOST = 256 };

static uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 32) : c; }

/* The host without its port. */
static tg_text without_port(tg_text host) {
  size_t end = host.len;
  while (end > 0 && host.ptr[end - 1] >= '0' && host.ptr[end - 1] <= '9') end--;
  if (end > 0 && host.ptr[end - 1] == ':') host.len = end - 1;
  return host;
}

/* What stands before the suffix, in lower case; `buffer` holds it. */
static bool before_suffix(tg_text host, uint8_t *buffer, tg_text *tenant) {
  host = without_port(host);
  tg_text suffix = settings.host_suffix->text;
  if (host.len > LONGEST_HOST || host.len <= suffix.len) return false;
  size_t start = host.len - suffix.len;
  for (size_t i = 0; i < suffix.len; i++) {
    if (lower(host.ptr[start + i]) != lower(suffix.ptr[i])) return false;
  }
  for (size_t i = 0; i < start; i++) buffer[i] = lower(host.ptr[i]);
  *tenant = (tg_text){buffer, start};
  return true;
}

typedef enum { NAMED, SILENT, REFUSED } outcome;

static outcome ask(source from, const tg_request *request, uint8_t *buffer, tg_text *tenant) {
  tg_text text;
  bool named = false;
  switch (from) {
    case BY_HOST: named = tg_has(request, HOST, &text) && before_suffix(text, buffer, tenant); break;
    case BY_HEADER: named = tg_has(request, X_TENANT, tenant); break;
    case BY_CLAIM: named = tg_has(request, TENANT, tenant); break;
    case BY_API_KEY: {
      if (!tg_has(request, X_API_KEY, &text)) return SILENT;
      const tg_json *known = tg_json_get_text(settings.api_keys, text);
      if (known == NULL) return REFUSED;
      *tenant = known->text;
      named = true;
    }
  }
  return named && tenant->len > 0 ? NAMED : SILENT;
}

static bool answer(const tg_request *request, source from, tg_text tenant, tg_classification *who) {
  tg_text tier;
  if (from == BY_CLAIM && tg_has(request, TIER, &tier)) return tg_tenant_and_class(who, tenant, tier);
  const tg_json *class_ = tg_json_get_text(settings.classes, tenant);
  if (class_ == NULL) class_ = settings.default_class;
  return class_ == NULL ? tg_tenant(who, tenant) : tg_tenant_and_class(who, tenant, class_->text);
}

bool tg_classify(const tg_request *request, tg_classification *who, tg_error *error) {
  uint8_t buffer[LONGEST_HOST];
  tg_text tenant;
  for (size_t i = 0; i < settings.count; i++) {
    source from = settings.sources[i];
    outcome told = ask(from, request, buffer, &tenant);
    if (told == REFUSED) return tg_refuse(error, TG_NO_MATCH, "the API key is not among api_keys");
    if (told == NAMED) return answer(request, from, tenant, who);
  }
  return tg_refuse(error, TG_NO_MATCH, "no source names a tenant");
}

/* A request that says nothing belongs to nobody. */
static bool self_test(uint32_t *cases, tg_error *error) {
  policy_option_string_t absent[TG_COUNT(INPUTS)] = {0};
  tg_request silent = {.inputs = {absent, TG_COUNT(INPUTS)}};
  tg_classification who = {0};
  tg_error refused = {0};
  *cases = 1;
  if (tg_classify(&silent, &who, &refused)) {
    return tg_refuse(error, TG_NOT_READY, "a request that says nothing was given a tenant");
  }
  tidegate_policy_types_policy_error_free(&refused);
  return true;
}

const tg_policy tidegate_policy = {
    .name = "tier-classifier-c",
    .version = "0.1.0",
    .config_schema = SCHEMA,
    .hooks = {{"classify", INPUTS, TG_COUNT(INPUTS)}},
    .configure = configure,
    .self_test = self_test,
};
