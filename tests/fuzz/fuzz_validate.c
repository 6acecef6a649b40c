// SPDX-License-Identifier: MIT
// libFuzzer target of the check of files for OpenAI's Batch API. What must hold: problems stand in the order of their
// lines, no more than are kept, and what a batch object shows of them is one JSON array without line breaks.
#include "base/json.h"
#include "batch/validate.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void expect(int condition, const char *what) {
    if (condition)
        return;
    fprintf(stderr, "broken: %s\n", what);
    abort();
}

static bool knows_model(void *payload, const char *name) {
    (void)payload;
    return name[0] == 'm';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct validate_result found;
    struct err e;
    struct buf shown;
    cJSON *tree = NULL;
    if (size < 2)
        return 0;
    const struct validate_options options = {.endpoint = validate_endpoint(data[0] % 8),
                                             .knows_model = knows_model};
    FILE *in = fmemopen((void *)(uintptr_t)(data + 1), size - 1, "r");
    if (!in)
        return 0;
    expect(validate_lines(in, &options, &found, &e) == 0, "memory can be read");
    fclose(in);
    expect(found.count <= VALIDATE_PROBLEMS, "so many are kept");
    for (size_t i = 1; i < found.count; i++)
        expect(found.problems[i - 1].line <= found.problems[i].line, "in the order of their lines");
    buf_init(&shown, BUF_UNLIMITED);
    validate_write(&shown, &found);
    expect(json_parse(shown.data, shown.length, &tree, &e) == 0, "JSON");
    expect(cJSON_IsArray(tree) && (size_t)cJSON_GetArraySize(tree) == found.count, "an array of all of them");
    expect(!memchr(shown.data, '\n', shown.length), "in one line");
    cJSON_Delete(tree);
    buf_free(&shown);
    validate_free(&found);
    return 0;
}
