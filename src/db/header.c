// SPDX-License-Identifier: MIT
// Reading the header of a database file (https://www.sqlite.org/fileformat2.html, sections 1.3 and 1.6).
#include "db/header.h"
#include "base/mem.h"
#include "db/migrate.h"
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER_SIZE 108 // the file's header, and of the first page's own as far as its number of cells
#define AT_USER_VERSION 60
#define AT_APPLICATION_ID 68
#define AT_PAGE_TYPE 100
#define AT_CELL_COUNT 103
#define LEAF_OF_TABLE 13

static int32_t number(const unsigned char *at) {
    return (int32_t)((uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3]);
}

bool header_log_has_content(const char *path) {
    struct stat st;
    char *target = realpath(path, NULL); // the log stands beside the file that a link leads to
    char *log = mem_format("%s-wal", target ? target : path);
    bool has = stat(log, &st) == 0 ? st.st_size > 0 : errno != ENOENT;
    free(log);
    free(target);
    return has;
}

int header_examine(int fd, const char *path, int newest, bool *fresh, struct err *e) {
    unsigned char head[HEADER_SIZE];
    size_t length = 0;
    *fresh = false;
    while (length < sizeof head) {
        ssize_t n = pread(fd, head + length, sizeof head - length, (off_t)length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(e, ERR_DATABASE, "database %s cannot be read (%s): check the disk", path,
                           strerror(errno));
        if (n == 0)
            break;
        length += (size_t)n;
    }
    if (length == 0) {
        *fresh = true;
        return 0;
    }
    if (length < sizeof head || memcmp(head, "SQLite format 3", 16) != 0)
        return err_set(e, ERR_DATABASE, "%s is not a database: name genrun's own file with -d", path);
    int32_t application = number(head + AT_APPLICATION_ID), version = number(head + AT_USER_VERSION);
    // Ours carry the application id from their first page on, so one without it has nothing of ours in its log.
    bool bare = application == 0 && version == 0 && head[AT_PAGE_TYPE] == LEAF_OF_TABLE &&
                head[AT_CELL_COUNT] == 0 && head[AT_CELL_COUNT + 1] == 0 && !header_log_has_content(path);
    if (application != MIGRATE_APPLICATION_ID && !bare)
        return err_set(e, ERR_DATABASE, "%s is a database of another program: name genrun's own file with -d",
                       path);
    // The log may hold a newer version than the header, never an older one.
    if (version > newest)
        return err_set(e, ERR_DATABASE,
                       "%s has schema version %d and this genrun knows %d: use a newer genrun", path,
                       (int)version, newest);
    *fresh = bare;
    return 0;
}

bool header_is_foreign(const char *path) {
    unsigned char head[HEADER_SIZE];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false;
    ssize_t length = pread(fd, head, sizeof head, 0);
    close(fd);
    return length > 0 && ((size_t)length < sizeof head || memcmp(head, "SQLite format 3", 16) != 0 ||
                          number(head + AT_APPLICATION_ID) != MIGRATE_APPLICATION_ID);
}
