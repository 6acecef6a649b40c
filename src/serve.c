// SPDX-License-Identifier: MIT
// The daemon put together: the runner and, where an address is given, the HTTP server on
// its loop.
#include "serve.h"
#include "cli/command.h"
#include "http/server.h"
#include "lib/config.h"
#include "lib/host.h"

int serve_run(struct cli *cli, const genrun_run_options *options, const char *listen, bool http) {
    struct config *config = NULL;
    struct server *server = NULL;
    struct err e = {0};
    int code = config_load(&config, cli->config, cli->database, &e);
    if (!code && http && (listen || config->http.listen))
        code = server_open(&server, cli->g, config, listen, &e);
    if (code) {
        code = cli_fail(cli, code, "%s", e.message);
    } else {
        code = host_run(cli->g, options, server ? server_hooks(server) : NULL);
        cli_report(cli, code);
    }
    server_close(server);
    config_free(config);
    return code;
}
