// SPDX-License-Identifier: MIT
#include "provider/command_probe.h"

#include "base/mem.h"
#include "provider/command_request.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define USUAL_PATH "/bin:/usr/bin" // where posix_spawnp() looks without PATH
#define HEAD_SIZE 256              // of a script's first line the kernel reads no more

// 0 when it is a file that this user may execute, else the errno of starting it.
static int try_file(const char *path) {
    struct stat st;
    if (stat(path, &st) != 0)
        return errno;
    if (!S_ISREG(st.st_mode))
        return EACCES;
    return access(path, X_OK) == 0 ? 0 : errno;
}

// A script's interpreter must be there, too.
static int try_interpreter(const char *path) {
    char head[HEAD_SIZE + 1] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) // what may be executed need not be readable
        return 0;
    ssize_t length = read(fd, head, HEAD_SIZE);
    close(fd);
    if (length == 0)
        return ENOEXEC;
    if (strncmp(head, "#!", 2) != 0)
        return 0;
    char *name = head + 2 + strspn(head + 2, " \t");
    name[strcspn(name, " \t\r\n")] = '\0';
    return try_file(name);
}

// The program's file, as posix_spawnp() finds it, for the caller to free; NULL with the errno.
static char *find_program(const char *program, int *error) {
    if (strchr(program, '/')) {
        *error = try_file(program);
        return *error ? NULL : mem_copy(program);
    }
    const char *path = getenv("PATH");
    *error = ENOENT;
    for (const char *at = path ? path : USUAL_PATH;; at++) {
        size_t length = strcspn(at, ":");
        char *file = mem_format("%.*s/%s", (int)(length ? length : 1), length ? at : ".", program);
        int here = try_file(file);
        if (here == 0) {
            *error = 0;
            return file;
        }
        if (here == EACCES)
            *error = here;
        free(file);
        at += length;
        if (!*at)
            return NULL;
    }
}

static void look(struct probe *probe, const struct model *model) {
    int error = 0;
    char *file = find_program(model->program, &error);
    if (file)
        error = try_interpreter(file);
    if (!error && model->folder && access(model->folder, X_OK) != 0) {
        probe_found(probe, false,
                    mem_format("its folder %s cannot be entered: %s", model->folder, strerror(errno)),
                    mem_copy("make it again, or give this user the right"));
    } else if (error) {
        probe_found(probe, false, mem_format("cannot start %s (%s)", model->program, strerror(error)),
                    mem_copy(command_why_not(error, model)));
    } else {
        probe->result.reachable = PROBE_YES;
        probe_found(probe, true, mem_format("%s can be started", file), NULL);
    }
    if (probe->result.reachable != PROBE_YES) {
        probe->result.reachable = PROBE_NO;
        probe->result.unconfigured = true;
    }
    free(file);
}

struct probe *command_probe_start(struct loop *loop, const struct model *model, const char *model_id,
                                  probe_end on_end, void *payload) {
    struct probe *probe = probe_new(sizeof *probe, loop, on_end, payload);
    struct err e;
    (void)model_id;
    if (model_check_key(model, &e)) {
        probe->result.key = PROBE_NO;
        probe_found_unconfigured(probe, &e);
    } else {
        probe->result.key = PROBE_YES;
        look(probe, model);
    }
    probe_tell(probe);
    return probe;
}
