/* The hash router in C: a second witness that the interface is the same in every language.
   Build: see ../build. The bindings in gen/ are made by
   `wit-bindgen c ../../wit --world router --out-dir gen` (wit-bindgen-cli 0.61). */

#include "gen/router.h"
#include <stdlib.h>

enum { SHARD_KEY, INPUTS };

void exports_tidegate_policy_lifecycle_describe(exports_tidegate_policy_lifecycle_manifest_t *manifest) {
  /* What is returned is freed by the bindings: every part of it comes from malloc. */
  exports_tidegate_policy_lifecycle_input_t *inputs = calloc(INPUTS, sizeof *inputs);
  exports_tidegate_policy_lifecycle_hook_inputs_t *hook = calloc(1, sizeof *hook);
  if (inputs == NULL || hook == NULL) __builtin_trap();
  inputs[SHARD_KEY].tag = EXPORTS_TIDEGATE_POLICY_LIFECYCLE_INPUT_SHARD_KEY;
  router_string_dup(&hook->hook, "route");
  hook->inputs.ptr = inputs;
  hook->inputs.len = INPUTS;
  router_string_dup(&manifest->name, "hash-router-c");
  router_string_dup(&manifest->version, "0.1.0");
  manifest->hooks.ptr = hook;
  manifest->hooks.len = 1;
}

bool exports_tidegate_policy_lifecycle_configure(router_string_t *json,
                                                 exports_tidegate_policy_lifecycle_policy_error_t *error) {
  bool empty = json->len == 2 && json->ptr[0] == '{' && json->ptr[1] == '}';
  router_string_free(json);
  if (!empty) {
    error->code = TIDEGATE_POLICY_TYPES_ERROR_CODE_NOT_READY;
    router_string_dup(&error->detail, "hash-router-c takes no configuration: remove `config`");
  }
  return empty;
}

bool exports_tidegate_policy_lifecycle_self_test(uint32_t *cases,
                                                 exports_tidegate_policy_lifecycle_policy_error_t *error) {
  router_string_t key;
  router_string_set(&key, "42");
  uint64_t hash = tidegate_policy_host_topology_hash_key(&key);
  *cases = 1;
  if (tidegate_policy_host_topology_shard_for_hash(hash) < tidegate_policy_host_topology_shard_count()) return true;
  error->code = TIDEGATE_POLICY_TYPES_ERROR_CODE_NOT_READY;
  router_string_dup(&error->detail, "the gateway placed a key on a shard that does not exist");
  return false;
}

bool exports_tidegate_policy_route_route(exports_tidegate_policy_route_request_t *request,
                                         exports_tidegate_policy_route_targets_t *targets,
                                         exports_tidegate_policy_route_policy_error_t *error) {
  (void)error;
  if (request->inputs.len == INPUTS && request->inputs.ptr[SHARD_KEY].is_some) {
    targets->tag = EXPORTS_TIDEGATE_POLICY_ROUTE_TARGETS_HASH;
    targets->val.hash = tidegate_policy_host_topology_hash_key(&request->inputs.ptr[SHARD_KEY].val);
  } else {
    targets->tag = EXPORTS_TIDEGATE_POLICY_ROUTE_TARGETS_ALL_OF_TENANT;
  }
  tidegate_policy_types_request_free(request);
  return true;
}
