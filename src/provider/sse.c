// SPDX-License-Identifier: MIT
// The incremental parser of server-sent events.
#include "provider/sse.h"

#include <string.h>

#define TYPE_MAXIMUM 256

void sse_init(struct sse *sse, size_t maximum, sse_on_event on_event, void *payload) {
    memset(sse, 0, sizeof *sse);
    buf_init(&sse->line, maximum);
    buf_init(&sse->data, maximum);
    buf_init(&sse->type, TYPE_MAXIMUM);
    sse->on_event = on_event;
    sse->payload = payload;
}

void sse_free(struct sse *sse) {
    buf_free(&sse->line);
    buf_free(&sse->data);
    buf_free(&sse->type);
}

static bool dispatch(struct sse *sse) {
    bool go_on = true;
    if (sse->data.length) {
        sse->data.data[--sse->data.length] = '\0'; // the LF after the last line
        go_on = sse->on_event(sse->payload, buf_borrow(&sse->type), sse->data.data, sse->data.length);
    }
    buf_clear(&sse->data);
    buf_clear(&sse->type);
    return go_on;
}

static bool end_line(struct sse *sse) {
    const char *line = buf_borrow(&sse->line);
    size_t length = sse->line.length;
    if (!sse->first_line_done && length >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0) {
        line += 3;
        length -= 3;
    }
    sse->first_line_done = true;
    bool go_on = true;
    const char *colon = length ? memchr(line, ':', length) : NULL;
    size_t name_length = colon ? (size_t)(colon - line) : length;
    const char *value = colon ? colon + 1 : line + length;
    if (colon && value < line + length && *value == ' ')
        value++;
    size_t value_length = (size_t)(line + length - value);
    if (!length) {
        go_on = dispatch(sse);
    } else if (name_length == 4 && memcmp(line, "data", 4) == 0) {
        go_on = buf_append(&sse->data, value, value_length) && buf_char(&sse->data, '\n');
    } else if (name_length == 5 && memcmp(line, "event", 5) == 0) {
        buf_clear(&sse->type);
        if (!buf_append(&sse->type, value, value_length)) { // a name beyond all sense is none we know
            buf_clear(&sse->type);
            buf_text(&sse->type, "?");
        }
    }
    buf_clear(&sse->line);
    return go_on;
}

bool sse_feed(struct sse *sse, const char *bytes, size_t length) {
    const char *end = bytes + length;
    while (bytes < end) {
        if (sse->after_cr) {
            sse->after_cr = false;
            if (*bytes == '\n') {
                bytes++;
                continue;
            }
        }
        const char *stop = bytes;
        while (stop < end && *stop != '\n' && *stop != '\r')
            stop++;
        if (stop > bytes && !buf_append(&sse->line, bytes, (size_t)(stop - bytes)))
            return false;
        if (stop == end)
            break;
        sse->after_cr = *stop == '\r';
        bytes = stop + 1;
        if (!end_line(sse))
            return false;
    }
    return true;
}

bool sse_end(struct sse *sse) {
    return (!sse->line.length || end_line(sse)) && dispatch(sse);
}
