// SPDX-License-Identifier: MIT
// A provider's stream, as hostile as it likes: events, their chunks put together, and the answer read back.
// The first byte says where the bytes are split.
#include "base/json.h"
#include "base/mem.h"
#include "provider/answer.h"
#include "provider/completion.h"
#include "provider/sse.h"
#include <stdint.h>
#include <stdlib.h>

static bool add_chunk(void *payload, const char *type, const char *data, size_t length) {
    (void)type;
    struct err e;
    cJSON *root = NULL;
    size_t content_bytes;
    bool ok = !json_parse(data, length, &root, &e) && cJSON_IsObject(root) &&
              !completion_add(payload, data, root, &content_bytes, &e);
    cJSON_Delete(root);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    if (!size)
        return 0;
    size_t step = *bytes ? *bytes : 1;
    struct completion *completion = completion_new(20000);
    struct sse sse;
    sse_init(&sse, 10000, add_chunk, completion);
    bool ok = true;
    for (size_t at = 1; at < size && ok; at += step)
        ok = sse_feed(&sse, (const char *)bytes + at, size - at < step ? size - at : step);
    if (ok)
        sse_end(&sse);
    struct buf body;
    buf_init(&body, BUF_UNLIMITED);
    completion_write(completion, &body);
    // Whatever came, what is written is JSON, and can be read as an answer.
    cJSON *root = NULL;
    struct err e;
    if (json_parse(body.data, body.length, &root, &e))
        abort();
    cJSON_Delete(root);
    struct outcome *outcome = outcome_new();
    size_t length = body.length;
    answer_read(REQUEST_CHAT, buf_take(&body), length, outcome);
    outcome_free(outcome);
    sse_free(&sse);
    completion_free(completion);
    return 0;
}
