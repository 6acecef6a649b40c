// SPDX-License-Identifier: MIT
// Reading JSON: the checked parse, the getters, and the two functions that work
// on the text itself, so that what they do not touch survives byte for byte.
// Those trust the text: it has passed the check before.
#include "base/json.h"
#include "base/json_check.h"
#include "base/mem.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define INTEGER_LAST 9007199254740991.0 // 2^53 - 1

int json_parse(const char *text, size_t length, cJSON **out, struct err *e) {
    *out = NULL;
    int rc = json_check(text, length, e);
    if (rc) {
        return rc;
    }
    const char *end = NULL;
    *out = cJSON_ParseWithLengthOpts(text, length, &end, 0);
    if (!*out) {
        return err_set(e, ERR_INVALID, "a JSON text of %zu bytes could not be held in memory: split it",
                       length);
    }
    return ERR_OK;
}

static int compare_keys(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// A key that the object names twice, or NULL. Sorted, because a hostile object has a million.
static const char *find_duplicate(const cJSON *object) {
    const cJSON *member;
    const char *few[32], **keys = few, *found = NULL;
    size_t count = 0, n = 0;
    cJSON_ArrayForEach(member, object) {
        count++;
    }
    if (count > sizeof few / sizeof few[0]) {
        keys = mem_alloc(count, sizeof *keys);
    }
    cJSON_ArrayForEach(member, object) {
        keys[n++] = member->string;
    }
    qsort(keys, count, sizeof *keys, compare_keys);
    for (size_t i = 1; i < count && !found; i++) {
        found = strcmp(keys[i - 1], keys[i]) == 0 ? keys[i] : NULL;
    }
    if (keys != few) {
        free(keys);
    }
    return found;
}

int json_parse_object(const char *text, size_t length, cJSON **out, struct err *e) {
    int rc = json_parse(text, length, out, e);
    if (rc) {
        return rc;
    }
    const char *duplicate = NULL;
    if (!cJSON_IsObject(*out)) {
        rc = err_set(e, ERR_INVALID, "the JSON is not an object: put it in { }");
    } else if ((duplicate = find_duplicate(*out))) {
        rc = err_set(e, ERR_INVALID, "the JSON object names \"%.100s\" twice: keep one", duplicate);
    }
    if (rc) {
        cJSON_Delete(*out);
        *out = NULL;
    }
    return rc;
}

// ---- getters ----

const cJSON *json_get(const cJSON *object, const char *key) {
    return cJSON_IsObject(object) ? cJSON_GetObjectItemCaseSensitive(object, key) : NULL;
}

const char *json_text(const cJSON *object, const char *key, const char *fallback) {
    const cJSON *item = json_get(object, key);
    return cJSON_IsString(item) ? item->valuestring : fallback;
}

double json_number(const cJSON *object, const char *key, double fallback) {
    const cJSON *item = json_get(object, key);
    return cJSON_IsNumber(item) && isfinite(item->valuedouble) ? item->valuedouble : fallback;
}

int64_t json_integer(const cJSON *object, const char *key, int64_t fallback) {
    const cJSON *item = json_get(object, key);
    double value = cJSON_IsNumber(item) ? item->valuedouble : NAN;
    if (!(value >= -INTEGER_LAST && value <= INTEGER_LAST) || value != (double)(int64_t)value) {
        return fallback;
    }
    return (int64_t)value; // never valueint: it stops at 2^31
}

bool json_bool(const cJSON *object, const char *key, bool fallback) {
    const cJSON *item = json_get(object, key);
    return cJSON_IsBool(item) ? cJSON_IsTrue(item) : fallback;
}

// ---- the raw text ----

static const char *skip_blanks(const char *p) {
    while (json_is_blank(*p)) {
        p++;
    }
    return p;
}

// From the opening quote to the byte after the closing one.
static const char *skip_string(const char *p) {
    for (p++; *p != '"';) {
        p += strcspn(p, "\"\\");
        if (*p == '\\' && p[1]) {
            p += 2;
        } else if (*p != '"') {
            return p; // the text is cut: it never passed the check
        }
    }
    return p + 1;
}

// From the first byte of a value to the byte after its last.
static const char *skip_value(const char *p) {
    if (*p == '"') {
        return skip_string(p);
    }
    if (*p != '{' && *p != '[') {
        return p + strcspn(p, ",]} \n\r\t");
    }
    size_t depth = 0;
    do {
        if (*p == '"') {
            p = skip_string(p);
            continue;
        }
        depth += *p == '{' || *p == '[';
        depth -= *p == '}' || *p == ']';
        p++;
        p += depth ? strcspn(p, "\"{}[]") : 0;
    } while (depth && *p);
    return p;
}

// Reads one character of the text of a string, as UTF-8 into `out`; returns its bytes there.
static size_t decode_one(const char **p, char out[4]) {
    const char *s = *p;
    if (*s != '\\') {
        out[0] = *s;
        *p = s + 1;
        return 1;
    }
    static const char names[] = "bfnrt", values[] = "\b\f\n\r\t";
    if (s[1] != 'u') {
        const char *name = strchr(names, s[1]);
        out[0] = name ? values[name - names] : s[1];
        *p = s + 2;
        return 1;
    }
    uint32_t c = 0;
    for (int i = 2; i < 6; i++) {
        c = c << 4 | (json_hex(s[i]) & 15);
    }
    s += 6;
    if (c >= 0xD800 && c <= 0xDBFF) { // the check has seen to the other half
        uint32_t low = 0;
        for (int i = 2; i < 6; i++) {
            low = low << 4 | (json_hex(s[i]) & 15);
        }
        c = 0x10000 + ((c & 0x3FF) << 10 | (low & 0x3FF));
        s += 6;
    }
    *p = s;
    size_t size = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char leads[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = size - 1; i > 0; i--, c >>= 6) {
        out[i] = (char)(0x80 | (c & 0x3F));
    }
    out[0] = (char)(leads[size] | c);
    return size;
}

// True when the string from its opening quote to `end` (the byte after the closing one) says `key`.
static bool string_equals(const char *p, const char *end, const char *key) {
    size_t key_length = strlen(key);
    p++;
    end--;
    if (!memchr(p, '\\', (size_t)(end - p))) {
        return (size_t)(end - p) == key_length && memcmp(p, key, key_length) == 0;
    }
    const char *key_end = key + key_length;
    while (p < end) {
        char out[4];
        size_t size = decode_one(&p, out);
        if ((size_t)(key_end - key) < size || memcmp(key, out, size) != 0) {
            return false;
        }
        key += size;
    }
    return key == key_end;
}

struct member {
    const char *key, *key_end;     // with the quotes
    const char *value, *value_end; // without blanks
};

// Reads the member at *p (blanks before it are fine) and moves *p to the comma or brace that ends
// it; false where there is none.
static bool next_member(const char **p, struct member *m) {
    m->key = skip_blanks(*p);
    if (*m->key != '"') {
        return false;
    }
    m->key_end = skip_string(m->key);
    m->value = skip_blanks(m->key_end);
    m->value = skip_blanks(m->value + (*m->value == ':'));
    m->value_end = skip_value(m->value);
    *p = skip_blanks(m->value_end);
    return true;
}

bool json_raw_member(const char *text, const char *key, const char **start, size_t *length) {
    const char *p = skip_blanks(text);
    if (*p != '{') {
        return false;
    }
    struct member m;
    for (p++; next_member(&p, &m); p++) {
        if (string_equals(m.key, m.key_end, key)) {
            *start = m.value;
            *length = (size_t)(m.value_end - m.value);
            return true;
        }
        if (*p != ',') {
            break;
        }
    }
    return false;
}

bool json_next_raw(const char *text, const char **at, const char **start, size_t *length) {
    const char *p = *at ? *at : skip_blanks(text);
    struct member m;
    if (*p != (*at ? ',' : '{')) {
        return false;
    }
    p++;
    if (!next_member(&p, &m)) {
        return false;
    }
    *start = m.value;
    *length = (size_t)(m.value_end - m.value);
    *at = p;
    return true;
}

static bool is_dropped(const struct member *m, const char *const *drop) {
    for (; drop && *drop; drop++) {
        if (string_equals(m->key, m->key_end, *drop)) {
            return true;
        }
    }
    return false;
}

void json_object_edit(struct buf *out, const char *text, const char *const *drop, const char *extra) {
    const char *p = skip_blanks(text);
    if (*p != '{') { // never passed the check: do not make it worse
        buf_text(out, text);
        return;
    }
    p++;
    buf_append(out, text, (size_t)(p - text));
    const char *run = NULL; // where the members not yet copied begin; with their commas they are one run
    bool any = false;       // a member was kept
    struct member m;
    const char *first = p;
    while (next_member(&p, &m)) {
        if (!is_dropped(&m, drop)) {
            run = run ? run : first;
        } else if (run) {
            buf_append(out, run, (size_t)(first - 1 - run)); // up to the comma before this one
            run = NULL;
        }
        if (run == first && any) {
            buf_char(out, ',');
        }
        any = any || run;
        if (*p != ',') {
            break;
        }
        first = ++p;
    }
    if (run) {
        buf_append(out, run, (size_t)(p - run));
    }
    if (extra && *extra) {
        if (any) {
            buf_char(out, ',');
        }
        buf_text(out, extra);
    }
    buf_text(out, p);
}
