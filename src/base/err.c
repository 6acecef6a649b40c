// SPDX-License-Identifier: MIT
// Filling errors. A message is formatted into a local array first, because an
// argument may be the very message that is replaced, and escaped from there, so
// hostile text can break neither the line nor a terminal.
#include "base/err.h"
#include "base/text.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ERR_RAW_SIZE 2048 // more than a message holds: cutting is left to the escaping

static void err_store(struct err *e, const char *raw, int n) {
    size_t length = n < 0 ? 0 : (size_t)n;
    if (length >= ERR_RAW_SIZE) {
        length = ERR_RAW_SIZE - 1;
    }
    text_escape_array(e->message, sizeof e->message, raw, length);
}

static int err_format(struct err *e, enum err_code code, const char *field, const char *format, va_list args)
    __attribute__((format(printf, 4, 0)));
static int err_format(struct err *e, enum err_code code, const char *field, const char *format,
                      va_list args) {
    if (e) {
        char raw[ERR_RAW_SIZE];
        int n = vsnprintf(raw, sizeof raw, format, args);
        e->code = code;
        text_escape_array(e->field, sizeof e->field, field, strlen(field));
        err_store(e, raw, n);
    }
    return (int)code;
}

int err_set(struct err *e, enum err_code code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    err_format(e, code, "", format, args);
    va_end(args);
    return (int)code;
}

int err_in(struct err *e, enum err_code code, const char *field, const char *format, ...) {
    va_list args;
    va_start(args, format);
    err_format(e, code, field, format, args);
    va_end(args);
    return (int)code;
}

int err_prefix(struct err *e, const char *format, ...) {
    if (!e) {
        return ERR_OK;
    }
    char raw[ERR_RAW_SIZE];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(raw, sizeof raw / 2, format, args);
    va_end(args);
    size_t length = n < 0 ? 0 : (size_t)n;
    if (length > sizeof raw / 2 - 1) {
        length = sizeof raw / 2 - 1;
    }
    n = snprintf(raw + length, sizeof raw - length, ": %s", e->message);
    err_store(e, raw, n < 0 ? n : (int)length + n);
    return (int)e->code;
}

int err_field(struct err *e, const char *field) {
    if (!e) {
        return ERR_OK;
    }
    text_escape_array(e->field, sizeof e->field, field, strlen(field));
    return (int)e->code;
}
