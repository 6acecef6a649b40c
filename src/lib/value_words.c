// SPDX-License-Identifier: MIT
// Words about values of options: how a message shows one, and what an option accepts.
#include "base/clock.h"
#include "base/text.h"
#include "lib/options.h"
#include <string.h>

#define QUOTE_COLUMNS 40

bool option_looks_secret(const char *value) {
    static const char *const starts[] = {"sk-",  "sk_",  "Bearer ", "Basic ", "ghp_", "github_pat_", "hf_",
                                         "AIza", "xai-", "gsk_",    "AKIA",   "r8_",  "eyJ",         "gr_"};
    if (strlen(value) < 20) {
        return false;
    }
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        if (text_starts_with(value, starts[i])) {
            return true;
        }
    }
    return false;
}

void option_quote(struct buf *out, const char *value) {
    if (option_looks_secret(value)) {
        buf_text(out, "the value");
        return;
    }
    buf_char(out, '\'');
    text_escape(out, value, strlen(value), QUOTE_COLUMNS);
    buf_char(out, '\'');
}

void option_write_list(struct buf *out, const char *const *words, size_t count) {
    for (size_t i = 0; i < count; i++) {
        buf_format(out, "%s%s", i == 0 ? "" : i + 1 == count ? " or " : ", ", words[i]);
    }
}

void option_write_size(struct buf *out, int64_t bytes) {
    static const char units[] = "KMG";
    int unit = -1;
    while (unit < 2 && bytes > 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    buf_format(out, "%lld", (long long)bytes);
    if (unit >= 0) {
        buf_char(out, units[unit]);
    }
}

static void write_limit(struct buf *out, enum option_type type, int64_t limit) {
    char duration[64];
    if (type == OPTION_DURATION) {
        clock_format_duration(limit, duration, sizeof duration);
        buf_text(out, duration);
    } else if (type == OPTION_SIZE) {
        option_write_size(out, limit);
    } else {
        buf_format(out, "%lld", (long long)limit);
    }
}

// What a value is called, and whether its limits are told.
static const struct {
    const char *noun;
    bool has_limits;
} type_words[] = {
    [OPTION_TEXT] = {"text", false},
    [OPTION_PATH] = {"path", false},
    [OPTION_URL] = {"URL (http or https)", false},
    [OPTION_ENDPOINT] = {"path of a URL", false},
    [OPTION_VARIABLE] = {"name of an environment variable", false},
    [OPTION_PROVIDER] = {"name of a provider", false},
    [OPTION_HOOK] = {"URL (http or https)", false},
    [OPTION_WORDS] = {"words with blanks between them", false},
    [OPTION_EVENTS] = {"names of events with blanks between them", false},
    [OPTION_LISTEN] = {"address and port", false},
    [OPTION_NUMBER] = {"whole number", true},
    [OPTION_BIG] = {"whole number", true},
    [OPTION_DURATION] = {"duration", true},
    [OPTION_SIZE] = {"size", true},
    [OPTION_PRICE] = {"number", true},
    [OPTION_HEADER] = {"text", false},
    [OPTION_SECRET] = {"nothing", false},
    [OPTION_COMMAND] = {"program and its arguments", false},
    [OPTION_NAMES] = {"names of environment variables", false},
    [OPTION_ORIGINS] = {"origins such as https://app.example.org", false},
};

void option_describe(const struct option *option, struct buf *out) {
    static const char *const actions[] = {"wait", "retry", "park", "fail"};
    size_t count = 0;
    switch (option->type) {
    case OPTION_FLAG:
    case OPTION_CHOICE:
        while (option->choices[count] != NULL) {
            count++;
        }
        option_write_list(out, option->choices, count);
        return;
    case OPTION_STATUS:
    case OPTION_EXIT:
        option_write_list(out, actions, sizeof actions / sizeof *actions);
        buf_format(out, ", %s from %lld to %lld", strchr(option->info.name, '.') + 1,
                   (long long)option->minimum, (long long)option->maximum);
        return;
    default:
        buf_text(out, type_words[option->type].noun);
    }
    if (type_words[option->type].has_limits) {
        buf_text(out, " from ");
        write_limit(out, option->type, option->minimum);
        buf_text(out, " to ");
        write_limit(out, option->type, option->maximum);
    }
}
