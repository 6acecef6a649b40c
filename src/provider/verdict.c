// SPDX-License-Identifier: MIT
// Puts a verdict into words: one line that names the status, the server's code and
// what the server said, without credentials and control characters.
#include "provider/verdict.h"

#include "base/text.h"
#include "provider/redact.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *const action_names[] = {
    [VERDICT_FAIL] = "fail", [VERDICT_RETRY] = "retry", [VERDICT_WAIT] = "wait", [VERDICT_PARK] = "park"};

const char *verdict_action_name(enum verdict_action action) {
    return (size_t)action < COUNT(action_names) ? action_names[action] : "fail";
}

bool verdict_action_parse(const char *name, enum verdict_action *out) {
    for (size_t i = 0; i < COUNT(action_names); i++) {
        if (name != NULL && strcasecmp(name, action_names[i]) == 0) {
            *out = (enum verdict_action)i;
            return true;
        }
    }
    return false;
}

// Appends one line without credentials; true when there was anything to say.
static bool add_line(struct buf *out, const char *text) {
    struct buf line, safe;
    buf_init(&line, BUF_UNLIMITED);
    buf_init(&safe, BUF_UNLIMITED);
    for (const char *p = text; *p != '\0'; p++) { // runs of blanks become one, none at the ends
        if (!isspace((unsigned char)*p))
            buf_char(&line, *p);
        else if (line.length > 0 && !isspace((unsigned char)p[1]) && p[1] != '\0')
            buf_char(&line, ' ');
    }
    redact_append(&safe, buf_borrow(&line), line.length);
    text_escape(out, buf_borrow(&safe), safe.length, 0);
    bool any = line.length > 0;
    buf_free(&line);
    buf_free(&safe);
    return any;
}

// Stores the text in the verdict, cut at the border of a character.
static void set_message(struct verdict *out, const struct buf *text) {
    size_t length = text->length;
    if (length >= sizeof out->message) {
        static const char ellipsis[] = "\xe2\x80\xa6";
        length = sizeof out->message - sizeof ellipsis;
        while (length > 0 && ((unsigned char)text->data[length] & 0xc0) == 0x80)
            length--;
        memcpy(out->message + length, ellipsis, sizeof ellipsis);
    } else {
        out->message[length] = '\0';
    }
    if (length > 0)
        memcpy(out->message, text->data, length);
}

void verdict_write_http(struct verdict *out, const struct failure *failure, int status,
                        const struct error_body *body) {
    struct buf text;
    buf_init(&text, BUF_UNLIMITED);
    const char *name = out->code[0] != '\0' && !isdigit((unsigned char)out->code[0]) ? out->code : out->type;
    if (failure->http_status >= 300)
        buf_format(&text, "HTTP %d", failure->http_status);
    else if (status > 0)
        buf_format(&text, "error %d in the answer", status);
    else
        buf_text(&text, "error in the answer");
    if (failure->http_status >= 200 && failure->http_status < 300)
        buf_format(&text, " of HTTP %d", failure->http_status);
    if (name[0] != '\0')
        buf_format(&text, " %s", name);
    buf_text(&text, ": ");
    // a body without error after a 2xx is an answer, and no reason
    const char *own = failure->message != NULL ? failure->message : "";
    bool is_reason = body->is_error || failure->http_status >= 300;
    if (!add_line(&text, is_reason ? body->message : own) &&
        !add_line(&text, is_reason ? own : body->message))
        buf_text(&text, "the server gave no reason");
    set_message(out, &text);
    buf_free(&text);
}

void verdict_write_plain(struct verdict *out, const char *message, const char *fallback) {
    struct buf text;
    buf_init(&text, BUF_UNLIMITED);
    if (message == NULL || !add_line(&text, message))
        buf_text(&text, fallback);
    set_message(out, &text);
    buf_free(&text);
}

void verdict_write_word(char out[64], const char *word) {
    struct buf text;
    buf_init(&text, BUF_UNLIMITED);
    redact_append(&text, word, strlen(word));
    snprintf(out, 64, "%s", buf_borrow(&text));
    for (size_t n = strlen(out); n > 0 && !text_is_utf8(out, n); n--) // cut inside a character
        out[n - 1] = '\0';
    buf_free(&text);
}
