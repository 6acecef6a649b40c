// SPDX-License-Identifier: MIT
// The configuration refused: every message, hostile files, files that cannot be
// used. All mistakes of a file are told at once, secrets never.
#include "lib/mistakes.h"
#include "provider/provider.h"
#include "unit/config_ground.h"

// ---- what is refused ----

#define ORIGINS                                                                                              \
    "write each as a browser sends it, scheme://host or scheme://host:port in lower case, without a path "   \
    "or '*', "                                                                                               \
    "with blanks between them"
#define SECTIONS                                                                                             \
    "[genrun], [scheduler], [cleanup], [retention], [alerts], [http], [sync], [webhook NAME] and [model "    \
    "NAME]"

static const struct refusal {
    const char *text;
    const char *message;
} refusals[] = {
    // sections and options
    {"[genrum]\n", "genrun.ini:1: unknown section [genrum]: did you mean [genrun]?"},
    {"[modle gpt]\nprovider = echo\n",
     "genrun.ini:1: unknown section [modle gpt]: did you mean [model NAME]?"},
    {"\n[completely other]\n",
     "genrun.ini:2: unknown section [completely other]: the sections are " SECTIONS},
    {"[cleanup]\nlock_expiry = 2s\n", "genrun.ini:2: lock_expiry of [cleanup] is not longer than "
                                      "heartbeat_interval, which renews locks: give it "
                                      "several intervals"},
    {"[model]\n", "genrun.ini:1: [model] has no name: write [model NAME]"},
    {"[]\n", "genrun.ini:1: unknown section []: the sections are " SECTIONS},
    {"[model \"x\"]\n", "genrun.ini:1: [model \"x\"] has its name in quotes: leave them out"},
    {"[model gpt-*]\n",
     "genrun.ini:1: [model gpt-*] is not a pattern that is known: [model *] alone stands for "
     "all other names"},
    {"[scheduler]\nconcurency = 3\n",
     "genrun.ini:2: unknown option 'concurency' in [scheduler]: did you mean concurrency?"},
    {"[scheduler]\nConcurrency = 3\n",
     "genrun.ini:2: unknown option 'Concurrency' in [scheduler]: did you mean concurrency?"},
    {"[model x]\nheaders.X-Title = a\n",
     "genrun.ini:2: unknown option 'headers.X-Title' in [model x]: did you mean header.X?"},
    {"[genrun]\nbase_url = http://x\n",
     "genrun.ini:2: unknown option 'base_url' in [genrun]: it belongs to [http] or [model NAME]"},
    {"[genrun]\nwhatever_this_is = 1\n",
     "genrun.ini:2: unknown option 'whatever_this_is' in [genrun]: remove it "
     "(the sample genrun.ini lists every option)"},
    {"log_level = info\n",
     "genrun.ini:1: 'log_level' stands before any section: put a line such as [genrun] above it"},
    {"concurrency = 1\n",
     "genrun.ini:1: 'concurrency' stands before any section: put a line such as [scheduler] above it"},
    {"[genrun]\nlog_level = info\nlog_level = warn\n",
     "genrun.ini:3: log_level stands twice in [genrun] (first in line 2): keep one of them"},
    {"[model x]\nheader.A = 1\nheader.a = 2\n",
     "genrun.ini:3: header.a stands twice in [model x] (first in line 2): keep one of them"},
    {"[genrun]\n\n[genrun]\n",
     "genrun.ini:3: [genrun] stands twice (first in line 1): put its options together"},
    {"[model x]\n[model  x]\nstream = no\n",
     "genrun.ini:2: [model x] stands twice (first in line 1): put its options together"},
    // webhooks
    {"\n[webhook a]\n[webhook b]\nurl = http://x\n", "genrun.ini:2: [webhook a] has no address: set url, or "
                                                     "url_env to the name of the variable that holds it"},
    {"[webhook a]\nurl = ftp://x\n",
     "genrun.ini:2: url is not an address: give a URL such as https://app.example.org/hooks/genrun"},
    {"[webhook a]\nurl = https:///x\n",
     "genrun.ini:2: url is not an address: give a URL such as https://app.example.org/hooks/genrun"},
    {"[webhook a]\nurl = http://x\nurl_env = X\n",
     "genrun.ini:3: [webhook a] has both url and url_env: keep one of them"},
    {"[webhook a]\nurl = http://x\nevents = batch.* generation.fail\n",
     "genrun.ini:3: events: no event is called generation.fail: did you mean generation.failed?"},
    {"[webhook a]\nurl = http://x\nevents = generatoin.*\n",
     "genrun.ini:3: events: no event is called generatoin.*: write names as 'genrun logs' shows them, such "
     "as "
     "generation.failed"},
    {"[webhook a]\nurl = http://x\nformat = openai\nevents = generation.failed\n",
     "genrun.ini:4: [webhook a] would send nothing: format openai has batch.completed, batch.failed, "
     "batch.expired and batch.cancelled"},
    // what inih would cut
    {"[genrun]\nmodel x\n", "genrun.ini:2: there is no '=' after the option's name: write name = value"},
    {"[genrun]\nlog_level: info\n",
     "genrun.ini:2: there is no '=' after the option's name: write name = value"},
    {"[genrun]\n= info\n", "genrun.ini:2: there is no option's name before the '=': write name = value"},
    {"[genrun]\nlog_level = info\n   and more\n", "genrun.ini:3: an indented line without '=' (values cannot "
                                                  "continue on a second line): write name = value "
                                                  "in one line"},
    {"[genrun]\nlog_level = info ; not debug\n", "genrun.ini:2: ' ;' would begin a comment and cut the "
                                                 "value: put the comment on a line of its own or two "
                                                 "blanks before it, or leave out the blank"},
    {"[genrun\nlog_level = bad\n", "genrun.ini:1: this section has no ']': write [name]"},
    {"[genrun] log_level = info\n",
     "genrun.ini:1: there is text after the ']' of this section: put it on a line of its own"},
    {"[genrun]\nlog_level = \x01\n", "genrun.ini:2: there is a control character in this line: remove it"},
    {"[genrun]\nlog_level = \xFF\n",
     "genrun.ini:2: this line is not valid UTF-8: save the file as UTF-8 text"},
    // values
    {"[genrun]\nlog_level =\n", "genrun.ini:2: log_level has no value: give one, or remove the line"},
    {"[genrun]\nlog_level = loud\n",
     "genrun.ini:2: log_level = 'loud' is unknown: give error, warn, info or debug"},
    {"[genrun]\nlog_format = xml\n", "genrun.ini:2: log_format = 'xml' is unknown: give text or json"},
    {"[genrun]\nmax_output = 16 M\n",
     "genrun.ini:2: max_output = '16 M' is not a size: give a size from 1K to "
     "900M, such as 200K or 16M"},
    {"[genrun]\nmax_output = 99999999999999999999G\n",
     "genrun.ini:2: max_output = '99999999999999999999G' is out of range: give a size from 1K to 900M, such "
     "as "
     "200K or 16M"},
    {"[genrun]\nmax_output = 1000\n",
     "genrun.ini:2: max_output = '1000' is out of range: give a size from 1K to "
     "900M, such as 200K or 16M"},
    {"[genrun]\ndatabase = ~/g.db\n",
     "genrun.ini:2: database begins with '~', which only a shell expands: write the whole path"},
    {"[genrun]\ndefault_model = nope\n", "genrun.ini:2: default_model: unknown model 'nope': add a section "
                                         "[model nope] to genrun.ini, or [model *] "
                                         "for all names"},
    {"[genrun]\ndefault_model = gtp\n[model gpt]\n",
     "genrun.ini:2: default_model: unknown model 'gtp': did you mean 'gpt'?"},
    {"[genrun]\ndefault_model = *\n[model *]\n",
     "genrun.ini:2: default_model: '*' is not the name of a model: give 1 to 256 bytes of plain text"},
    {"[scheduler]\nconcurrency = many\n",
     "genrun.ini:2: concurrency = 'many' is not a whole number: give a whole number from 1 to 10000"},
    {"[scheduler]\nconcurrency = 4 # four\n",
     "genrun.ini:2: concurrency = '4 # four' is not a whole number: give a whole number from 1 to 10000 (a "
     "comment stands on a line of its own)"},
    {"[scheduler]\nconcurrency = 0\n",
     "genrun.ini:2: concurrency = '0' is out of range: give a whole number from 1 to 10000"},
    {"[scheduler]\nconcurrency = -1\n",
     "genrun.ini:2: concurrency = '-1' is out of range: give a whole number from 1 to 10000"},
    {"[scheduler]\nconcurrency = 99999999999999999999\n",
     "genrun.ini:2: concurrency = '99999999999999999999' is out of range: give a whole number from 1 to "
     "10000"},
    {"[scheduler]\npoll_interval = 5 parsecs\n",
     "genrun.ini:2: poll_interval = '5 parsecs' is not a duration: give a duration from 10ms to 1h, such as "
     "500ms, 90s, 5m, 3h or 7d"},
    {"[scheduler]\npoll_interval = 0\n", "genrun.ini:2: poll_interval = '0' is out of range: give a duration "
                                         "from 10ms to 1h, such as 500ms, 90s, "
                                         "5m, 3h or 7d"},
    {"[scheduler]\nheartbeat_interval = 2m\n",
     "genrun.ini:2: heartbeat_timeout is not longer than heartbeat_interval: give it several intervals"},
    {"[scheduler]\nbackoff_min = 1m\nbackoff_max = 59s\n",
     "genrun.ini:3: backoff_max is shorter than backoff_min: raise one or lower the other"},
    {"[model x]\nbase_url = localhost:8000\n",
     "genrun.ini:2: base_url is not an address: give a URL such as http://127.0.0.1:8000/v1"},
    {"[model x]\nbase_url = http://\n",
     "genrun.ini:2: base_url is not an address: give a URL such as http://127.0.0.1:8000/v1"},
    {"[model x]\nbase_url = file:///etc/passwd\n",
     "genrun.ini:2: base_url is not an address: give a URL such as http://127.0.0.1:8000/v1"},
    {"[model x]\nbase_url = http://h:99999/\n",
     "genrun.ini:2: base_url is not an address: give a URL such as http://127.0.0.1:8000/v1"},
    {"[model x]\nbase_url = http://h/v1?key=abc\n",
     "genrun.ini:2: base_url has a '?' or '#': leave that part out (a query belongs to endpoint)"},
    {"[model x]\nendpoint = chat\n",
     "genrun.ini:2: endpoint is not the path of a URL: begin it with '/', as in "
     "/chat/completions, without blanks and '#'"},
    {"[model x]\nstream = maybe\n", "genrun.ini:2: stream = 'maybe' is unknown: give no or yes"},
    {"[model x]\nprice_input = 1e3\n",
     "genrun.ini:2: price_input = '1e3' is not a plain decimal number: give a number from 0 to 1000000"},
    {"[model x]\nprice_input = 1.2.3\n",
     "genrun.ini:2: price_input = '1.2.3' is not a plain decimal number: give a number from 0 to 1000000"},
    {"[model x]\nprice_input = 1000000.5\n",
     "genrun.ini:2: price_input = '1000000.5' is out of range: give a number from 0 to 1000000"},
    {"[model x]\nheader. = a\n",
     "genrun.ini:2: header. is not the name of an HTTP header: write header.NAME, as in header.X-Title"},
    {"[model x]\nheader.a b = a\n",
     "genrun.ini:2: header.a b is not the name of an HTTP header: write header.NAME, as in header.X-Title"},
    {"[model x]\nheader.content-length = 1\n",
     "genrun.ini:2: header.content-length is a header that genrun sets itself: remove this line"},
    {"[model x]\non_status.404 = ignore\n", "genrun.ini:2: on_status.404 = 'ignore' is unknown: give wait, "
                                            "retry, park or fail, NNN from 300 to 599"},
    {"[model x]\non_status.200 = retry\n", "genrun.ini:2: on_status.200 does not name an HTTP status of a "
                                           "failure: write a number from 300 to 599, as "
                                           "in on_status.404"},
    {"[model x]\non_status.4x4 = retry\n", "genrun.ini:2: on_status.4x4 does not name an HTTP status of a "
                                           "failure: write a number from 300 to 599, as "
                                           "in on_status.404"},
    {"[model x]\napi_key_env = A\napi_key_file = b\n",
     "genrun.ini:3: [model x] has both api_key_env and api_key_file: keep one of them"},
    // HTTP
    {"[http]\nlisten = 8787\n",
     "genrun.ini:2: listen is no address to listen on: give ADDR:PORT, such as 127.0.0.1:8787, [::1]:8787, "
     "or "
     "0.0.0.0:8787 for all of this machine's (names other than localhost are not looked up)"},
    {"[http]\nlisten = 127.0.0.1:65536\n[genrun]\nlisten = x\n",
     "genrun.ini:2: listen is no address to listen on: give ADDR:PORT, such as 127.0.0.1:8787, [::1]:8787, "
     "or "
     "0.0.0.0:8787 for all of this machine's (names other than localhost are not looked up)\n"
     "genrun.ini:4: unknown option 'listen' in [genrun]: it belongs to [http]"},
    {"[http]\ncors_origin = *\n", "genrun.ini:2: cors_origin is not a list of origins: " ORIGINS},
    {"[http]\ncors_origin = https://a.example https://b.example/\n",
     "genrun.ini:2: cors_origin is not a list of origins: " ORIGINS},
    {"[http]\ncors_origin = https://A.example\n",
     "genrun.ini:2: cors_origin is not a list of origins: " ORIGINS},
    {"[http]\ncors_origin = https://a.example, https://b.example\n",
     "genrun.ini:2: cors_origin is not a list of origins: " ORIGINS},
    {"[http]\nmax_streams = 512\n", "genrun.ini:2: max_streams is not less than max_connections (512), so "
                                    "that live events could take them all: "
                                    "lower it, or leave it out"},
    {"[http]\nadmin_key = hunter2hunter2\n",
     "genrun.ini:2: unknown option 'admin_key' in [http]: did you mean admin_key_env?"},
    {"[http]\nadmin_key_env = gr_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
     "genrun.ini:2: admin_key_env is not the name of an environment variable: write the name of the variable "
     "that "
     "holds the key (letters, digits and _), not the key"},
    // commands
    {"[model x]\ncommand = a 'b\n",
     "genrun.ini:2: command has a quote that is left open: close it (or write \\' and "
     "\\\" for the characters themselves)"},
    {"[model x]\ncommand = '' b\n",
     "genrun.ini:2: command begins with an empty word: begin it with the program"},
    {"[model x]\ncommand = ~/bin/x\n",
     "genrun.ini:2: command begins with '~', which only a shell expands: write the whole path"},
    {"[model x]\ncommand = ./scripts/ x\n",
     "genrun.ini:2: command begins with a folder: write the path of a program"},
    {"[model x]\ncommand = x --key sk-1234567890abcdefghij\n",
     "genrun.ini:2: command holds what looks like a key, and keys do not stand here: use api_key_env"},
    {"[model x]\nprovider = command\n",
     "genrun.ini:2: [model x] has provider command and no command: add command = PROGRAM"},
    {"[model x]\ncommand = a\nprovider = openai\n",
     "genrun.ini:2: [model x] has a command, and provider openai: remove one of the two lines"},
    {"[model x]\ncommand = a\nbase_url = http://x\nheader.A = b\n",
     "genrun.ini:3: [model x] has base_url, which says nothing to a command: remove it (a command takes "
     "arguments, "
     "and a key by api_key_env)\n"
     "genrun.ini:4: [model x] has header.A, which says nothing to a command: remove it (a command takes "
     "arguments, "
     "and a key by api_key_env)"},
    {"[model x]\noutput = json\non_exit.3 = fail\n",
     "genrun.ini:2: [model x] has output, but no command, which it is for: add one, or remove this line\n"
     "genrun.ini:3: [model x] has on_exit.3, but no command, which it is for: add one, or remove this line"},
    {"[model x]\ncommand = a\ninput = xml\noutput = yes\n",
     "genrun.ini:3: input = 'xml' is unknown: give prompt or json\n"
     "genrun.ini:4: output = 'yes' is unknown: give text or json"},
    {"[model x]\ncommand = a\npass_env = A, B\n",
     "genrun.ini:3: pass_env is not a list of names of environment variables: write names (letters, digits "
     "and _) "
     "with blanks between them, not values"},
    {"[model x]\ncommand = a\non_exit.0 = fail\n",
     "genrun.ini:3: on_exit.0 does not name an exit status of a "
     "failure: write a number from 1 to 255, as in on_exit.3"},
    {"[model x]\ncommand = a\non_exit.256 = fail\n",
     "genrun.ini:3: on_exit.256 does not name an exit status of a "
     "failure: write a number from 1 to 255, as in on_exit.3"},
    {"[model x]\ncommand = a\non_exit.3 = ignore\n",
     "genrun.ini:3: on_exit.3 = 'ignore' is unknown: give wait, retry, park or fail, N from 1 to 255"},
    // secrets: refused, and not repeated
    {"[model x]\napi_key = sk-1234567890abcdefghij\n", "genrun.ini:2: api_key does not stand here, for keys "
                                                       "are not kept in this file: use api_key_env (the name "
                                                       "of a variable) or api_key_file"},
    {"[model x]\nheader.Authorization = Bearer s3cr3t\n",
     "genrun.ini:2: header.Authorization would hold a key, and keys do not stand here: use api_key_env or "
     "api_key_file"},
    {"[model x]\nheader.X-Any = sk-1234567890abcdefghij\n",
     "genrun.ini:2: header.X-Any would hold a key, and keys do not stand here: use api_key_env or "
     "api_key_file"},
    {"[model x]\napi_key_env = sk-1234567890abcdefghij\n",
     "genrun.ini:2: api_key_env is not the name of an environment variable: write the name of the variable "
     "that "
     "holds the key (letters, digits and _), not the key"},
    {"[model x]\napi_key_file = sk-1234567890abcdefghij\n",
     "genrun.ini:2: api_key_file looks like a key, not like a path: write the key into a file and its path "
     "here"},
    {"[model x]\nmodel = sk-1234567890abcdefghij\n",
     "genrun.ini:2: model looks like a key, and keys do not stand here: use api_key_env or api_key_file"},
    {"[scheduler]\nconcurrency = sk-1234567890abcdefghij\n",
     "genrun.ini:2: concurrency = the value is not a whole number: give a whole number from 1 to 10000"},
    {"[model x]\nbase_url = https://me:s3cr3t@example.org/v1\n",
     "genrun.ini:2: base_url holds a user or password, which do not stand here: use api_key_env or "
     "api_key_file"},
    // several at once, in the order of the file; the options of a refused section are not told
    {"[genrun]\nlog_level = x\n[what]\na = b\n[scheduler]\nmax_attempts = 0\n[genrun]\n",
     "genrun.ini:2: log_level = 'x' is unknown: give error, warn, info or debug\n"
     "genrun.ini:3: unknown section [what]: the sections are " SECTIONS "\n"
     "genrun.ini:6: max_attempts = '0' is out of range: give a whole number from 1 to 1000\n"
     "genrun.ini:7: [genrun] stands twice (first in line 1): put its options together"},
    // a default_model that stands in a refused section is not called unknown
    {"[genrun]\ndefault_model = gpt\n[modle gpt]\n",
     "genrun.ini:3: unknown section [modle gpt]: did you mean [model NAME]?"},
};

static void test_refusals(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        write_file("genrun.ini", refusals[i].text);
        expect_refusal(refusals[i].message);
    }
}

static void test_hostile_bytes(void **state) {
    (void)state;
    static const char zeros[] = "[genrun]\nlog\0_level = info\n#\0\n";
    write_bytes("genrun.ini", zeros, sizeof zeros - 1);
    expect_refusal("genrun.ini:2: there is a NUL byte in this line: save the file as plain UTF-8 text\n"
                   "genrun.ini:3: there is a NUL byte in this line: save the file as plain UTF-8 text");
    char *text = mem_format("[model x]\nmodel = %0*d\n", 196 - (int)strlen("model = "), 7);
    write_file("genrun.ini", text);
    expect_refusal(
        "genrun.ini:2: this line is longer than 195 bytes: shorten it (a name or path may stand for a "
        "long value)");
    free(text);
}

static void test_unknown_provider(void **state) {
    (void)state;
    size_t count = 0;
    const char *const *names = provider_names(&count);
    struct buf known;
    buf_init(&known, BUF_UNLIMITED);
    for (size_t i = 0; i < count; i++) {
        buf_format(&known, "%s%s", i == 0 ? "" : i + 1 == count ? " or " : ", ", names[i]);
    }
    write_file("genrun.ini", "[model x]\nprovider = ehco\n[model y]\nprovider = something else\n");
    char *message = mem_format("genrun.ini:2: provider 'ehco' is unknown: did you mean echo? There is %s\n"
                               "genrun.ini:4: provider 'something else' is unknown: give %s",
                               buf_borrow(&known), buf_borrow(&known));
    expect_refusal(message);
    free(message);
    buf_free(&known);
}

// More mistakes than fit: as many as do, and how many more there are.
static void test_many_mistakes(void **state) {
    (void)state;
    struct buf text;
    buf_init(&text, BUF_UNLIMITED);
    for (int i = 0; i < 100; i++) {
        buf_text(&text, "nothing\n");
    }
    write_file("genrun.ini", buf_borrow(&text));
    buf_free(&text);
    struct config *config = NULL;
    struct err e = {0};
    assert_int_equal(config_load(&config, NULL, NULL, &e), ERR_CONFIG);
    int lines = 1;
    for (const char *c = e.message; (c = strchr(c, '\n')) != NULL; c++) {
        lines++;
    }
    char *end = mem_format("\n… and %d more mistakes", 100 - (lines - 1));
    assert_true(lines > 5);
    assert_true(text_starts_with(e.message, "genrun.ini:1: there is no '='"));
    assert_true(text_ends_with(e.message, end));
    free(end);
}

// A line longer than the message has room for is cut between characters, and the count still stands.
static void test_long_mistake(void **state) {
    (void)state;
    struct mistakes mistakes = {0};
    struct err e = {0};
    struct buf line;
    buf_init(&line, BUF_UNLIMITED);
    assert_int_equal(mistakes_report(&mistakes, &e), 0);
    for (int i = 0; i < 340; i++) {
        buf_text(&line, "\u20ac");
    }
    mistakes_add(&mistakes, "a%s", buf_borrow(&line)); // 1021 bytes
    assert_int_equal(mistakes_report(&mistakes, &e), ERR_CONFIG);
    assert_int_equal(strlen(e.message), 1021);
    mistakes_add(&mistakes, "b\nc");
    assert_int_equal(mistakes_report(&mistakes, NULL), ERR_CONFIG);
    assert_int_equal(mistakes_report(&mistakes, &e), ERR_CONFIG);
    assert_true(text_is_utf8(e.message, strlen(e.message)));
    assert_true(text_ends_with(e.message, "\u20ac\u2026\nb\\nc"));
    mistakes_add(&mistakes, "d%s", buf_borrow(&line));
    assert_int_equal(mistakes_report(&mistakes, &e), ERR_CONFIG);
    assert_true(text_ends_with(e.message, "\u20ac\u2026\n\u2026 and 2 more mistakes"));
    mistakes_clear(&mistakes);
    mistakes_add(&mistakes, "b\nc");
    assert_int_equal(mistakes_report(&mistakes, &e), ERR_CONFIG);
    assert_string_equal(e.message, "b\\nc");
    mistakes_clear(&mistakes);
    buf_free(&line);
}

static void test_garbage(void **state) {
    (void)state;
    size_t length = 1 << 20;
    char *bytes = mem_alloc(length + 1, 1);
    uint32_t seed = 7;
    for (size_t i = 0; i < length + 1; i++) {
        seed = seed * 1664525 + 1013904223;
        bytes[i] = (char)(seed >> 24);
    }
    struct config *config = NULL;
    struct err e = {0};
    write_bytes("genrun.ini", bytes, length);
    assert_int_equal(config_load(&config, NULL, NULL, &e), ERR_CONFIG);
    assert_non_null(strstr(e.message, " more mistakes"));
    assert_true(text_is_utf8(e.message, strlen(e.message)));
    write_bytes("genrun.ini", bytes, length + 1);
    free(bytes);
    expect_refusal("configuration genrun.ini is larger than 1024 KiB: this is not a genrun.ini");
}

// ---- files that cannot be used ----

static void test_unusable_files(void **state) {
    (void)state;
    struct config *config = NULL;
    struct err e = {0};
    assert_int_equal(config_load(&config, "no.ini", NULL, &e), ERR_CONFIG);
    assert_string_equal(e.message,
                        "configuration 'no.ini': No such file or directory: check the path given with -c");
    assert_int_equal(config_load(&config, "", NULL, &e), ERR_CONFIG);
    assert_string_equal(e.message, "configuration '': the name is empty: check the path given with -c");
    setenv("GENRUN_CONFIG", "no.ini", 1);
    expect_refusal("configuration 'no.ini': No such file or directory: check the environment variable "
                   "GENRUN_CONFIG");
    unsetenv("GENRUN_CONFIG");
    assert_int_equal(mkdir("genrun.ini", 0700), 0);
    expect_refusal("configuration genrun.ini is a folder: give the path of the file in it");
    assert_int_equal(rmdir("genrun.ini"), 0);
    write_file("genrun.ini", "");
    assert_int_equal(chmod("genrun.ini", 0), 0);
    if (access("genrun.ini", R_OK) == 0) { // root reads everything
        assert_int_equal(config_load(&config, NULL, NULL, &e), 0);
        config_free(config);
    } else {
        expect_refusal("configuration genrun.ini: Permission denied: make it readable for this user");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(test_refusals),       CASE(test_hostile_bytes), CASE(test_unknown_provider),
        CASE(test_many_mistakes),  CASE(test_long_mistake),  CASE(test_garbage),
        CASE(test_unusable_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
