// SPDX-License-Identifier: MIT
// The list of mistakes that a configuration is refused with. err_set() makes one
// line of every message, so the report is put together here, line by line.
#include "lib/mistakes.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TAIL_ROOM 48 // bytes left free for "\n… and N more mistakes"

void mistakes_add(struct mistakes *m, const char *format, ...) {
    if (m->count++ >= MISTAKES_KEPT) {
        return;
    }
    char line[sizeof((struct err *)0)->message];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    struct buf safe;
    buf_init(&safe, BUF_UNLIMITED);
    text_escape(&safe, line, strlen(line), 0);
    m->lines[m->count - 1] = buf_take(&safe);
}

int mistakes_report(const struct mistakes *m, struct err *e) {
    if (m->count == 0) {
        return ERR_OK;
    }
    if (e == NULL) {
        return ERR_CONFIG;
    }
    e->code = ERR_CONFIG;
    struct buf text;
    buf_init(&text, BUF_UNLIMITED);
    size_t shown = 0;
    for (; shown < m->count && shown < MISTAKES_KEPT; shown++) {
        const char *line = m->lines[shown];
        bool last = shown + 1 == m->count;
        size_t room = sizeof e->message - 1 - (last ? 0 : TAIL_ROOM);
        if (shown > 0 && text.length + 1 + strlen(line) > room) {
            break;
        }
        buf_format(&text, "%s%s", shown > 0 ? "\n" : "", line);
        if (text.length > room) { // a first line longer than everything: cut between characters
            size_t length = room - strlen("…");
            while (length > 0 && ((unsigned char)text.data[length] & 0xC0) == 0x80) {
                length--;
            }
            text.length = length;
            text.data[length] = '\0';
            buf_text(&text, "…");
        }
    }
    if (shown < m->count) {
        size_t left = m->count - shown;
        buf_format(&text, "\n… and %zu more mistake%s", left, left == 1 ? "" : "s");
    }
    snprintf(e->message, sizeof e->message, "%s", buf_borrow(&text));
    buf_free(&text);
    return ERR_CONFIG;
}

void mistakes_clear(struct mistakes *m) {
    for (size_t i = 0; i < m->count && i < MISTAKES_KEPT; i++) {
        free(m->lines[i]);
    }
    memset(m, 0, sizeof *m);
}
