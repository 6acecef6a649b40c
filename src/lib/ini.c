// SPDX-License-Identifier: MIT
// The reader that stands between genrun.ini and inih. By itself inih (in
// Debian's build) cuts lines at 199 bytes and section names at 49, ends a value
// at " ;", glues indented lines to the option above, drops what follows ']' and
// knows no line numbers. So every line is checked here first: sections are
// handled here, comments and mistakes are kept from inih, and inih gets one
// clean "name = value" at a time.
#include "lib/ini.h"
#include "base/mem.h"
#include "base/text.h"
#include <ini.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct ini_source {
    const char *next;
    const char *end;
    int line;
    const struct ini_listener *listener;
};

static void tell_mistake(const struct ini_source *source, const char *what) {
    source->listener->on_mistake(source->listener->payload, source->line, what);
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

// Takes the next line out of the source, without its end and blanks around it. False at the end.
static bool next_line(struct ini_source *source, const char **start, size_t *length, bool *indented) {
    if (source->next == source->end) {
        return false;
    }
    source->line++;
    const char *from = source->next;
    const char *newline = memchr(from, '\n', (size_t)(source->end - from));
    const char *to = newline != NULL ? newline : source->end;
    source->next = newline != NULL ? newline + 1 : source->end;
    if (to > from && to[-1] == '\r') {
        to--;
    }
    *indented = to > from && is_blank(*from);
    while (from < to && is_blank(*from)) {
        from++;
    }
    while (to > from && is_blank(to[-1])) {
        to--;
    }
    *start = from;
    *length = (size_t)(to - from);
    return true;
}

// What is wrong with the bytes of a line, whatever it means; NULL: nothing.
static const char *find_bad_bytes(const char *start, size_t length) {
    if (memchr(start, '\0', length) != NULL) {
        return "there is a NUL byte in this line: save the file as plain UTF-8 text";
    }
    if (!text_is_utf8(start, length)) {
        return "this line is not valid UTF-8: save the file as UTF-8 text";
    }
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)start[i];
        if ((c < 0x20 && c != '\t') || c == 0x7F) {
            return "there is a control character in this line: remove it";
        }
    }
    if (length > INI_LINE_LIMIT) {
        return "this line is longer than 195 bytes: shorten it (a name or path may stand for a long value)";
    }
    return NULL;
}

// Two blanks and a ';' begin a comment in the line of an option, as `config show` writes it; the length before it.
static size_t before_comment(const char *start, size_t length) {
    for (size_t i = 2; i < length; i++) {
        if (start[i] == ';' && is_blank(start[i - 1]) && is_blank(start[i - 2])) {
            while (i > 0 && is_blank(start[i - 1])) {
                i--;
            }
            return i;
        }
    }
    return length;
}

static bool has_inline_comment(const char *start, size_t length) {
    for (size_t i = 1; i < length; i++) {
        if (start[i] == ';' && is_blank(start[i - 1])) {
            return true;
        }
    }
    return false;
}

static void read_section(const struct ini_source *source, const char *start, size_t length) {
    const char *close = memchr(start, ']', length);
    const char *what = NULL;
    if (close == NULL) {
        what = "this section has no ']': write [name]";
    } else if (close + 1 != start + length) {
        what = "there is text after the ']' of this section: put it on a line of its own";
    }
    if (what != NULL) {
        tell_mistake(source, what);
        source->listener->on_section(source->listener->payload, source->line, NULL);
        return;
    }
    char *copy = mem_copy_bytes(start + 1, (size_t)(close - start - 1));
    source->listener->on_section(source->listener->payload, source->line, text_trim(copy));
    free(copy);
}

// What keeps inih from reading this line as the option it was meant to be; NULL: nothing.
static const char *find_bad_option(const char *start, size_t length, bool indented) {
    const char *equals = memchr(start, '=', length);
    const char *colon = memchr(start, ':', length);
    if (equals == NULL && indented) {
        return "an indented line without '=' (values cannot continue on a second line): "
               "write name = value in one line";
    }
    if (equals == NULL || (colon != NULL && colon < equals)) {
        return "there is no '=' after the option's name: write name = value";
    }
    if (equals == start) {
        return "there is no option's name before the '=': write name = value";
    }
    if (has_inline_comment(start, length)) {
        return "' ;' would begin a comment and cut the value: put the comment on a line of its own or two "
               "blanks "
               "before it, or leave out the blank";
    }
    return NULL;
}

// inih's reader, in the manner of fgets: the next line that is an option, NULL at the end.
static char *read_option_line(char *out, int size, void *stream) {
    struct ini_source *source = stream;
    const char *start = NULL;
    size_t length = 0;
    bool indented = false;
    while (next_line(source, &start, &length, &indented)) {
        if (length == 0) {
            continue;
        }
        bool is_comment = *start == '#' || *start == ';';
        if (is_comment && memchr(start, '\0', length) == NULL) {
            continue;
        }
        if (*start != '[') {
            length = before_comment(start, length);
        }
        const char *what = find_bad_bytes(start, length);
        if (what == NULL && *start != '[') {
            what = find_bad_option(start, length, indented);
        }
        if (what == NULL && *start != '[' &&
            length + 2 > (size_t)size) { // an inih built with a smaller limit
            what = "this line is longer than inih reads: shorten it";
        }
        if (what != NULL) {
            tell_mistake(source, what);
            if (*start == '[') {
                source->listener->on_section(source->listener->payload, source->line, NULL);
            }
            continue;
        }
        if (*start == '[') {
            read_section(source, start, length);
            continue;
        }
        memcpy(out, start, length);
        out[length] = '\n';
        out[length + 1] = '\0';
        return out;
    }
    return NULL;
}

static int take_option(void *user, const char *section, const char *name, const char *value) {
    const struct ini_source *source = user;
    (void)section; // the listener knows it, whole
    source->listener->on_option(source->listener->payload, source->line, name, value);
    return 1;
}

void ini_read(const char *text, size_t length, const struct ini_listener *listener) {
    struct ini_source source = {text, text + length, 0, listener};
    if (length >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) {
        source.next += 3;
    }
    if (ini_parse_stream(read_option_line, &source, take_option, &source) != 0) {
        tell_mistake(&source, "inih refused a line before this one: write each option as name = value");
    }
}
