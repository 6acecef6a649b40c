// SPDX-License-Identifier: MIT
// Templates: kept for the public API, and found for items.
#include "lib/template.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NIL_UUID "00000000-0000-0000-0000-000000000000"
#define NAME_MAXIMUM 200

// ---- the set -----------------------------------------------------------------

struct loading {
    struct template_set *set;
    struct err *err;
    int result;
};

static int take_row(void *payload, struct row *row) {
    struct loading *l = payload;
    struct template_set *set = l->set;
    struct template *t = NULL;
    const char *body = row_text(row, "body"), *name = row_text(row, "name");
    l->result = template_parse(&t, name, body, strlen(body), l->err);
    if (l->result) {
        // Typed into the table by hand.
        l->result = err_prefix(l->err, "template");
    } else {
        set->list = mem_resize(set->list, set->count + 1, sizeof *set->list);
        set->list[set->count++] = (struct template_entry){.template = t,
                                                          .id = mem_copy(row_text(row, "id")),
                                                          .name = mem_copy(name),
                                                          .type = mem_copy(row_text(row, "type")),
                                                          .tier = mem_copy(row_text(row, "tier"))};
    }
    row_free(row);
    return l->result;
}

static const struct template_entry *find(const struct template_set *set, const char *name) {
    for (size_t i = 0; i < set->count; i++)
        if (strcmp(set->list[i].name, name) == 0 || strcmp(set->list[i].id, name) == 0)
            return &set->list[i];
    return NULL;
}

int template_set_load(struct template_set *set, genrun *g, const char *named) {
    struct loading l = {set, &g->err, 0};
    *set = (struct template_set){.named = named};
    template_texts_init(&set->texts);
    int result = 0;
    // A dry run must not make a database, and without one there are no templates.
    if (g->db || access(g->config->database, F_OK) == 0) {
        result = handle_scoped_database(g);
        if (!result)
            result = queue_template_list(g->db, true, take_row, &l, &g->err);
        if (!result)
            result = l.result;
    }
    if (!result && named && !find(set, named))
        result = err_in(&g->err, ERR_NOT_FOUND, "templateId",
                        "there is no template %s: 'genrun template list' shows them", named);
    return result;
}

void template_set_free(struct template_set *set) {
    for (size_t i = 0; i < set->count; i++) {
        template_free(set->list[i].template);
        free(set->list[i].id);
        free(set->list[i].name);
        free(set->list[i].type);
        free(set->list[i].tier);
    }
    free(set->list);
    template_texts_free(&set->texts);
}

static bool fits(const char *wanted, const char *given) {
    return !wanted || (given && strcmp(wanted, given) == 0);
}

// The one that names both type and tier counts more than one that names one of them, type more than tier.
static const struct template_entry *match(const struct template_set *set, const struct spec *item) {
    const struct template_entry *best = NULL;
    int best_weight = 0;
    for (size_t i = 0; i < set->count; i++) {
        const struct template_entry *t = &set->list[i];
        int weight = 2 * (t->type != NULL) + (t->tier != NULL);
        if (weight > best_weight && fits(t->type, item->type) && fits(t->tier, item->tier)) {
            best = t;
            best_weight = weight;
        }
    }
    return best;
}

static bool has_parameter(const struct spec *item, const char *name) {
    const char *start;
    size_t length;
    return item->parameters && json_raw_member(item->parameters, name, &start, &length);
}

static bool has_request(const struct spec *item) {
    return item->prompt || item->endpoint || has_parameter(item, "messages");
}

bool template_set_is_meant(const struct template_set *set, const struct spec *item) {
    return item->template_id || set->named ||
           (!has_request(item) && !has_parameter(item, "prompt") && !has_parameter(item, "input"));
}

int template_set_apply(struct template_set *set, struct spec *item, struct err *e) {
    const char *name = item->template_id ? item->template_id : set->named;
    bool is_nil = name && strcmp(name, NIL_UUID) == 0;
    const struct template_entry *t = NULL;
    if (name && !is_nil) {
        t = find(set, name);
        if (!t)
            return err_in(e, ERR_INVALID, "templateId",
                          "there is no template %s: 'genrun template list' shows them", name);
    } else if (is_nil || !has_request(item)) {
        t = match(set, item);
        if (!t && (item->type || item->tier || is_nil))
            return err_in(
                e, ERR_INVALID,
                item->type   ? "type"
                : item->tier ? "tier"
                             : "templateId",
                "no template is for type %s and tier %s: 'genrun template add' makes one, or give a prompt",
                item->type ? item->type : "(none)", item->tier ? item->tier : "(none)");
        if (!t)
            return err_in(
                e, ERR_INVALID, "prompt",
                "prompt is missing or empty, and no template is named: give a prompt, a template_id, or "
                "the type and tier of a template");
    }
    if (!t)
        return 0;
    item->template_id = t->id;
    return template_fill(t->template, item, &set->texts, e);
}

// ---- the public API ------------------------------------------------------------

static int check_name(genrun *g, const char *name) {
    if (!name || !*name || strlen(name) > NAME_MAXIMUM || strcmp(name, NIL_UUID) == 0)
        return err_set(&g->err, ERR_INVALID, "a template needs a name of 1 to %d bytes", NAME_MAXIMUM);
    return handle_text(g, "the name", name);
}

int genrun_template_add(genrun *g, char id[GENRUN_ID_SIZE], const char *name, const char *body, size_t length,
                        const char *type, const char *tier) {
    struct template *parsed = NULL;
    g->create = true;
    int result = check_name(g, name);
    if (!result)
        result = handle_text(g, "the type", type);
    if (!result)
        result = handle_text(g, "the tier", tier);
    if (!result)
        result = template_parse(&parsed, name, body, length, &g->err);
    template_free(parsed);
    if (!result)
        result = handle_database(g);
    if (!result) {
        char *text = mem_copy_bytes(body, length);
        const struct template_row row = {.name = name, .type = type, .tier = tier, .body = text};
        result = queue_template_add(g->db, &row, id, &g->err);
        free(text);
    }
    return handle_result(g, result);
}

int genrun_templates(genrun *g, genrun_each each, void *payload) {
    struct each e = {each, payload};
    int result = handle_scoped_database(g);
    if (!result)
        result = queue_template_list(g->db, false, handle_each_row, &e, &g->err);
    return handle_result(g, result);
}

int genrun_template_get(genrun *g, genrun_row **out, const char *name) {
    *out = NULL;
    int result = handle_scoped_database(g);
    if (!result)
        result = queue_template_get(g->db, name, (struct row **)out, &g->err);
    return handle_result(g, result);
}

int genrun_template_remove(genrun *g, const char *name) {
    int result = handle_database(g);
    if (!result)
        result = queue_template_remove(g->db, name, &g->err);
    return handle_result(g, result);
}
