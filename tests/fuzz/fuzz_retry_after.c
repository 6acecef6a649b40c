// SPDX-License-Identifier: MIT
// Any text as Retry-After, at any time, and as a set of response headers. The
// first eight bytes are the clock.
#include "base/mem.h"
#include "provider/classify.h"
#include <stdlib.h>
#include <string.h>

#define YEAR_MS (INT64_C(365) * 86400000)
#define LATEST_AT INT64_C(253402300799000) // the end of 9999

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Each header asked for gets the next line of the text.
static const char *next_line(void *payload, const char *name) {
    char **rest = payload;
    char *line = *rest;
    if (line == NULL || name[0] == '\0')
        return NULL;
    *rest = strchr(line, '\n');
    if (*rest != NULL)
        *(*rest)++ = '\0';
    return line;
}

static void check(int64_t wait_ms) {
    if (wait_ms < -1 || wait_ms > YEAR_MS)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int64_t now_at = 0;
    if (size < sizeof now_at)
        return 0;
    memcpy(&now_at, data, sizeof now_at);
    char *text = mem_copy_bytes(data + sizeof now_at, size - sizeof now_at);
    check(retry_after_parse(text, now_at));
    char *rest = text;
    check(retry_after_headers(next_line, &rest, now_at));
    free(text);
    if (now_at >= 0 && now_at <= LATEST_AT) {
        int64_t midnight_at = pacific_midnight_at(now_at);
        if (midnight_at <= now_at || midnight_at > now_at + INT64_C(25) * 3600000 ||
            midnight_at % 3600000 != 0)
            abort();
    }
    return 0;
}
