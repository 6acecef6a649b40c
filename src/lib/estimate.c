// SPDX-License-Identifier: MIT
// What a batch file would be as a batch job: its lines checked as for a submit,
// its models, tokens and cost estimated. Nothing is stored, no database is needed.
#include "base/json.h"
#include "base/mem.h"
#include "db/row.h"
#include "lib/handle.h"
#include "lib/reading.h"
#include <stdlib.h>
#include <string.h>

#define BYTES_PER_TOKEN 4 // of English text with the usual tokenizers; other text has more tokens
#define MODELS_NAMED 100  // more than these are counted together, so that memory stays flat

struct share {
    char *model_id; // NULL: all beyond MODELS_NAMED
    int64_t items;
};

struct estimate {
    genrun *g;
    const char *default_model;
    int64_t lines;
    struct share shares[MODELS_NAMED + 1];
    size_t share_count;
    int64_t input_tokens;
    int64_t output_tokens; // at most, where the items say
    bool output_known;     // every item says
    double cost;           // USD
    bool priced;           // a model has a price
};

static void count_model(struct estimate *s, const char *model_id) {
    size_t i = 0;
    while (i < s->share_count && i < MODELS_NAMED && strcmp(s->shares[i].model_id, model_id) != 0)
        i++;
    if (i == s->share_count) {
        s->shares[i].model_id = i < MODELS_NAMED ? mem_copy(model_id) : NULL;
        s->share_count++;
    }
    s->shares[i].items++;
}

// The most tokens that the answer may have, -1 when the item does not say.
static int64_t output_limit(const char *parameters) {
    static const char *const keys[] = {"max_completion_tokens", "max_output_tokens", "max_tokens"};
    const char *start;
    size_t length;
    for (size_t i = 0; parameters && i < sizeof keys / sizeof keys[0]; i++) {
        if (!json_raw_member(parameters, keys[i], &start, &length))
            continue;
        char *text = mem_copy_bytes(start, length), *end = NULL;
        double value = strtod(text, &end);
        bool good = end != text && value >= 0 && value < 1e9;
        free(text);
        if (good)
            return (int64_t)value;
    }
    return -1;
}

static int estimate_line(void *payload, const struct spec *spec, int64_t line, struct err *e) {
    struct estimate *s = payload;
    const struct model *model;
    const char *model_id;
    (void)line;
    int result =
        config_model(s->g->config, spec->model_id ? spec->model_id : s->default_model, &model_id, &model, e);
    if (result)
        return result;
    count_model(s, model_id);
    // Where a prompt is given the parameters are settings; else they are the text themselves.
    const char *text = spec->prompt ? spec->prompt : spec->parameters;
    int64_t input = ((int64_t)strlen(text ? text : "") + BYTES_PER_TOKEN - 1) / BYTES_PER_TOKEN;
    int64_t output = output_limit(spec->parameters);
    s->input_tokens += input;
    s->output_tokens += output > 0 ? output : 0;
    s->output_known = s->output_known && output >= 0;
    s->priced = s->priced || model->price_input > 0 || model->price_output > 0 || model->price_request > 0;
    s->cost += model->price_request + (double)input * model->price_input / 1e6 +
               (double)(output > 0 ? output : 0) * model->price_output / 1e6;
    s->lines++;
    return 0;
}

static struct row *make_row(const struct estimate *s, const char *format) {
    struct row *row = row_new();
    struct buf models;
    buf_init(&models, BUF_UNLIMITED);
    buf_char(&models, '[');
    for (size_t i = 0; i < s->share_count; i++) {
        buf_text(&models, i > 0 ? ",{" : "{");
        json_write_member_text(&models, "name", s->shares[i].model_id);
        json_write_member_integer(&models, "items", s->shares[i].items);
        buf_char(&models, '}');
    }
    buf_char(&models, ']');
    row_add_integer(row, "lines", s->lines);
    row_add_text(row, "format", format);
    row_add_text(row, "models", buf_borrow(&models));
    row_add_integer(row, "input_tokens", s->input_tokens);
    if (s->output_known)
        row_add_integer(row, "output_tokens", s->output_tokens);
    else
        row_add_text(row, "output_tokens", NULL);
    if (s->priced)
        row_add_number(row, "estimated_cost", s->cost);
    else
        row_add_text(row, "estimated_cost", NULL);
    buf_free(&models);
    return row;
}

int genrun_batch_estimate(genrun *g, genrun_row **out, FILE *stream, const char *name,
                          const genrun_batch_options *options, genrun_progress progress, void *payload) {
    const genrun_batch_options none = GENRUN_BATCH_OPTIONS_INIT;
    const genrun_batch_options *o = options ? options : &none;
    struct estimate s = {.g = g, .default_model = o->model, .output_known = true};
    struct reading reading = {.g = g,
                              .stream = stream,
                              .name = name,
                              .progress = progress,
                              .payload = payload,
                              .each = estimate_line,
                              .each_payload = &s};
    const struct model *model;
    const char *model_id, *format;
    int result = 0;
    *out = NULL;
    if (o->model)
        result = config_model(g->config, o->model, &model_id, &model, &g->err);
    if (!result)
        result = reading_run(&reading, o, &format);
    if (!result)
        *out = (genrun_row *)make_row(&s, format);
    for (size_t i = 0; i < s.share_count; i++)
        free(s.shares[i].model_id);
    return handle_result(g, result);
}
