// SPDX-License-Identifier: MIT
// Hostile genrun.ini files: whatever the bytes, the configuration is loaded whole
// and within its limits, or refused with lines that can be shown to a person.
#include "base/text.h"
#include "lib/config.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static int file;
static char path[64];

static void require(int truth, const char *what) {
    if (!truth) {
        fprintf(stderr, "fuzz_config: not so: %s\n", what);
        abort();
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    file = memfd_create("genrun.ini", MFD_CLOEXEC);
    require(file >= 0, "a file in memory");
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    clearenv();
    return 0;
}

static void check_message(const struct err *e) {
    size_t length = strlen(e->message);
    require(length > 0 && length < sizeof e->message, "a refusal has a message");
    require(text_is_utf8(e->message, length), "a message is valid UTF-8");
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)e->message[i];
        require(c == '\n' || (c >= 0x20 && c != 0x7F), "a message has no control characters");
    }
}

static void check_config(const struct config *config) {
    const struct run_settings *s = &config->scheduler;
    require(config->database != NULL && config->database[0] == '/', "the database has an absolute path");
    require(config->max_output >= 1024 && config->max_output <= (size_t)900 << 20, "max_output is in range");
    require(s->concurrency >= 1 && s->concurrency <= 10000, "concurrency is in range");
    require(s->heartbeat_timeout_ms > s->heartbeat_interval_ms, "a heartbeat fits into its timeout");
    require(s->backoff_min_ms >= 1 && s->backoff_min_ms <= s->backoff_max_ms, "the backoff grows");
    const struct model *echo = NULL;
    const char *echo_id = NULL;
    require(config_model(config, "echo", &echo_id, &echo, NULL) == 0 && strcmp(echo->name, "echo") == 0,
            "echo is there");
    for (size_t i = 0; i < config->model_count; i++) {
        const struct model *model = &config->models[i];
        const struct model *found = NULL;
        const char *model_id = NULL;
        struct err e = {0};
        require(model->name[0] != '\0' && model->provider != NULL, "a model has a name and a provider");
        require(model->connect_timeout_ms > 0 && model->first_byte_timeout_ms > 0 &&
                    model->progress_timeout_ms > 0 && model->max_runtime_ms > 0,
                "every clock of a model runs");
        require(!(model->price_input < 0) && model->price_input <= 1000000, "a price is in range");
        int rc = config_model(config, model->name, &model_id, &found, &e);
        require(strcmp(model->name, "*") == 0 ? rc == ERR_INVALID : rc == 0 && found == model,
                "each model is found by its name");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    struct config *config = NULL;
    struct err e = {0};
    require(ftruncate(file, 0) == 0 && pwrite(file, bytes, length, 0) == (ssize_t)length,
            "the file is written");
    int rc = config_load(&config, path, NULL, &e);
    if (rc == 0) {
        check_config(config);
    } else {
        require(rc == ERR_CONFIG && config == NULL, "a refusal is ERR_CONFIG and leaves nothing");
        check_message(&e);
    }
    config_free(config);
    return 0;
}
