/* A small JSON reader, for configurations: a tree of linked nodes. Strings without escapes point into
   the text; others are decoded into memory of their own. */

#include "tidegate.h"
#include <stdlib.h>
#include <string.h>

enum { DEEPEST = 32 };

typedef struct {
  const uint8_t *at;
  const uint8_t *end;
} reader;

static bool value(reader *in, tg_json *out, int depth);

static void *allocate(size_t size) {
  void *memory = calloc(1, size);
  if (memory == NULL) __builtin_trap();
  return memory;
}

static void skip_space(reader *in) {
  while (in->at < in->end && (*in->at == ' ' || *in->at == '\t' || *in->at == '\n' || *in->at == '\r')) in->at++;
}

static bool take(reader *in, uint8_t byte) {
  if (in->at >= in->end || *in->at != byte) return false;
  in->at++;
  return true;
}

static bool word(reader *in, const char *text) {
  size_t length = strlen(text);
  if ((size_t)(in->end - in->at) < length || memcmp(in->at, text, length) != 0) return false;
  in->at += length;
  return true;
}

static bool hex4(reader *in, uint32_t *out) {
  *out = 0;
  for (int i = 0; i < 4; i++) {
    if (in->at >= in->end) return false;
    uint8_t c = *in->at++;
    uint32_t digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10u : 16u;
    if (digit > 15) return false;
    *out = *out << 4 | digit;
  }
  return true;
}

static uint8_t *utf8(uint8_t *to, uint32_t c) {
  if (c < 0x80) {
    *to++ = (uint8_t)c;
  } else if (c < 0x800) {
    *to++ = (uint8_t)(0xC0 | c >> 6);
    *to++ = (uint8_t)(0x80 | (c & 63));
  } else if (c < 0x10000) {
    *to++ = (uint8_t)(0xE0 | c >> 12);
    *to++ = (uint8_t)(0x80 | (c >> 6 & 63));
    *to++ = (uint8_t)(0x80 | (c & 63));
  } else {
    *to++ = (uint8_t)(0xF0 | c >> 18);
    *to++ = (uint8_t)(0x80 | (c >> 12 & 63));
    *to++ = (uint8_t)(0x80 | (c >> 6 & 63));
    *to++ = (uint8_t)(0x80 | (c & 63));
  }
  return to;
}

/* \uXXXX, of which two make one character above U+FFFF. */
static bool unicode(reader *in, uint32_t *out) {
  uint32_t low;
  if (!hex4(in, out)) return false;
  if (*out < 0xD800 || *out > 0xDFFF) return true;
  if (*out > 0xDBFF || !word(in, "\\u") || !hex4(in, &low) || low < 0xDC00 || low > 0xDFFF) return false;
  *out = 0x10000 + ((*out - 0xD800) << 10) + (low - 0xDC00);
  return true;
}

/* The escape after a backslash. */
static bool escape(reader *in, uint8_t **to) {
  static const char FROM[] = "\"\\/bfnrt", INTO[] = "\"\\/\b\f\n\r\t";
  if (in->at >= in->end) return false;
  uint8_t c = *in->at++;
  if (c == 'u') {
    uint32_t point;
    if (!unicode(in, &point)) return false;
    *to = utf8(*to, point);
    return true;
  }
  const char *found = c == 0 ? NULL : strchr(FROM, c);
  if (found == NULL) return false;
  *(*to)++ = (uint8_t)INTO[found - FROM];
  return true;
}

static bool string(reader *in, tg_text *out) {
  if (!take(in, '"')) return false;
  const uint8_t *start = in->at, *stop = start;
  bool escaped = false;
  for (; stop < in->end && *stop != '"'; stop++) {
    if (*stop < 0x20) return false;
    if (*stop == '\\') escaped = true, stop++;
  }
  if (stop >= in->end) return false;
  if (!escaped) {
    *out = (tg_text){(uint8_t *)start, (size_t)(stop - start)};
    in->at = stop + 1;
    return true;
  }
  /* An escape is never shorter than what it stands for. */
  uint8_t *decoded = allocate((size_t)(stop - start)), *to = decoded;
  while (in->at < stop) {
    if (*in->at != '\\') {
      *to++ = *in->at++;
      continue;
    }
    in->at++;
    if (!escape(in, &to)) return false;
  }
  *out = (tg_text){decoded, (size_t)(to - decoded)};
  return take(in, '"');
}

static size_t digits(reader *in) {
  const uint8_t *start = in->at;
  while (in->at < in->end && *in->at >= '0' && *in->at <= '9') in->at++;
  return (size_t)(in->at - start);
}

static bool number(reader *in, tg_text *out) {
  const uint8_t *start = in->at;
  take(in, '-');
  bool zero = in->at < in->end && *in->at == '0';
  size_t whole = digits(in);
  if (whole == 0 || (zero && whole > 1)) return false;
  if (take(in, '.') && digits(in) == 0) return false;
  if (take(in, 'e') || take(in, 'E')) {
    if (!take(in, '+')) take(in, '-');
    if (digits(in) == 0) return false;
  }
  *out = (tg_text){(uint8_t *)start, (size_t)(in->at - start)};
  return true;
}

/* The children of an array or object, up to the closing bracket. */
static bool children(reader *in, tg_json *out, uint8_t close, int depth) {
  const tg_json **link = &out->first;
  in->at++;
  skip_space(in);
  if (take(in, close)) return true;
  do {
    tg_json *child = allocate(sizeof *child);
    skip_space(in);
    if (close == '}') {
      if (!string(in, &child->key) || tg_json_get_text(out, child->key) != NULL) return false;
      skip_space(in);
      if (!take(in, ':')) return false;
    }
    if (!value(in, child, depth + 1)) return false;
    *link = child;
    link = &child->next;
    out->count++;
    skip_space(in);
  } while (take(in, ','));
  return take(in, close);
}

static bool value(reader *in, tg_json *out, int depth) {
  skip_space(in);
  if (in->at >= in->end || depth > DEEPEST) return false;
  switch (*in->at) {
    case '{': out->kind = TG_OBJECT; return children(in, out, '}', depth);
    case '[': out->kind = TG_ARRAY; return children(in, out, ']', depth);
    case '"': out->kind = TG_STRING; return string(in, &out->text);
    case 't': out->kind = TG_TRUE; return word(in, "true");
    case 'f': out->kind = TG_FALSE; return word(in, "false");
    case 'n': out->kind = TG_NULL; return word(in, "null");
    default: out->kind = TG_NUMBER; return number(in, &out->text);
  }
}

const tg_json *tg_json_parse(tg_text text, tg_error *error) {
  reader in = {text.ptr, text.ptr + text.len};
  tg_json *root = allocate(sizeof *root);
  if (value(&in, root, 1)) {
    skip_space(&in);
    if (in.at == in.end) return root;
  }
  tg_refuse(error, TG_NOT_READY, "the configuration is no JSON, repeats a key, or nests deeper than 32");
  return NULL;
}

const tg_json *tg_json_get_text(const tg_json *object, tg_text key) {
  if (object == NULL || object->kind != TG_OBJECT) return NULL;
  const tg_json *child = object->first;
  while (child != NULL && !tg_equal(child->key, key)) child = child->next;
  return child;
}

const tg_json *tg_json_get(const tg_json *object, const char *key) {
  return tg_json_get_text(object, tg_text_of(key));
}

bool tg_json_whole(const tg_json *value, uint64_t from, uint64_t to, uint64_t *out) {
  if (value == NULL || value->kind != TG_NUMBER) return false;
  uint64_t sum = 0;
  for (size_t i = 0; i < value->text.len; i++) {
    uint8_t c = value->text.ptr[i];
    if (c < '0' || c > '9' || sum > (UINT64_MAX - 9) / 10) return false;
    sum = sum * 10 + (c - '0');
  }
  *out = sum;
  return sum >= from && sum <= to;
}

bool tg_json_only(const tg_json *object, const char *const *names, tg_error *error) {
  if (object->kind != TG_OBJECT) return tg_refuse(error, TG_NOT_READY, "the configuration must be an object");
  for (const tg_json *child = object->first; child != NULL; child = child->next) {
    const char *const *name = names;
    while (*name != NULL && !tg_is(child->key, *name)) name++;
    if (*name == NULL) return tg_refuse_text(error, TG_NOT_READY, "unknown key in the configuration: remove", child->key);
  }
  return true;
}
