// SPDX-License-Identifier: MIT
#include "db/moved.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"
#include "db/backup.h"
#include "db/connection.h"
#include "db/owner.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RESCUE_WAIT_MS 5000

bool db_has_moved(const struct db *db) {
    // SQLite's name of it is absolute and without links.
    return db->handle && owner_has_moved(db->owner, sqlite3_db_filename(db->handle, "main"));
}

int db_check_place(const struct db *db, struct err *e) {
    return db_has_moved(db) ? err_set(e, ERR_DATABASE,
                                      "database %s was moved, deleted or replaced meanwhile: see what is "
                                      "there and try again",
                                      db->path)
                            : 0;
}

// Where an open file is now; "" when nobody can tell.
static void find(int fd, char *place, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, place, size - 1);
    place[length > 0 ? length : 0] = 0;
}

static int saved(struct db *db, const char *what, struct err *e) {
    char random[9];
    struct err reason = {0};
    id_random_hex(random, 4);
    char *path = mem_format("%s.saved-%s", db->path, random);
    if (backup_write(db, path, NULL, NULL, &reason) == 0)
        err_set(e, ERR_DATABASE,
                "database %s was %s while it was in use: all that it held is saved as %s, put the right one "
                "in its place and start again",
                db->path, what, path);
    else
        err_set(e, ERR_DATABASE, "database %s was %s while it was in use and cannot be saved: %s", db->path,
                what, reason.message);
    free(path);
    return ERR_DATABASE;
}

int db_rescue(struct db *db, struct err *e) {
    struct stat old, there;
    char place[PATH_MAX];
    int fd = owner_descriptor(db->owner);
    const char *what = stat(db->path, &there) == 0 ? "replaced by another file" : "moved away";
    // On this connection: another one would open what is at the path now. TRUNCATE takes the writer lock, so that no
    // commit meets it.
    db->busy_until_ms = clock_monotonic_ms() + RESCUE_WAIT_MS;
    int code = sqlite3_wal_checkpoint_v2(db->handle, "main", SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    if (fstat(fd, &old) == 0 && old.st_nlink == 0)
        return saved(db, stat(db->path, &there) == 0 ? what : "deleted", e);
    find(fd, place, sizeof place);
    if (code != SQLITE_OK)
        return err_set(e, ERR_DATABASE,
                       "database %s was %s while it was in use, and its last commits could not be written to "
                       "%s (%s): move %s there, too, as %s-wal",
                       db->path, what, place, sqlite3_errmsg(db->handle), db_log_path(db), place);
    return err_set(e, ERR_DATABASE,
                   "database %s was %s while it was in use: all that it held is in %s, put the right one in "
                   "its place and start again",
                   db->path, what, place);
}
