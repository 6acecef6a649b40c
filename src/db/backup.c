// SPDX-License-Identifier: MIT
#include "db/backup.h"
#include "base/id.h"
#include "base/mem.h"
#include "db/connection.h"
#include "db/migrate.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define PROGRESS_STEPS 20000 // of SQLite's machine between two looks
#define LOCK_WAIT_MS 5000

// ---- a backup under way ----

struct backup {
    struct db *db;
    const char *path;
    char *part; // its name until it is whole
    int fd;
    int64_t total; // bytes
    backup_progress progress;
    void *payload;
    bool interrupted;
};

static int on_progress(void *payload) {
    struct backup *b = payload;
    struct stat st;
    if (b->progress && fstat(b->fd, &st) == 0)
        b->interrupted |= b->progress(b->payload, st.st_size, b->total) != 0;
    return b->interrupted;
}

static int failed(const struct backup *b, int reason, struct err *e) {
    return err_set(e, ERR_WORK, "cannot write %s (%s): nothing was kept, free space or write elsewhere",
                   b->path, strerror(reason));
}

static int open_part(struct backup *b, struct err *e) {
    struct stat st;
    char random[17];
    if (lstat(b->path, &st) == 0)
        return err_set(e, ERR_INVALID, "%s exists already: name a new file", b->path);
    id_random_hex(random, 8);
    b->part = mem_format("%s.part-%s", b->path, random);
    b->fd = open(b->part, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (b->fd >= 0)
        return 0;
    int reason = errno;
    free(b->part);
    b->part = NULL;
    return err_set(e, ERR_INVALID, "cannot write %s (%s): name a file that can be made", b->path,
                   strerror(reason));
}

// What SQLite says of the copying or the checking.
static int copy_failed(struct backup *b, sqlite3 *handle, struct err *e) {
    if (b->interrupted)
        return err_set(e, ERR_CONFLICT, "interrupted: nothing was kept");
    switch (sqlite3_errcode(handle) & 0xff) {
    case SQLITE_FULL:
        return failed(b, ENOSPC, e);
    case SQLITE_IOERR:
        return failed(b, sqlite3_system_errno(handle) ? sqlite3_system_errno(handle) : EIO, e);
    default:
        return connection_failed(handle, b->db->path, e);
    }
}

static int copy(struct backup *b, struct err *e) {
    sqlite3 *handle = b->db->handle;
    sqlite3_stmt *s = NULL;
    int64_t pages = 0, unused = 0, page_size = 0;
    int result;
    if ((result = db_integer(b->db, e, &pages, 0, "PRAGMA page_count", "")) ||
        (result = db_integer(b->db, e, &unused, 0, "PRAGMA freelist_count", "")) ||
        (result = db_integer(b->db, e, &page_size, 0, "PRAGMA page_size", "")))
        return result;
    b->total = (pages - unused) * page_size;
    // The copy is written through this connection, too.
    if (sqlite3_exec(handle, "PRAGMA query_only=OFF", NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(handle, "VACUUM INTO ?1", -1, &s, NULL) != SQLITE_OK)
        return connection_failed(handle, b->db->path, e);
    sqlite3_bind_text(s, 1, b->part, -1, SQLITE_STATIC);
    sqlite3_progress_handler(handle, PROGRESS_STEPS, on_progress, b);
    int code = sqlite3_step(s);
    sqlite3_progress_handler(handle, 0, NULL, NULL);
    if (code != SQLITE_DONE)
        result = copy_failed(b, handle, e);
    sqlite3_finalize(s);
    return result;
}

// The copy is genrun's, of the same version, and whole.
static int verify(struct backup *b, struct err *e) {
    sqlite3 *handle = NULL;
    sqlite3_stmt *s = NULL;
    int pending = 0, own_pending = 0;
    int result = migrate_examine(b->db->handle, b->db->path, &own_pending, e);
    if (result)
        return result;
    if (sqlite3_open_v2(b->part, &handle, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
        result = err_set(e, ERR_WORK, "cannot read %s again (%s): nothing was kept, write elsewhere", b->path,
                         sqlite3_errmsg(handle));
        goto out;
    }
    sqlite3_progress_handler(handle, PROGRESS_STEPS, on_progress, b);
    if ((result = migrate_examine(handle, b->path, &pending, e)))
        goto out;
    if (sqlite3_prepare_v2(handle, "PRAGMA quick_check(1)", -1, &s, NULL) != SQLITE_OK ||
        sqlite3_step(s) != SQLITE_ROW)
        result = copy_failed(b, handle, e);
    else if (strcmp(db_text(s, 0), "ok") != 0 || pending != own_pending)
        result = err_set(e, ERR_WORK,
                         "the copy %s is not whole: nothing was kept, check the disk and write elsewhere",
                         b->path);
out:
    sqlite3_finalize(s);
    sqlite3_close(handle);
    return result;
}

// Gives the copy its name, unless that was taken meanwhile.
static int publish(struct backup *b, struct err *e) {
    int rc = renameat2(AT_FDCWD, b->part, AT_FDCWD, b->path, RENAME_NOREPLACE);
    if (rc != 0 && errno == EINVAL && (rc = link(b->part, b->path)) == 0) // a file system without that flag
        unlink(b->part);
    if (rc != 0 && errno == EEXIST)
        return err_set(e, ERR_INVALID, "%s exists already: name a new file", b->path);
    if (rc != 0)
        return failed(b, errno, e);
    free(b->part);
    b->part = NULL;
    const char *slash = strrchr(b->path, '/');
    char *folder = slash == NULL ? mem_copy(".") : mem_copy_bytes(b->path, (size_t)(slash - b->path) + 1);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        rc = err_set(e, ERR_WORK, "%s is written, but its folder cannot be synced (%s): check the disk",
                     b->path, strerror(errno));
    if (fd >= 0)
        close(fd);
    free(folder);
    return rc;
}

int backup_write(struct db *db, const char *path, backup_progress progress, void *payload, struct err *e) {
    struct backup b = {.db = db, .path = path, .fd = -1, .progress = progress, .payload = payload};
    int result = open_part(&b, e);
    if (result)
        return result;
    if (!(result = copy(&b, e)) && fsync(b.fd) != 0)
        result = failed(&b, errno, e);
    if (!result)
        result = verify(&b, e);
    if (!result)
        result = publish(&b, e);
    if (b.part)
        unlink(b.part);
    free(b.part);
    close(b.fd);
    return result;
}

// ---- vacuum ----

static int64_t size_of(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 ? st.st_size : 0;
}

static int64_t size_on_disk(const struct db *db) {
    return size_of(db->path) + size_of(db_log_path(db));
}

// Where SQLite puts the copy that a vacuum makes first; the same places in the same order.
static const char *temporary_folder(void) {
    const char *const folders[] = {
        getenv("SQLITE_TMPDIR"), getenv("TMPDIR"), "/var/tmp", "/usr/tmp", "/tmp", "."};
    struct stat st;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (folders[i] && stat(folders[i], &st) == 0 && S_ISDIR(st.st_mode) &&
            access(folders[i], W_OK | X_OK) == 0)
            return folders[i];
    return ".";
}

static int check_room(const char *folder, int64_t needed, struct err *e) {
    struct statvfs fs;
    if (statvfs(folder, &fs) != 0) // then the vacuum itself will tell
        return 0;
    int64_t there = (int64_t)((uint64_t)fs.f_bavail * fs.f_frsize);
    if (there >= needed)
        return 0;
    return err_set(e, ERR_DATABASE,
                   "a vacuum needs %" PRId64 " MB in %s and there are %" PRId64 " MB: free some space",
                   needed / 1000000 + 1, folder, there / 1000000);
}

// One copy goes to the temporary folder, one through the log.
static int check_rooms(const struct db *db, int64_t bytes, struct err *e) {
    char *log_folder = mem_copy(db_log_path(db));
    char *slash = strrchr(log_folder, '/');
    if (slash)
        slash[slash == log_folder] = '\0';
    struct stat a = {0}, b = {0};
    bool same =
        stat(slash ? log_folder : ".", &a) == 0 && stat(temporary_folder(), &b) == 0 && a.st_dev == b.st_dev;
    int result = check_room(slash ? log_folder : ".", same ? 2 * bytes : bytes, e);
    if (!result && !same)
        result = check_room(temporary_folder(), bytes, e);
    free(log_folder);
    return result;
}

int backup_vacuum(struct db *db, int64_t *before, int64_t *after, struct err *e) {
    int64_t pages = 0, unused = 0, page_size = 0, version = 0;
    int result;
    char again[96];
    if (!db->is_owner)
        return err_set(e, ERR_CONFLICT, "only the owner of the database vacuums it");
    // What stands in the log is part of the size: into the file with it first.
    if ((result = db_checkpoint(db, LOCK_WAIT_MS, NULL, e)))
        return result;
    *before = size_on_disk(db);
    if ((result = db_integer(db, e, &pages, 0, "PRAGMA page_count", "")) ||
        (result = db_integer(db, e, &unused, 0, "PRAGMA freelist_count", "")) ||
        (result = db_integer(db, e, &page_size, 0, "PRAGMA page_size", "")) ||
        (result = db_integer(db, e, &version, 0, "PRAGMA user_version", "")) ||
        (result = check_rooms(db, (pages - unused) * page_size + page_size, e)))
        return result;
    // In memory the copy could be larger than the machine. Its file is made 0600 and has no name.
    if ((result = db_run(db, e, "PRAGMA temp_store=FILE", "")) || (result = db_run(db, e, "VACUUM", "")) ||
        (result = db_checkpoint(db, LOCK_WAIT_MS, NULL, e)))
        return result;
    // A commit after a checkpoint begins the log anew and cuts it: here to next to nothing.
    snprintf(again, sizeof again, "PRAGMA journal_size_limit=0; PRAGMA user_version = %" PRId64, version);
    if (sqlite3_exec(db->handle, again, NULL, NULL, NULL) != SQLITE_OK)
        return db_failed(db, e);
    result = db_checkpoint(db, LOCK_WAIT_MS, NULL, e);
    *after = size_on_disk(db);
    return result;
}
