// SPDX-License-Identifier: MIT
// A program of somebody else's that links libgenrun and stays open: for every line
// on stdin it submits the line as a prompt and prints the id, which is on disk then.
#include "genrun.h"
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
    genrun *g = NULL;
    genrun_options options = GENRUN_OPTIONS_INIT;
    char line[4096], id[GENRUN_ID_SIZE];
    if (argc != 3)
        return GENRUN_INVALID;
    options.config = argv[1];
    options.database = argv[2];
    int result = genrun_open(&g, &options);
    while (!result && fgets(line, sizeof line, stdin)) {
        genrun_spec spec = GENRUN_SPEC_INIT;
        line[strcspn(line, "\n")] = '\0';
        spec.prompt = line;
        result = genrun_submit(g, id, NULL, &spec);
        if (!result) {
            puts(id);
            fflush(stdout);
        }
    }
    if (result)
        fprintf(stderr, "writer: %s\n", genrun_message(g));
    genrun_close(g);
    return result;
}
