// SPDX-License-Identifier: MIT
// What the members of `parameters` tell the echo model to do (documented in echo.c).
#ifndef GENRUN_PROVIDER_SCRIPT_H
#define GENRUN_PROVIDER_SCRIPT_H

#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum script_hang { HANG_NEVER, HANG_CONNECT, HANG_STREAM };

struct script {
    int64_t delay_ms;
    size_t chunks;          // at least 1
    const char *fail;       // an error type, a literal; NULL: succeed
    int64_t fail_times;     // fail on the first so many starts only; -1: on every one
    int64_t retry_after_ms; // -1: none
    size_t repeat;
    enum script_hang hang;
    bool crash;
    int64_t block_ms;
    char *text; // the text to answer, when the prompt had to be found in a request body; freed by the owner
    size_t text_length;
};

// Reads `parameters` (a JSON object; NULL or "{}" costs nothing). `find_text`: there is no prompt, so the
// text is looked for in the body: the last message's content, or `prompt`, or `input`. ERR_INVALID with a
// message that names the member and says what it may be.
int script_read(const char *parameters, bool find_text, struct script *out, struct err *e) must_check;

#endif
