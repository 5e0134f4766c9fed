/* Makes a table grow without end whenever it is asked where a row is: the gateway's cap on tables must stop it.
   In C, because Rust has no word for a table. Needs -mreference-types. */

#define TIDEGATE_ROUTE
#include <tidegate.h>

static __externref_t table[0];

static const tg_input INPUTS[] = {{TG_SHARD_KEY}};

bool tg_route(const tg_request *request, tg_targets *targets, tg_error *error) {
  (void)request, (void)error;
  while (__builtin_wasm_table_grow(table, __builtin_wasm_ref_null_extern(), 1 << 16) >= 0) {
  }
  return tg_all_of_tenant(targets);
}

const tg_policy tidegate_policy = {
    .name = "hoards-tables", .version = "0.1.0", .hooks = {{"route", INPUTS, TG_COUNT(INPUTS)}}};
