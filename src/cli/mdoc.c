// SPDX-License-Identifier: MIT
#include "cli/mdoc.h"
#include "base/text.h"
#include "genrun.h"
#include <ctype.h>
#include <string.h>

// The day of the release that the pages belong to, so that a build gives the same pages on every day.
#define RELEASE_DAY "November 22, 2026"

void mdoc_begin(struct buf *out, const char *title, const char *section, const char *name,
                const char *summary) {
    buf_format(out,
               ".\\\" Written by the program itself: genrun help --man %s.%s\n"
               ".Dd " RELEASE_DAY "\n.Dt %s %s\n.Os genrun " GENRUN_VERSION "\n.Sh NAME\n.Nm %s\n.Nd %s\n",
               name, section, title, section, name, summary);
}

// ---- text ----

// One character, which may be of several bytes; returns them. `before` is the one before it.
static size_t write_char(struct buf *out, const char *text, char before) {
    static const struct {
        char c;
        const char *escape;
    } special[] = {{'\\', "\\e"},  {'\'', "\\(aq"}, {'`', "\\(ga"},
                   {'"', "\\(dq"}, {'~', "\\(ti"},  {'^', "\\(ha"}};
    uint32_t code_point = 0;
    for (size_t i = 0; i < sizeof special / sizeof *special; i++) {
        if (special[i].c == *text) {
            buf_text(out, special[i].escape);
            return 1;
        }
    }
    // The dash of an option, not the hyphen of a word.
    if (*text == '-' && !isalnum((unsigned char)before)) {
        buf_text(out, "\\-");
        return 1;
    }
    size_t size = text_utf8_decode(text, strlen(text), &code_point);
    if (code_point > 127)
        buf_format(out, "\\[u%04X]", (unsigned)code_point);
    else
        buf_char(out, *text);
    return size > 0 ? size : 1;
}

// True at a blank between two sentences, which mdoc wants on lines of their own; not behind an initial.
static bool ends_sentence(const char *text, const char *at) {
    bool word = at - text > 2 && (islower((unsigned char)at[-2]) || isalnum((unsigned char)at[-3]));
    return word && at[-1] == '.' && (isupper((unsigned char)at[1]) || isdigit((unsigned char)at[1]));
}

void mdoc_text(struct buf *out, const char *text) {
    char before = '\n';
    for (const char *at = text; *at != '\0';) {
        char c = *at;
        if (c == ' ' && ends_sentence(text, at))
            c = '\n';
        if (before == '\n' && (c == '.' || c == '\''))
            buf_text(out, "\\&");
        if (c == '\n') {
            buf_char(out, c);
            at++;
        } else {
            at += write_char(out, at, before);
        }
        before = c;
    }
    if (before != '\n')
        buf_char(out, '\n');
}

void mdoc_word(struct buf *out, const char *word) {
    char before = ' ';
    buf_text(out, " \\&");
    while (*word != '\0') {
        char c = *word;
        if (c == ' ')
            buf_text(out, "\\ ");
        word += c == ' ' ? 1 : write_char(out, word, before);
        before = c;
    }
}

// ---- the command line ----

void mdoc_operands(struct buf *out, const char *operands) {
    bool apart = true; // from the word before
    for (const char *at = operands; *at != '\0';) {
        size_t length = strspn(at, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_");
        if (!apart && *at != ' ' && *at != ']')
            buf_text(out, " Ns");
        if (length > 0) {
            buf_text(out, " Ar \\&");
            buf_append(out, at, length);
        } else if (*at == '[' || *at == ']') {
            buf_text(out, *at == '[' ? " Oo" : " Oc");
        } else if (*at == '-') {
            buf_text(out, " Cm \\-");
        } else if (*at != ' ') {
            buf_text(out, " No \\&");
            length = write_char(out, at, ' ');
        }
        apart = *at == ' ' || *at == '[';
        at += length > 0 ? length : 1;
    }
}

static void write_value(struct buf *out, const struct args_option *option) {
    if (option->kind == ARGS_FLAG)
        return;
    buf_text(out, " Ar");
    mdoc_word(out, option->value);
}

void mdoc_usage(struct buf *out, const struct args_option *table) {
    for (const struct args_option *o = table; o != NULL && o->name != NULL; o++) {
        buf_format(out, ".Op Fl -%s", o->name);
        write_value(out, o);
        if (o->kind == ARGS_LIST)
            buf_text(out, " ...");
        buf_char(out, '\n');
    }
}

void mdoc_options(struct buf *out, const struct args_option *table) {
    if (table == NULL || table->name == NULL)
        return;
    mdoc_list_begin(out);
    for (const struct args_option *o = table; o->name != NULL; o++) {
        buf_text(out, ".It");
        if (o->letter != '\0')
            buf_format(out, " Fl %c ,", o->letter);
        buf_format(out, " Fl -%s", o->name);
        write_value(out, o);
        buf_char(out, '\n');
        mdoc_text(out, o->help);
    }
    mdoc_list_end(out);
}

// ---- examples and lists ----

void mdoc_example(struct buf *out, const char *lines) {
    buf_text(out, ".Bd -literal -offset indent\n");
    char before = '\n';
    while (*lines != '\0') {
        char c = *lines;
        if (before == '\n' && (c == '.' || c == '\''))
            buf_text(out, "\\&");
        lines += write_char(out, lines, before);
        before = c;
    }
    buf_text(out, before == '\n' ? ".Ed\n" : "\n.Ed\n");
}

void mdoc_list_begin(struct buf *out) {
    buf_text(out, ".Bl -tag -width Ds\n");
}

void mdoc_item(struct buf *out, const char *macro, const char *term, const char *text) {
    buf_format(out, ".It %s", macro);
    mdoc_word(out, term);
    buf_char(out, '\n');
    mdoc_text(out, text);
}

void mdoc_list_end(struct buf *out) {
    buf_text(out, ".El\n");
}
