/* The exported functions of the hooks that the including source file names. Part of tidegate.h. */

#if defined(TIDEGATE_CLASSIFY) || defined(TIDEGATE_ROUTE) || defined(TIDEGATE_CACHE_POLICY) || \
    defined(TIDEGATE_INVALIDATE)
#include <stdlib.h>
#include <string.h>
#endif

#ifdef TIDEGATE_CLASSIFY
bool exports_tidegate_policy_classify_classify(tg_request *request, tg_classification *who, tg_error *error) {
  memset(who, 0, sizeof *who);
  bool answered = tg_classify(request, who, error);
  if (!answered) exports_tidegate_policy_classify_classification_free(who);
  tidegate_policy_types_request_free(request);
  return answered;
}
#include "gen/hook_classify.h"
#endif

#ifdef TIDEGATE_ROUTE
bool exports_tidegate_policy_route_route(tg_request *request, tg_targets *targets, tg_error *error) {
  memset(targets, 0, sizeof *targets);
  bool answered = tg_route(request, targets, error);
  if (!answered) exports_tidegate_policy_route_targets_free(targets);
  tidegate_policy_types_request_free(request);
  return answered;
}
#include "gen/hook_route.h"
#endif

#ifdef TIDEGATE_CACHE_POLICY
bool exports_tidegate_policy_cache_policy_decide(tg_request *request, tg_decision *decision, tg_error *error) {
  memset(decision, 0, sizeof *decision);
  bool answered = tg_cache_policy(request, decision, error);
  if (!answered) exports_tidegate_policy_cache_policy_decision_free(decision);
  tidegate_policy_types_request_free(request);
  return answered;
}
#include "gen/hook_cache_policy.h"
#endif

#ifdef TIDEGATE_INVALIDATE
bool exports_tidegate_policy_invalidate_invalidate(uint32_t tenant, uint32_t class_,
                                                   exports_tidegate_policy_invalidate_list_row_change_t *batch,
                                                   tg_actions *actions, tg_error *error) {
  (void)tenant, (void)class_;
  memset(actions, 0, sizeof *actions);
  bool answered = tg_invalidate(batch->ptr, batch->len, actions, error);
  if (!answered) exports_tidegate_policy_invalidate_list_action_free(actions);
  exports_tidegate_policy_invalidate_list_row_change_free(batch);
  return answered;
}
#include "gen/hook_invalidate.h"
#endif
