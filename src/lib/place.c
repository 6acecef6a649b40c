// SPDX-License-Identifier: MIT
// The places of genrun.ini, tried in order, and the place of data without one.
// A file that is there but cannot be read is an error, never passed over:
// going on with another configuration would use another database.
#include "lib/place.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *environment(const char *name) {
    const char *value = getenv(name);
    return value != NULL && *value != '\0' ? value : NULL;
}

// $variable/genrun/NAME, or $HOME/below/genrun/NAME; NULL when neither is set. As the XDG base
// directory specification says, a relative folder counts as unset.
static char *xdg_path(const char *variable, const char *below, const char *name) {
    const char *folder = environment(variable);
    if (folder != NULL && *folder == '/') {
        return mem_format("%s/genrun/%s", folder, name);
    }
    const char *home = environment("HOME");
    return home != NULL && *home == '/' ? mem_format("%s/%s/genrun/%s", home, below, name) : NULL;
}

char *place_of_data(const char *name) {
    return xdg_path("XDG_DATA_HOME", ".local/share", name);
}

char *place_absolute(const char *path, const char *base_file) {
    char *folder = base_file == NULL && *path != '/' ? getcwd(NULL, 0) : NULL;
    // Without a current folder (it was removed) the path stays as it is, and opening it tells why.
    char *absolute = folder != NULL ? mem_format("%s/%s", strcmp(folder, "/") == 0 ? "" : folder, path)
                                    : file_resolve(path, base_file);
    free(folder);
    return absolute;
}

char *place_of_credential(const char *path) {
    static const char start[] = "$CREDENTIALS_DIRECTORY/";
    const char *folder = environment("CREDENTIALS_DIRECTORY");
    if (!text_starts_with(path, start))
        return NULL;
    const char *name = path + sizeof start - 1;
    return folder != NULL && *folder == '/' ? mem_format("%s/%s", folder, name) : mem_copy(path);
}

bool place_is_file(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

// A folder that may not be searched (another user's home) counts as one without the file.
static bool exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0;
}

int place_of_config(const char *path, char **found, struct err *e) {
    const char *variable = environment("GENRUN_CONFIG");
    const char *given = path != NULL ? path : variable;
    *found = NULL;
    if (given != NULL) {
        struct stat info;
        if (*given == '\0' || stat(given, &info) != 0) {
            const char *reason = *given == '\0' ? "the name is empty" : strerror(errno);
            return err_set(e, ERR_CONFIG, "configuration '%s': %s: check %s", given, reason,
                           path != NULL ? "the path given with -c"
                                        : "the environment variable GENRUN_CONFIG");
        }
        *found = mem_copy(given);
        return ERR_OK;
    }
    char *candidates[] = {mem_copy("genrun.ini"), xdg_path("XDG_CONFIG_HOME", ".config", "genrun.ini"),
                          mem_copy("/etc/genrun.ini")};
    for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++) {
        if (*found == NULL && candidates[i] != NULL && exists(candidates[i])) {
            *found = candidates[i];
        } else {
            free(candidates[i]);
        }
    }
    return ERR_OK;
}

// Reads to the end; false with errno on an error, EFBIG beyond the maximum.
static bool read_all(int descriptor, struct buf *out) {
    char chunk[16384];
    for (;;) {
        ssize_t length = read(descriptor, chunk, sizeof chunk);
        if (length == 0) {
            return true;
        }
        if (length < 0 && errno != EINTR) {
            return false;
        }
        if (length > 0 && !buf_append(out, chunk, (size_t)length)) {
            errno = EFBIG;
            return false;
        }
    }
}

int place_read(const char *path, size_t maximum, struct buf *out, struct err *e) {
    struct stat info;
    int rc = ERR_OK;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        return err_set(e, ERR_CONFIG, "configuration %s: %s: make it readable for this user", path,
                       strerror(errno));
    }
    if (fstat(descriptor, &info) == 0 && S_ISDIR(info.st_mode)) {
        rc = err_set(e, ERR_CONFIG, "configuration %s is a folder: give the path of the file in it", path);
    } else if (!read_all(descriptor, out)) {
        rc = errno == EFBIG
                 ? err_set(e, ERR_CONFIG, "configuration %s is larger than %zu KiB: this is not a genrun.ini",
                           path, maximum / 1024)
                 : err_set(e, ERR_CONFIG, "configuration %s: %s: check the file and its disk", path,
                           strerror(errno));
    }
    close(descriptor);
    return rc;
}
