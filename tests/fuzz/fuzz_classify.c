// SPDX-License-Identifier: MIT
// Any body, message and status as a failure. Whatever comes, the verdict has an
// action, a type of the promised list, a wait within a year and one line of valid
// text that does not repeat the key. The first four bytes choose kind, status and
// Retry-After; a NUL parts message and body.
#include "base/mem.h"
#include "base/text.h"
#include "provider/classify.h"
#include <stdlib.h>
#include <string.h>

#define YEAR_MS (INT64_C(365) * 86400000)
#define NOW INT64_C(1767225600000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const error_types[] = {
    "RateLimitError",        "AuthenticationError",  "QuotaError",          "TimeoutError",
    "NetworkError",          "ModelGenerationError", "InvalidRequestError", "ContentFilterError",
    "HeartbeatTimeoutError", "RunnerCrashError",     "CommandError",        "CancelledError",
    "ConfigurationError",    "OperatorError",        "DeadlineError",       "InternalError",
};

static void require(bool condition) {
    if (!condition)
        abort();
}

static bool is_promised(const char *error_type) {
    for (size_t i = 0; i < sizeof error_types / sizeof error_types[0]; i++) {
        if (strcmp(error_type, error_types[i]) == 0)
            return true;
    }
    return false;
}

static void check_line(const char *text, size_t room) {
    size_t length = strnlen(text, room);
    require(length < room && text_is_utf8(text, length));
    for (size_t i = 0; i < length; i++)
        require((unsigned char)text[i] >= 0x20 && text[i] != 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const int statuses[] = {0,   200, 301, 400, 401, 402, 403, 404, 408, 409, 413,
                                   422, 429, 499, 500, 501, 502, 503, 504, 521, 529, 777};
    static const int64_t waits[] = {-1, 0, 1500, 7200000, INT64_MAX, INT64_MIN};
    if (size < 4)
        return 0;
    struct model_status_rule rule = {429, (enum verdict_action)(data[3] % 4)};
    struct model model = {.status_rules = &rule, .status_rule_count = 1};
    struct failure failure = {.kind = (enum failure_kind)(data[0] % (FAILURE_SCRIPTED + 2)),
                              .http_status = statuses[data[1] % (sizeof statuses / sizeof statuses[0])],
                              .retry_after_ms = waits[data[2] % (sizeof waits / sizeof waits[0])]};
    if (data[0] >= 128) // the kinds that read the body deserve most of the time
        failure.kind = data[0] >= 140 ? FAILURE_HTTP : FAILURE_BAD_RESPONSE;
    char *body = mem_copy_bytes(data + 4, size - 4);
    size_t length = strlen(body);
    char *message = length < size - 4 ? mem_copy_bytes(data + 5 + length, size - 5 - length) : NULL;
    failure.body = body;
    failure.message = message;
    failure.type = message;
    struct verdict v;
    memset(&v, 0xa5, sizeof v);
    classify(&failure, data[3] & 4 ? &model : NULL, NOW, &v);
    require(v.error_type != NULL && is_promised(v.error_type));
    require(v.action == VERDICT_FAIL || v.action == VERDICT_RETRY || v.action == VERDICT_WAIT ||
            v.action == VERDICT_PARK);
    require(v.wait_ms >= -1 && v.wait_ms <= YEAR_MS);
    require(v.action != VERDICT_FAIL || v.wait_ms == -1);
    require(v.message[0] != '\0');
    check_line(v.message, sizeof v.message);
    check_line(v.code, sizeof v.code);
    check_line(v.type, sizeof v.type);
    free(body);
    free(message);
    return 0;
}
