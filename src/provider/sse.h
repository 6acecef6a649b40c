// SPDX-License-Identifier: MIT
// Server-sent events, parsed as the bytes arrive: the grammar of the WHATWG HTML
// standard, section 9.2.6 (lines end in CR, LF or CRLF, a leading BOM is dropped,
// comments, data of several lines), whatever way the bytes are split. `id` and
// `retry` are for reconnecting clients and are ignored.
#ifndef GENRUN_PROVIDER_SSE_H
#define GENRUN_PROVIDER_SSE_H

#include "base/buf.h"

// An event: its type ("" when none was given) and its data, NUL-terminated beyond length.
// Returns false to stop the parser.
typedef bool (*sse_on_event)(void *payload, const char *type, const char *data, size_t length);

struct sse {
    struct buf line; // the line so far
    struct buf data; // the event so far, an LF after each line
    struct buf type;
    bool after_cr; // an LF now belongs to the CR before it
    bool first_line_done;
    sse_on_event on_event;
    void *payload;
};

// `maximum`: bytes of one event.
void sse_init(struct sse *sse, size_t maximum, sse_on_event on_event, void *payload);
void sse_free(struct sse *sse);
// False: an event is larger than the maximum, or on_event said so.
bool sse_feed(struct sse *sse, const char *bytes, size_t length);
// The stream ended whole: dispatches what stands. The standard drops an event without its empty line, but
// servers that close right after "data: [DONE]" mean it.
bool sse_end(struct sse *sse);

#endif
