// SPDX-License-Identifier: MIT
#include "lib/section.h"
#include "base/mem.h"
#include "base/text.h"
#include "lib/options.h"
#include <stdlib.h>
#include <string.h>

#define SECTIONS_MAXIMUM 32
#define NAME_MAXIMUM 64 // of a webhook

const char *section_named(const char *section, const char **name) {
    static const char *const kinds[] = {MODEL_SECTION, WEBHOOK_SECTION};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t length = strcspn(kinds[i], " ");
        size_t blanks = strncmp(section, kinds[i], length) == 0 ? strspn(section + length, " \t") : 0;
        if (strncmp(section, kinds[i], length) != 0 || (section[length] != '\0' && blanks == 0))
            continue;
        *name = section + length + blanks;
        return kinds[i];
    }
    return NULL;
}

const char *section_plain(const char *section) {
    for (size_t i = 0; option_section(i) != NULL; i++) {
        if (strcmp(option_section(i), section) == 0 && strchr(section, ' ') == NULL) {
            return option_section(i);
        }
    }
    return NULL;
}

const char *section_find_bad_name(const char *kind, const char *name) {
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    bool is_model = strcmp(kind, MODEL_SECTION) == 0;
    if (*name == '\0') {
        return is_model ? "has no name: write [model NAME]" : "has no name: write [webhook NAME]";
    }
    if (*name == '"' || *name == '\'') {
        return "has its name in quotes: leave them out";
    }
    if (is_model && strchr(name, '*') != NULL && strcmp(name, "*") != 0) {
        return "is not a pattern that is known: [model *] alone stands for all other names";
    }
    if (!is_model && (strspn(name, plain) != strlen(name) || strlen(name) > NAME_MAXIMUM || *name == '-')) {
        return "has a name that cannot be: take up to 64 letters, digits, '.', '_' and '-'";
    }
    return NULL;
}

// "[genrun], [scheduler] and [model NAME]"
static void list_sections(struct buf *out) {
    for (size_t i = 0; option_section(i) != NULL; i++) {
        bool is_last = option_section(i + 1) == NULL;
        buf_format(out, "%s[%s]", i == 0 ? "" : is_last ? " and " : ", ", option_section(i));
    }
}

// The section of the table whose first word is nearest to that of `section`; NULL: none is near.
static const char *nearest_section(const char *section) {
    char *words[SECTIONS_MAXIMUM];
    const char *nearest = NULL;
    size_t count = 0;
    for (; count < SECTIONS_MAXIMUM && option_section(count) != NULL; count++) {
        words[count] = mem_copy_bytes(option_section(count), strcspn(option_section(count), " "));
    }
    char *wanted = mem_copy_bytes(section, strcspn(section, " \t"));
    const char *word = text_nearest(wanted, (const char *const *)words, count);
    for (size_t i = 0; i < count; i++) {
        nearest = words[i] == word ? option_section(i) : nearest;
        free(words[i]);
    }
    free(wanted);
    return nearest;
}

void section_write_hint(struct buf *out, const char *section) {
    const char *near = nearest_section(section);
    if (near != NULL) {
        buf_format(out, "did you mean [%s]?", near);
        return;
    }
    buf_text(out, "the sections are ");
    list_sections(out);
}
