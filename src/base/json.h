// SPDX-License-Identifier: MIT
// JSON: checked parsing and getters over cJSON, and a writer. cJSON cuts strings
// at \u0000, rounds large integers and accepts trailing garbage, so text from
// outside goes through json_parse, and JSON that must survive byte for byte is
// kept as text and never printed again from a tree.
#ifndef GENRUN_BASE_JSON_H
#define GENRUN_BASE_JSON_H

#include "base/buf.h"
#include "base/err.h"
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

// Parses exactly one JSON value. Refused with ERR_INVALID and a reason: invalid UTF-8, a NUL
// byte or \u0000, half a surrogate pair, anything but blanks after the value, raw control
// characters in strings, nesting deeper than 64, numbers that are not JSON, that overflow a double or
// take more than 63 characters, a byte order mark. The reason names the byte, counted from 1.
// `text` needs no NUL at its end. The caller frees *out with cJSON_Delete; it is NULL on an error.
#define JSON_DEPTH 64
int json_parse(const char *text, size_t length, cJSON **out, struct err *e) must_check;
// As json_parse, and refuses what is not an object, or an object that names a key twice at its top.
int json_parse_object(const char *text, size_t length, cJSON **out, struct err *e) must_check;

// Getters: case-sensitive, NULL-safe, the fallback when absent or of another type.
const cJSON *json_get(const cJSON *object, const char *key);
const char *json_text(const cJSON *object, const char *key, const char *fallback);
double json_number(const cJSON *object, const char *key, double fallback);
// Whole numbers below 2^53 in size: from there on a double stands for several.
int64_t json_integer(const cJSON *object, const char *key, int64_t fallback);
bool json_bool(const cJSON *object, const char *key, bool fallback);

// Finds the raw text of a top-level member of an object, exactly as written (so big numbers,
// key order and escapes survive). Returns false when the key is absent. `text` must have
// passed json_parse_object.
bool json_raw_member(const char *text, const char *key, const char **start, size_t *length);
// Goes through the raw texts of all top-level members in their order, which is that of the parsed tree: *at is NULL
// at first. False after the last. (json_raw_member for each of them would take the square of their number.)
bool json_next_raw(const char *text, const char **at, const char **start, size_t *length);
// Appends the object `text` to `out` with the top-level members in `drop` (NULL-terminated list)
// left out and `extra` ("\"k\":v,\"k2\":v2", may be NULL or "") added at the end; every other byte is kept.
void json_object_edit(struct buf *out, const char *text, const char *const *drop, const char *extra);

// Writer: appends one escaped string with quotes; a byte that is not UTF-8, and NUL, becomes U+FFFD,
// so that whatever is written passes json_parse.
void json_write_text(struct buf *out, const char *text);
void json_write_bytes(struct buf *out, const char *bytes, size_t length);
void json_write_number(struct buf *out, double value); // null when not finite
// Appends ,"key": (without the comma right after { or [).
void json_write_key(struct buf *out, const char *key);
void json_write_member_text(struct buf *out, const char *key, const char *text); // null for NULL
void json_write_member_integer(struct buf *out, const char *key, int64_t value);
void json_write_member_number(struct buf *out, const char *key, double value); // null when not finite
void json_write_member_bool(struct buf *out, const char *key, bool value);
void json_write_member_raw(struct buf *out, const char *key, const char *raw); // null for NULL

#endif
