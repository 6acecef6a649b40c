// SPDX-License-Identifier: MIT
// The one parser of command lines. Values are checked here by their kind, so a
// command's function sees only values that are fine.
#include "cli/args.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/terminal.h"
#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct value {
    const struct args_option *option;
    const char *text; // NULL: not given; "" for a flag
    int64_t number;
    double decimal;
    const char **list;
    size_t list_count;
};

struct args {
    struct value *values; // one for each option of the tables
    size_t value_count;
    const char **operands;
    size_t operand_count;
};

static size_t table_length(const struct args_option *table) {
    size_t n = 0;
    while (table != NULL && table[n].name != NULL)
        n++;
    return n;
}

static struct args *args_new(const struct args_option *common, const struct args_option *more, int argc) {
    struct args *a = mem_alloc(1, sizeof *a);
    size_t head = table_length(common), tail = table_length(more);
    a->value_count = head + tail;
    a->values = mem_alloc(a->value_count + 1, sizeof *a->values);
    for (size_t i = 0; i < head; i++)
        a->values[i].option = &common[i];
    for (size_t i = 0; i < tail; i++)
        a->values[head + i].option = &more[i];
    a->operands = mem_alloc((size_t)argc + 1, sizeof *a->operands);
    return a;
}

void args_free(struct args *args) {
    if (args == NULL)
        return;
    for (size_t i = 0; i < args->value_count; i++)
        free(args->values[i].list);
    free(args->values);
    free(args->operands);
    free(args);
}

static struct value *find_name(const struct args *a, const char *name, size_t length) {
    for (size_t i = 0; i < a->value_count; i++) {
        const char *known = a->values[i].option->name;
        if (strlen(known) == length && memcmp(known, name, length) == 0)
            return &a->values[i];
    }
    return NULL;
}

static struct value *find_letter(const struct args *a, char letter) {
    for (size_t i = 0; i < a->value_count; i++)
        if (a->values[i].option->letter == letter)
            return &a->values[i];
    return NULL;
}

// ---- values ----

static int check_choice(const struct args_option *o, const char *text, struct err *e) {
    size_t length = strlen(text);
    for (const char *word = o->value; *word != '\0';) {
        size_t n = strcspn(word, "|");
        if (n == length && memcmp(word, text, n) == 0)
            return ERR_OK;
        word += n;
        if (*word == '|')
            word++;
    }
    return err_set(e, ERR_INVALID, "--%s is '%s': give one of %s", o->name, text, o->value);
}

static int check_integer(const struct args_option *o, const char *text, int64_t *number, struct err *e) {
    char *end = NULL;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || strchr(" \t\n\v\f\r", text[0]) != NULL)
        return err_set(e, ERR_INVALID,
                       "--%s is '%s', which is not a whole number: give one from %lld to %lld", o->name, text,
                       (long long)o->minimum, (long long)o->maximum);
    if (errno == ERANGE || n < o->minimum || n > o->maximum)
        return err_set(e, ERR_INVALID, "--%s is %s: give a number from %lld to %lld", o->name, text,
                       (long long)o->minimum, (long long)o->maximum);
    *number = n;
    return ERR_OK;
}

static int check_decimal(const struct args_option *o, const char *text, double *number, struct err *e) {
    char *end = NULL;
    double n = strtod(text, &end);
    bool plain = text[0] != '\0' && text[strspn(text, "0123456789.")] == '\0';
    if (!plain || end == text || *end != '\0' || !isfinite(n))
        return err_set(e, ERR_INVALID,
                       "--%s is '%s', which is not an amount: give a number such as 0.5 or 20", o->name,
                       text);
    *number = n;
    return ERR_OK;
}

static int check_duration(const struct args_option *o, const char *text, int64_t *ms, struct err *e) {
    struct err ignored = {0};
    if (clock_parse_duration(text, ms, &ignored) != ERR_OK)
        return err_set(e, ERR_INVALID,
                       "--%s is '%s', which is not a duration: give one such as 90s, 5m, 3h, 7d", o->name,
                       text);
    return ERR_OK;
}

static int take_value(struct value *v, const char *text, struct err *e) {
    const struct args_option *o = v->option;
    int code = ERR_OK;
    switch (o->kind) {
    case ARGS_FLAG:
        break;
    case ARGS_TEXT:
        if (text[0] == '\0')
            return err_set(e, ERR_INVALID, "--%s is empty: give %s or leave the option out", o->name,
                           o->value);
        break;
    case ARGS_LIST:
        v->list = mem_resize(v->list, v->list_count + 1, sizeof *v->list);
        v->list[v->list_count++] = text;
        break;
    case ARGS_CHOICE:
        code = check_choice(o, text, e);
        break;
    case ARGS_INTEGER:
        code = check_integer(o, text, &v->number, e);
        break;
    case ARGS_DECIMAL:
        code = check_decimal(o, text, &v->decimal, e);
        break;
    case ARGS_DURATION:
        code = check_duration(o, text, &v->number, e);
        break;
    }
    v->text = text;
    return code;
}

// True for a word that is itself an option of the tables, so that it can hardly be meant as the value
// of the option before it.
static bool is_known_option(const struct args *a, const char *word) {
    return word[0] == '-' && word[1] == '-' && word[2] != '\0' &&
           find_name(a, word + 2, strcspn(word + 2, "=")) != NULL;
}

static int next_value(const struct args *a, struct value *v, int argc, char *const *words, int *i,
                      struct err *e) {
    const struct args_option *o = v->option;
    if (*i + 1 >= argc)
        return err_set(e, ERR_INVALID, "--%s lacks its value: give --%s %s", o->name, o->name, o->value);
    if (is_known_option(a, words[*i + 1]))
        return err_set(e, ERR_INVALID,
                       "--%s lacks its value, %s follows: give --%s %s, or --%s=%s if that is it", o->name,
                       words[*i + 1], o->name, o->value, o->name, words[*i + 1]);
    return take_value(v, words[++*i], e);
}

// ---- words ----

static int unknown_long(const struct args *a, const char *word, struct err *e) {
    const char **names = mem_alloc(a->value_count + 1, sizeof *names);
    for (size_t i = 0; i < a->value_count; i++)
        names[i] = a->values[i].option->name;
    char *name = mem_copy_bytes(word + 2, strcspn(word + 2, "="));
    const char *nearest = text_nearest(name, names, a->value_count);
    int code = nearest != NULL
                   ? err_set(e, ERR_INVALID, "unknown option --%s: did you mean --%s?", name, nearest)
                   : err_set(e, ERR_INVALID, "unknown option --%s: see the help for those there are", name);
    free(name);
    free(names);
    return code;
}

static int parse_long(struct args *a, int argc, char *const *words, int *i, struct err *e) {
    const char *word = words[*i];
    size_t length = strcspn(word + 2, "=");
    struct value *v = find_name(a, word + 2, length);
    if (v == NULL)
        return unknown_long(a, word, e);
    bool attached = word[2 + length] == '=';
    if (v->option->kind == ARGS_FLAG) {
        if (attached)
            return err_set(e, ERR_INVALID, "--%s takes no value: leave %s out", v->option->name,
                           word + 2 + length);
        return take_value(v, "", e);
    }
    return attached ? take_value(v, word + 3 + length, e) : next_value(a, v, argc, words, i, e);
}

static int parse_short(struct args *a, int argc, char *const *words, int *i, struct err *e) {
    const char *letters = words[*i] + 1;
    // One dash where two are meant is the usual slip; -drain must not become --database=rain.
    if (letters[1] != '\0' && find_name(a, letters, strcspn(letters, "=")) != NULL)
        return err_set(e, ERR_INVALID, "unknown option -%s: did you mean --%s?", letters, letters);
    for (const char *c = letters; *c != '\0'; c++) {
        struct value *v = find_letter(a, *c);
        if (v == NULL)
            return err_set(
                e, ERR_INVALID,
                "unknown option -%s: see the help, or put -- before an operand that begins with a dash",
                letters);
        if (v->option->kind != ARGS_FLAG)
            return c[1] != '\0' ? take_value(v, c + 1, e) : next_value(a, v, argc, words, i, e);
        int code = take_value(v, "", e);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

// Reads words from *i on; with `stop_at_operand` up to the first operand, whose index it leaves in *i.
static int parse_words(struct args *a, int argc, char *const *words, bool stop_at_operand, int *i,
                       struct err *e) {
    bool options = true;
    for (; *i < argc; ++*i) {
        const char *word = words[*i];
        int code = ERR_OK;
        if (options && strcmp(word, "--") == 0)
            options = false;
        else if (options && word[0] == '-' && word[1] == '-')
            code = parse_long(a, argc, words, i, e);
        else if (options && word[0] == '-' && word[1] != '\0')
            code = parse_short(a, argc, words, i, e);
        else if (stop_at_operand)
            return ERR_OK;
        else
            a->operands[a->operand_count++] = word;
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

int args_parse(struct args **out, const struct args_option *common, const struct args_option *more, int argc,
               char *const *words, struct err *e) {
    struct args *a = args_new(common, more, argc);
    int i = 0;
    int code = parse_words(a, argc, words, false, &i, e);
    if (code != ERR_OK) {
        args_free(a);
        a = NULL;
    }
    *out = a;
    return code;
}

int args_first_operand(const struct args_option *common, int argc, char *const *words, struct err *e) {
    struct args *a = args_new(common, NULL, argc);
    int i = 0;
    int code = parse_words(a, argc, words, true, &i, e);
    args_free(a);
    if (code != ERR_OK)
        return -2;
    return i < argc ? i : -1;
}

// ---- what was given ----

static const struct value *given(const struct args *args, const char *name) {
    const struct value *v = find_name(args, name, strlen(name));
    assert(v != NULL); // a command asks only for options of its own table
    return v;
}

bool args_has(const struct args *args, const char *name) {
    return given(args, name)->text != NULL;
}

const char *args_text(const struct args *args, const char *name) {
    return given(args, name)->text;
}

int64_t args_integer(const struct args *args, const char *name, int64_t fallback) {
    const struct value *v = given(args, name);
    return v->text != NULL ? v->number : fallback;
}

double args_decimal(const struct args *args, const char *name, double fallback) {
    const struct value *v = given(args, name);
    return v->text != NULL ? v->decimal : fallback;
}

const char *const *args_list(const struct args *args, const char *name, size_t *count) {
    const struct value *v = given(args, name);
    *count = v->list_count;
    return v->list;
}

size_t args_operand_count(const struct args *args) {
    return args->operand_count;
}

const char *args_operand(const struct args *args, size_t index) {
    return index < args->operand_count ? args->operands[index] : NULL;
}

// ---- help ----

void args_write_usage(struct buf *out, const struct args_option *table, size_t used, size_t indent,
                      size_t columns) {
    for (const struct args_option *o = table; o != NULL && o->name != NULL; o++) {
        char *word = o->kind == ARGS_FLAG
                         ? mem_format("[--%s]", o->name)
                         : mem_format("[--%s %s]%s", o->name, o->value, o->kind == ARGS_LIST ? "…" : "");
        size_t width = text_width(word);
        if (used + 1 + width > columns) {
            buf_format(out, "\n%*s", (int)indent - 1, "");
            used = indent - 1;
        }
        buf_format(out, " %s", word);
        used += 1 + width;
        free(word);
    }
}

static char *option_head(const struct args_option *o) {
    char letter[8] = "    ";
    if (o->letter != '\0') {
        letter[0] = '-';
        letter[1] = o->letter;
        letter[2] = ',';
    }
    return o->kind == ARGS_FLAG ? mem_format("  %s--%s", letter, o->name)
                                : mem_format("  %s--%s %s", letter, o->name, o->value);
}

void args_write_help(struct buf *out, const struct args_option *table, size_t columns) {
    size_t widest = 0;
    for (const struct args_option *o = table; o != NULL && o->name != NULL; o++) {
        char *head = option_head(o);
        size_t width = text_width(head);
        if (width > widest && width <= 34)
            widest = width;
        free(head);
    }
    for (const struct args_option *o = table; o != NULL && o->name != NULL; o++) {
        char *head = option_head(o);
        size_t width = text_width(head);
        if (width > widest)
            buf_format(out, "%s\n%*s  ", head, (int)widest, "");
        else
            buf_format(out, "%s%*s  ", head, (int)(widest - width), "");
        terminal_write_wrapped(out, o->help, widest + 2, columns);
        free(head);
    }
}
