// SPDX-License-Identifier: MIT
// From the text of an option to the field it fills: one small reader for each
// type. All are strict (the whole text or nothing), say what they accept, and
// never repeat what may be a secret.
#include "base/address.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "lib/event_name.h"
#include "lib/options.h"
#include "lib/place.h"
#include "provider/classify.h"
#include "provider/provider.h"
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PRICE_DIGITS 15 // decimal digits that a double holds exactly

// ---- the readers ----

struct reading {
    const struct option *option;
    const char *name;
    const char *value;
    const char *base_file;
    struct buf *why;
};

// "name = 'value' PROBLEM: give DESCRIPTION"
static bool refuse(const struct reading *r, const char *problem) {
    buf_format(r->why, "%s = ", r->name);
    option_quote(r->why, r->value);
    buf_format(r->why, " %s: give ", problem);
    if (r->option->type < OPTION_FLAG) {
        buf_text(r->why, "a ");
    }
    option_describe(r->option, r->why);
    if (r->option->type == OPTION_DURATION) {
        buf_text(r->why, ", such as 500ms, 90s, 5m, 3h or 7d");
    } else if (r->option->type == OPTION_SIZE) {
        buf_text(r->why, ", such as 200K or 16M");
    }
    if (strstr(r->value, " #") != NULL) {
        buf_text(r->why, " (a comment stands on a line of its own)");
    }
    return false;
}

// A refusal with words of its own, without the value.
static bool refuse_plainly(const struct reading *r, const char *what) {
    buf_format(r->why, "%s %s", r->name, what);
    return false;
}

static void replace_text(char **field, char *taken) {
    free(*field);
    *field = taken;
}

// Digits only; false also when the number does not fit.
static bool parse_digits(const char *text, size_t length, int64_t *out) {
    int64_t number = 0;
    if (length == 0) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9' || __builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, text[i] - '0', &number)) {
            return false;
        }
    }
    *out = number;
    return true;
}

static bool is_all_digits(const char *text) {
    text += *text == '-';
    return *text != '\0' && strspn(text, "0123456789") == strlen(text);
}

static bool read_number(const struct reading *r, int64_t *out) {
    if (!is_all_digits(r->value)) {
        return refuse(r, "is not a whole number");
    }
    int64_t number = 0;
    if (!parse_digits(r->value, strlen(r->value), &number) || number < r->option->minimum ||
        number > r->option->maximum) {
        return refuse(r, "is out of range");
    }
    *out = number;
    return true;
}

static bool read_duration(const struct reading *r, int64_t *out) {
    int64_t duration = 0;
    if (clock_parse_duration(r->value, &duration, NULL) != 0) {
        return refuse(r, "is not a duration");
    }
    if (duration < r->option->minimum || duration > r->option->maximum) {
        return refuse(r, "is out of range");
    }
    *out = duration;
    return true;
}

static bool read_size(const struct reading *r, size_t *out) {
    static const char units[] = "KMG";
    size_t length = strlen(r->value);
    const char *unit = length > 0 ? strchr(units, r->value[length - 1]) : NULL;
    int64_t size = 0;
    if (unit != NULL) {
        length--;
    }
    if (length == 0 || strspn(r->value, "0123456789") != length) {
        return refuse(r, "is not a size");
    }
    bool fits = parse_digits(r->value, length, &size);
    for (const char *u = units; fits && unit != NULL && u <= unit; u++) {
        fits = !__builtin_mul_overflow(size, 1024, &size);
    }
    if (!fits || size < r->option->minimum || size > r->option->maximum) {
        return refuse(r, "is out of range");
    }
    *out = (size_t)size;
    return true;
}

// Decimal digits with at most one point, whatever the locale.
static bool read_price(const struct reading *r, double *out) {
    const char *point = strchr(r->value, '.');
    size_t length = strlen(r->value);
    size_t whole = point != NULL ? (size_t)(point - r->value) : length;
    size_t fraction = point != NULL ? length - whole - 1 : 0;
    char digits[PRICE_DIGITS + 1];
    if (whole == 0 || (point != NULL && fraction == 0) || whole + fraction > PRICE_DIGITS) {
        return refuse(r, "is not a plain decimal number");
    }
    memcpy(digits, r->value, whole);
    memcpy(digits + whole, r->value + length - fraction, fraction);
    int64_t number = 0;
    if (!parse_digits(digits, whole + fraction, &number)) {
        return refuse(r, "is not a plain decimal number");
    }
    double divisor = 1;
    for (size_t i = 0; i < fraction; i++) {
        divisor *= 10;
    }
    double price = (double)number / divisor; // both exact, so this is the nearest double
    if (price > (double)r->option->maximum) {
        return refuse(r, "is out of range");
    }
    *out = price;
    return true;
}

static bool read_choice(const struct reading *r, int *out) {
    for (int i = 0; r->option->choices[i] != NULL; i++) {
        if (strcmp(r->value, r->option->choices[i]) == 0) {
            *out = i;
            return true;
        }
    }
    return refuse(r, "is unknown");
}

static bool read_flag(const struct reading *r, bool *out) {
    static const char *const synonyms[][2] = {{"false", "true"}, {"off", "on"}, {"0", "1"}};
    bool is_no_yes = strcmp(r->option->choices[0], "no") == 0;
    for (size_t i = 0; is_no_yes && i < sizeof synonyms / sizeof *synonyms; i++) {
        for (int truth = 0; truth < 2; truth++) {
            if (strcmp(r->value, synonyms[i][truth]) == 0) {
                *out = truth == 1;
                return true;
            }
        }
    }
    int index = 0;
    if (!read_choice(r, &index)) {
        return false;
    }
    *out = index == 1;
    return true;
}

static bool read_text(const struct reading *r, char **field) {
    if (option_looks_secret(r->value)) {
        return refuse_plainly(
            r, "looks like a key, and keys do not stand here: use api_key_env or api_key_file");
    }
    replace_text(field, mem_copy(r->value));
    return true;
}

static bool read_path(const struct reading *r, char **field) {
    if (option_looks_secret(r->value)) {
        return refuse_plainly(
            r, "looks like a key, not like a path: write the key into a file and its path here");
    }
    if (text_starts_with(r->value, "~")) {
        return refuse_plainly(r, "begins with '~', which only a shell expands: write the whole path");
    }
    char *credential = place_of_credential(r->value);
    if (r->value[0] == '$' && credential == NULL) {
        return refuse_plainly(
            r, "begins with '$', which only a shell expands (but for $CREDENTIALS_DIRECTORY/NAME): write "
               "the whole path");
    }
    replace_text(field, credential != NULL ? credential : place_absolute(r->value, r->base_file));
    return true;
}

static bool has_part(CURLU *url, CURLUPart part) {
    char *text = NULL;
    bool found = curl_url_get(url, part, &text, 0) == CURLUE_OK;
    curl_free(text);
    return found;
}

static bool read_url(const struct reading *r, char **field) {
    bool is_web = strncasecmp(r->value, "http://", 7) == 0 || strncasecmp(r->value, "https://", 8) == 0;
    CURLU *url = curl_url();
    const char *problem = NULL;
    if (!is_web || curl_url_set(url, CURLUPART_URL, r->value, 0) != CURLUE_OK) {
        problem = "is not an address: give a URL such as http://127.0.0.1:8000/v1";
    } else if (has_part(url, CURLUPART_USER) || has_part(url, CURLUPART_PASSWORD)) {
        problem = "holds a user or password, which do not stand here: use api_key_env or api_key_file";
    } else if (has_part(url, CURLUPART_QUERY) || has_part(url, CURLUPART_FRAGMENT)) {
        problem = "has a '?' or '#': leave that part out (a query belongs to endpoint)";
    }
    curl_url_cleanup(url);
    if (problem != NULL) {
        return refuse_plainly(r, problem);
    }
    size_t length = strlen(r->value);
    while (r->value[length - 1] == '/') {
        length--;
    }
    replace_text(field, mem_copy_bytes(r->value, length));
    return true;
}

static bool read_endpoint(const struct reading *r, char **field) {
    if (r->value[0] != '/' || strpbrk(r->value, " \t#") != NULL) {
        return refuse_plainly(r,
                              "is not the path of a URL: begin it with '/', as in /chat/completions, without "
                              "blanks and '#'");
    }
    replace_text(field, mem_copy(r->value));
    return true;
}

static bool is_variable(const char *name) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
    return *name != '\0' && strspn(name, letters) == strlen(name) && (*name < '0' || *name > '9') &&
           !option_looks_secret(name);
}

static bool read_variable(const struct reading *r, char **field) {
    if (!is_variable(r->value)) {
        return refuse_plainly(
            r, "is not the name of an environment variable: write the name of the variable that "
               "holds the key (letters, digits and _), not the key");
    }
    replace_text(field, mem_copy(r->value));
    return true;
}

static bool read_provider(const struct reading *r, char **field) {
    if (provider_find(r->value) == NULL) {
        size_t count = 0;
        const char *const *names = provider_names(&count);
        const char *near = text_nearest(r->value, names, count);
        buf_text(r->why, "provider ");
        option_quote(r->why, r->value);
        buf_text(r->why, " is unknown: ");
        if (near != NULL) {
            buf_format(r->why, "did you mean %s? There is ", near);
        } else {
            buf_text(r->why, "give ");
        }
        option_write_list(r->why, names, count);
        return false;
    }
    replace_text(field, mem_copy(r->value));
    return true;
}

static bool is_one_of(const char *name, const char *const *list) {
    for (; *list != NULL; list++) {
        if (strcasecmp(name, *list) == 0) {
            return true;
        }
    }
    return false;
}

static bool read_header(const struct reading *r, struct model *model) {
    // RFC 9110, section 5.6.2: the characters of a token.
    static const char token[] =
        "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    static const char *const secret[] = {"Authorization",  "Proxy-Authorization", "api-key", "x-api-key",
                                         "x-goog-api-key", "x-auth-token",        "Cookie",  NULL};
    static const char *const own[] = {
        "Content-Length", "Content-Type", "Transfer-Encoding", "Connection", "Host", "Expect", NULL};
    const char *header = strchr(r->name, '.') + 1;
    if (*header == '\0' || strspn(header, token) != strlen(header)) {
        return refuse_plainly(r,
                              "is not the name of an HTTP header: write header.NAME, as in header.X-Title");
    }
    if (is_one_of(header, secret) || option_looks_secret(r->value)) {
        return refuse_plainly(
            r, "would hold a key, and keys do not stand here: use api_key_env or api_key_file");
    }
    if (is_one_of(header, own)) {
        return refuse_plainly(r, "is a header that genrun sets itself: remove this line");
    }
    size_t count = model->header_count++;
    model->headers = mem_resize(model->headers, count + 1, sizeof *model->headers);
    model->headers[count].name = mem_copy(header);
    model->headers[count].value = mem_copy(r->value);
    return true;
}

// The number in the option's name, written as `digits` digits at least, and its action go to the end of a list.
static bool read_rule(const struct reading *r, size_t digits, const char *what,
                      struct model_status_rule **rules, size_t *count) {
    const char *text = strchr(r->name, '.') + 1;
    int64_t status = 0;
    enum verdict_action action = VERDICT_FAIL;
    if (strlen(text) < digits || *text == '0' || !parse_digits(text, strlen(text), &status) ||
        status < r->option->minimum || status > r->option->maximum) {
        return refuse_plainly(r, what);
    }
    if (!verdict_action_parse(r->value, &action)) {
        return refuse(r, "is unknown");
    }
    *rules = mem_resize(*rules, *count + 1, sizeof **rules);
    (*rules)[(*count)++] = (struct model_status_rule){(int)status, action};
    return true;
}

static bool read_command(const struct reading *r, struct model *model) {
    char **words = text_words(r->value);
    if (words == NULL) {
        return refuse_plainly(r, "has a quote that is left open: close it (or write \\' and \\\" for the "
                                 "characters themselves)");
    }
    const char *problem = NULL;
    if (words[0] == NULL || words[0][0] == '\0') {
        problem = "begins with an empty word: begin it with the program";
    } else if (words[0][0] == '~') {
        problem = "begins with '~', which only a shell expands: write the whole path";
    } else if (text_ends_with(words[0], "/")) {
        problem = "begins with a folder: write the path of a program";
    }
    for (size_t i = 0; problem == NULL && words[i] != NULL; i++) {
        if (option_looks_secret(words[i])) {
            problem = "holds what looks like a key, and keys do not stand here: use api_key_env";
        }
    }
    if (problem != NULL) {
        text_words_free(words);
        return refuse_plainly(r, problem);
    }
    const char *program = words[0];
    bool is_path = strchr(program, '/') != NULL;
    while (text_starts_with(program, "./")) {
        program += 2;
    }
    replace_text(&model->program, is_path ? place_absolute(program, r->base_file) : mem_copy(program));
    text_words_free(model->command);
    model->command = words;
    words[0] = model->program;
    char *folder = r->base_file != NULL ? mem_copy(r->base_file) : NULL;
    if (folder != NULL) {
        char *slash = strrchr(folder, '/'); // base_file is absolute
        slash[slash == folder] = '\0';
    }
    replace_text(&model->folder, folder);
    return true;
}

static bool read_names(const struct reading *r, char ***field) {
    char **words = text_words(r->value);
    for (size_t i = 0; words != NULL && words[i] != NULL; i++) {
        if (!is_variable(words[i])) {
            text_words_free(words);
            words = NULL;
        }
    }
    if (words == NULL) {
        return refuse_plainly(r,
                              "is not a list of names of environment variables: write names (letters, digits "
                              "and _) with blanks between them, not values");
    }
    text_words_free(*field);
    *field = words;
    return true;
}

static bool read_listen(const struct reading *r, char **field) {
    struct address address;
    if (!address_parse(&address, r->value)) {
        return refuse_plainly(
            r,
            "is no address to listen on: give ADDR:PORT, such as 127.0.0.1:8787, [::1]:8787, or 0.0.0.0:8787 "
            "for all of this machine's (names other than localhost are not looked up)");
    }
    replace_text(field, mem_copy(r->value));
    return true;
}

// Any address of the web, as it is: what a Slack webhook has in its path is its secret.
static bool read_hook(const struct reading *r, char **field) {
    bool is_web = strncasecmp(r->value, "http://", 7) == 0 || strncasecmp(r->value, "https://", 8) == 0;
    CURLU *url = curl_url();
    const char *problem = NULL;
    if (!is_web || strstr(r->value, ":///") != NULL || strpbrk(r->value, " \t") != NULL ||
        curl_url_set(url, CURLUPART_URL, r->value, 0) != CURLUE_OK)
        problem = "is not an address: give a URL such as https://app.example.org/hooks/genrun";
    else if (has_part(url, CURLUPART_USER) || has_part(url, CURLUPART_PASSWORD))
        problem = "holds a user or password, which do not stand here: use url_env";
    curl_url_cleanup(url);
    if (problem != NULL)
        return refuse_plainly(r, problem);
    replace_text(field, mem_copy(r->value));
    return true;
}

// "generation.failed", "batch.*", "*".
static bool is_event(const char *word) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz_0123456789.";
    size_t length = strspn(word, letters);
    return *word != '\0' && (word[length] == '\0' || strcmp(word + length, "*") == 0) &&
           !text_starts_with(word, "webhook.");
}

static void refuse_event(const struct reading *r, const char *word) {
    const char *near = event_name_nearest(word);
    buf_format(r->why, "%s: no event is called %s: ", r->name, word);
    if (near != NULL)
        buf_format(r->why, "did you mean %s?", near);
    else
        buf_text(r->why, "write names as 'genrun logs' shows them, such as generation.failed");
}

static bool read_words(const struct reading *r, char ***field) {
    char *line = mem_copy(r->value);
    for (char *c = line; *c != '\0'; c++)
        *c = *c == ',' ? ' ' : *c;
    char **words = text_words(line);
    free(line);
    bool fine = words != NULL && words[0] != NULL;
    bool known = true;
    for (size_t i = 0; fine && known && r->option->type == OPTION_EVENTS && words[i] != NULL; i++) {
        fine = is_event(words[i]);
        known = !fine || event_name_is_known(words[i]);
        if (!known)
            refuse_event(r, words[i]);
    }
    if (!fine || !known)
        text_words_free(words);
    if (!fine)
        return refuse_plainly(
            r, r->option->type == OPTION_EVENTS
                   ? "is not a list of events: write names such as generation.failed, or batch.* "
                     "for all that begin so, with blanks between them (webhook.* is never sent)"
                   : "is not a list: write names with blanks between them");
    if (!known)
        return false;
    text_words_free(*field);
    *field = words;
    return true;
}

// As browsers send it: scheme://host[:port] in lower case.
static bool is_origin(const char *text) {
    CURLU *url = curl_url();
    bool is_web = strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0;
    bool fine = is_web && strpbrk(strstr(text, "//") + 2, "/?#@*\\") == NULL &&
                curl_url_set(url, CURLUPART_URL, text, 0) == CURLUE_OK;
    for (const char *c = text; *c != '\0'; c++) {
        fine = fine && !(*c >= 'A' && *c <= 'Z');
    }
    curl_url_cleanup(url);
    return fine;
}

static bool read_origins(const struct reading *r, char ***field) {
    char **words = text_words(r->value);
    bool fine = words != NULL;
    for (size_t i = 0; fine && words[i] != NULL; i++) {
        fine = is_origin(words[i]);
    }
    if (!fine) {
        text_words_free(words);
        return refuse_plainly(r, "is not a list of origins: write each as a browser sends it, scheme://host "
                                 "or scheme://host:port in "
                                 "lower case, without a path or '*', with blanks between them");
    }
    text_words_free(*field);
    *field = words;
    return true;
}

static bool store_int(const struct reading *r, int *field) {
    int64_t number = 0;
    if (!read_number(r, &number)) {
        return false;
    }
    *field = (int)number; // the table's limits fit
    return true;
}

// Of the types up to OPTION_HOOK, which are one text.
static bool store_text(const struct reading *r, char **field) {
    switch (r->option->type) {
    case OPTION_PATH:
        return read_path(r, field);
    case OPTION_URL:
        return read_url(r, field);
    case OPTION_ENDPOINT:
        return read_endpoint(r, field);
    case OPTION_VARIABLE:
        return read_variable(r, field);
    case OPTION_PROVIDER:
        return read_provider(r, field);
    case OPTION_LISTEN:
        return read_listen(r, field);
    case OPTION_HOOK:
        return read_hook(r, field);
    default:
        return read_text(r, field);
    }
}

bool option_store(const struct option *option, const char *name, const char *value, const char *base_file,
                  void *target, struct buf *why) {
    struct reading r = {option, name, value, base_file, why};
    void *field = (char *)target + option->offset;
    if (option->type == OPTION_SECRET) {
        return refuse_plainly(&r,
                              "does not stand here, for keys are not kept in this file: use api_key_env (the "
                              "name of a variable) or api_key_file");
    }
    if (value[0] == '\0') {
        return refuse_plainly(&r, "has no value: give one, or remove the line");
    }
    if (option->type <= OPTION_HOOK)
        return store_text(&r, field);
    switch (option->type) {
    case OPTION_NUMBER:
        return store_int(&r, field);
    case OPTION_BIG:
        return read_number(&r, field);
    case OPTION_DURATION:
        return read_duration(&r, field);
    case OPTION_SIZE:
        return read_size(&r, field);
    case OPTION_PRICE:
        return read_price(&r, field);
    case OPTION_FLAG:
        return read_flag(&r, field);
    case OPTION_CHOICE:
        return read_choice(&r, field);
    case OPTION_HEADER:
        return read_header(&r, target);
    case OPTION_STATUS:
        return read_rule(&r, 3,
                         "does not name an HTTP status of a failure: write a number from 300 to 599, as in "
                         "on_status.404",
                         &((struct model *)target)->status_rules,
                         &((struct model *)target)->status_rule_count);
    case OPTION_EXIT:
        return read_rule(&r, 1,
                         "does not name an exit status of a failure: write a number from 1 to 255, as in "
                         "on_exit.3",
                         &((struct model *)target)->exit_rules, &((struct model *)target)->exit_rule_count);
    case OPTION_COMMAND:
        return read_command(&r, target);
    case OPTION_NAMES:
        return read_names(&r, field);
    case OPTION_ORIGINS:
        return read_origins(&r, field);
    case OPTION_WORDS:
    case OPTION_EVENTS:
        return read_words(&r, field);
    default:
        return false;
    }
}
