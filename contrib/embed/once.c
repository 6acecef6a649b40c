/* SPDX-License-Identifier: MIT
 * The smallest host: one prompt in, one answer out, and the work is in a file should the power fail in between.
 *   once DATABASE MODEL PROMPT
 */
#include <genrun.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    genrun_options options = GENRUN_OPTIONS_INIT;
    genrun_spec spec = GENRUN_SPEC_INIT;
    char id[GENRUN_ID_SIZE];
    genrun *g;
    int code;

    if (argc != 4) {
        fprintf(stderr, "usage: once DATABASE MODEL PROMPT\n");
        return GENRUN_INVALID;
    }
    options.database = argv[1];
    options.create = 1;
    spec.model = argv[2];
    spec.prompt = argv[3];

    code = genrun_open(&g, &options);
    if (code == GENRUN_OK)
        code = genrun_submit(g, id, NULL, &spec);
    if (code == GENRUN_OK)
        code = genrun_wait(g, id, 1, NULL, NULL); /* runs it here, unless a runner is up */
    if (code == GENRUN_OK)
        code = genrun_write_output(g, id, stdout);
    if (code == GENRUN_OK)
        putchar('\n');
    else
        fprintf(stderr, "once: %s\n", genrun_message(g));
    genrun_close(g);
    return code;
}
