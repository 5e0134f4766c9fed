/* Purges what the column `note` of a changed row says, in any way there is: `VERB TARGET TEXT`, and nothing where it
 * says nothing of the kind.
 *
 * VERB    purge, soft-purge, refresh
 * TARGET  row (TEXT is COLLECTION KEY), query (COLLECTION QUERY), tag, lists, collection
 */
#define TIDEGATE_INVALIDATE
#include <tidegate.h>

static const tg_input COLUMNS[] = {{TG_COLUMN, "note"}};

const tg_policy tidegate_policy = {
    .name = "purger", .version = "0.1.0", .hooks = {{"invalidate", COLUMNS, TG_COUNT(COLUMNS)}}};

/* Takes the text up to the next space off the front. */
static tg_text word(tg_text *rest) {
  tg_text first = *rest;
  for (size_t i = 0; i < rest->len; i++) {
    if (rest->ptr[i] != ' ') continue;
    first.len = i;
    rest->ptr += i + 1;
    rest->len -= i + 1;
    return first;
  }
  rest->ptr += rest->len;
  rest->len = 0;
  return first;
}

static bool ordered(tg_text rest, tg_actions *actions) {
  tg_text name = word(&rest), target = word(&rest), collection;
  tg_verb verb = TG_PURGE;
  if (tg_is(name, "soft-purge")) verb = TG_SOFT_PURGE;
  else if (tg_is(name, "refresh")) verb = TG_REFRESH;
  else if (!tg_is(name, "purge")) return true;
  if (tg_is(target, "tag")) return tg_tagged(actions, verb, rest);
  if (tg_is(target, "lists")) return tg_lists(actions, verb, rest);
  if (tg_is(target, "collection")) return tg_collection(actions, verb, rest);
  collection = word(&rest);
  if (tg_is(target, "row")) return tg_row(actions, verb, collection, rest);
  if (tg_is(target, "query")) return tg_query(actions, verb, collection, rest);
  return true;
}

bool tg_invalidate(const tg_change *changes, size_t count, tg_actions *actions, tg_error *error) {
  (void)error;
  for (size_t i = 0; i < count; i++) {
    tg_text note;
    if (tg_new(&changes[i], 0, &note) && !ordered(note, actions)) return false;
  }
  return true;
}
