// SPDX-License-Identifier: MIT
// A program of somebody else's with a loop of its own that runs generations inside:
// one handle takes turns (genrun_step), another submits and looks, in one thread.
// Commands on stdin, one a line: "submit TEXT", "close" (the second handle), "end".
#include "genrun.h"
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int open_handle(genrun **g, char **argv) {
    genrun_options options = GENRUN_OPTIONS_INIT;
    options.config = argv[1];
    options.database = argv[2];
    options.create = 1;
    return genrun_open(g, &options);
}

static int obey(const char *line, genrun **second, char **argv) {
    int result = 0;
    if (strcmp(line, "close") == 0) {
        genrun_close(*second);
        *second = NULL;
        puts("closed");
    } else if (strncmp(line, "submit ", 7) == 0) {
        genrun_spec spec = GENRUN_SPEC_INIT;
        char id[GENRUN_ID_SIZE];
        spec.prompt = line + 7;
        if (!*second)
            result = open_handle(second, argv);
        if (!result)
            result = genrun_submit(*second, id, NULL, &spec);
        if (!result)
            puts(id);
        else
            fprintf(stderr, "host: %s\n", genrun_message(*second));
    }
    fflush(stdout);
    return result;
}

int main(int argc, char **argv) {
    genrun *runner = NULL, *second = NULL;
    char line[4096];
    if (argc != 3)
        return GENRUN_INVALID;
    setvbuf(stdin, NULL, _IONBF, 0); // what poll does not see must not be read ahead
    int result = open_handle(&runner, argv);
    while (!result) {
        struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
        if (poll(&in, 1, 0) > 0) {
            if (!fgets(line, sizeof line, stdin))
                break;
            line[strcspn(line, "\n")] = '\0';
            if (strcmp(line, "end") == 0)
                break;
            result = obey(line, &second, argv);
        }
        if (!result)
            result = genrun_step(runner, 20);
    }
    if (result)
        fprintf(stderr, "host: %s\n", genrun_message(runner));
    genrun_close(second);
    genrun_close(runner);
    return result;
}
