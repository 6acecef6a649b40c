// SPDX-License-Identifier: MIT
// Lines go to the head until it is full, then round and round the tail.
#include "provider/said.h"

#include "base/text.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

void said_init(struct said *said, said_mask mask, const void *payload) {
    said->mask = mask;
    said->payload = payload;
    said->head_length = 0;
    said->beyond = 0;
    said->after_return = false;
    buf_init(&said->line, SAID_TAIL);
}

void said_free(struct said *said) {
    buf_free(&said->line);
}

static void keep(struct said *said, const char *bytes, size_t length) {
    size_t room = SAID_HEAD - said->head_length;
    size_t first = length < room ? length : room;
    memcpy(said->head + said->head_length, bytes, first);
    said->head_length += first;
    for (size_t i = first; i < length; i++)
        said->tail[said->beyond++ % SAID_TAIL] = bytes[i];
}

// "progress 40%", but not "progress file is missing".
static bool is_progress(const char *line) {
    size_t word = strlen("progress"),
           gap = text_starts_with(line, "progress") ? strspn(line + word, " :") : 0;
    return gap > 0 && isdigit((unsigned char)line[word + gap]);
}

static void mask_line(struct said *said) {
    if (said->mask && said->line.length)
        said->mask(said->payload, said->line.data);
}

static void close_line(struct said *said) {
    mask_line(said);
    if (said->line.length && !is_progress(said->line.data)) {
        keep(said, said->line.data, said->line.length);
        keep(said, "\n", 1);
    }
    buf_clear(&said->line);
}

// Of a line without end: what came last may be the first part of a secret, and stays.
static void cut_line(struct said *said) {
    size_t whole = said->line.length - SAID_SECRET;
    mask_line(said);
    keep(said, said->line.data, whole);
    buf_drop(&said->line, whole);
}

void said_add(struct said *said, const char *bytes, size_t length) {
    for (size_t i = 0; i < length; i++) {
        char c = bytes[i] ? bytes[i] : ' ';
        if (said->after_return && c != '\n')
            buf_clear(&said->line);
        said->after_return = c == '\r';
        if (c == '\n')
            close_line(said);
        else if (c != '\r') {
            if (said->line.length == SAID_TAIL)
                cut_line(said);
            buf_char(&said->line, c);
        }
    }
}

static void write_tail(const struct said *said, struct buf *out) {
    size_t length = said->beyond < SAID_TAIL ? (size_t)said->beyond : SAID_TAIL;
    for (uint64_t at = said->beyond - length; at < said->beyond; at++)
        buf_char(out, said->tail[at % SAID_TAIL]);
}

void said_write(struct said *said, struct buf *out) {
    close_line(said);
    buf_append(out, said->head, said->head_length);
    if (said->beyond > SAID_TAIL)
        buf_format(out, "\n[%llu bytes left out]\n", (unsigned long long)(said->beyond - SAID_TAIL));
    write_tail(said, out);
}

void said_write_end(struct said *said, size_t most, struct buf *out) {
    struct buf all;
    close_line(said);
    buf_init(&all, BUF_UNLIMITED);
    if (said->beyond < most)
        buf_append(&all, said->head, said->head_length);
    write_tail(said, &all);
    buf_char(&all, '\0');
    char *end = text_trim(all.data + strspn(all.data, "\n"));
    size_t length = strlen(end);
    if (length > most) {
        end += length - most;
        while (((unsigned char)*end & 0xc0) == 0x80)
            end++;
        buf_text(out, "\xe2\x80\xa6");
    }
    buf_text(out, end);
    buf_free(&all);
}
