/* Makes its table of functions grow without end whenever it is asked where a row is: the gateway's cap on tables
   must stop it. By hand, because no language has words for this table. Needs -mreference-types and
   -Wl,--growable-table. */

#define TIDEGATE_ROUTE
#include <tidegate.h>

static const tg_input INPUTS[] = {{TG_SHARD_KEY}};

static int grow(void) {
  int before;
  __asm__ volatile("ref.null_func\n"
                   "i32.const 65536\n"
                   "table.grow __indirect_function_table\n"
                   "local.set %0"
                   : "=r"(before));
  return before;
}

bool tg_route(const tg_request *request, tg_targets *targets, tg_error *error) {
  (void)request, (void)error;
  while (grow() >= 0) {
  }
  return tg_all_of_tenant(targets);
}

const tg_policy tidegate_policy = {
    .name = "hoards-tables", .version = "0.1.0", .hooks = {{"route", INPUTS, TG_COUNT(INPUTS)}}};
