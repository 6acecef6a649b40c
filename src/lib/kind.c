// SPDX-License-Identifier: MIT
// Options of servers, and options of commands.
#include "lib/kind.h"

#include "base/mem.h"
#include <stdlib.h>
#include <string.h>

static void check_options(const struct model *model, bool is_command, kind_tell tell, void *payload) {
    char *header = mem_format("header.%s", model->header_count > 0 ? model->headers[0].name : "");
    char *on_status =
        mem_format("on_status.%d", model->status_rule_count > 0 ? model->status_rules[0].status : 0);
    char *on_exit = mem_format("on_exit.%d", model->exit_rule_count > 0 ? model->exit_rules[0].status : 0);
    const struct {
        const char *name;
        bool is_set;
        bool is_of_commands;
    } options[] = {
        {"base_url", model->base_url != NULL, false},
        {"endpoint", model->endpoint != NULL, false},
        {"api_key_file", model->api_key_file != NULL, false},
        {header, model->header_count > 0, false},
        {on_status, model->status_rule_count > 0, false},
        {"input", model->input_json, true},
        {"output", model->output_json, true},
        {"pass_env", model->pass_env != NULL, true},
        {on_exit, model->exit_rule_count > 0, true},
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (!options[i].is_set || options[i].is_of_commands == is_command)
            continue;
        char *what = is_command
                         ? mem_format("%s, which says nothing to a command: remove it (a command takes "
                                      "arguments, and a key by api_key_env)",
                                      options[i].name)
                         : mem_format("%s, but no command, which it is for: add one, or remove this line",
                                      options[i].name);
        tell(payload, options[i].name, what);
        free(what);
    }
    free(header);
    free(on_status);
    free(on_exit);
}

void kind_check(const struct model *model, kind_tell tell, void *payload) {
    bool is_command = strcmp(model->provider, "command") == 0;
    if (is_command && model->command == NULL) {
        tell(payload, "provider", "provider command and no command: add command = PROGRAM");
    } else if (!is_command && model->command != NULL) {
        char *what = mem_format("a command, and provider %s: remove one of the two lines", model->provider);
        tell(payload, "command", what);
        free(what);
    } else {
        check_options(model, is_command, tell, payload);
    }
}
