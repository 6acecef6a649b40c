// SPDX-License-Identifier: MIT
// What can be told of a database from beside it, and how long a look may take.
#include "base/clock.h"
#include "base/mem.h"
#include "db/connection.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define STEPS_BETWEEN_LOOKS 20000 // of SQLite's machine: some 100 us
#define WRITER_BYTE 120           // of the -shm file (https://www.sqlite.org/walformat.html#locks)

// ---- the limit ----

static int on_steps(void *payload) {
    const struct db *db = payload;
    return clock_monotonic_ms() >= db->cut_at_ms;
}

void db_limit(struct db *db, int64_t limit_ms) {
    db->cut_at_ms = limit_ms > 0 ? clock_monotonic_ms() + limit_ms : 0;
    sqlite3_progress_handler(db->handle, STEPS_BETWEEN_LOOKS, limit_ms > 0 ? on_steps : NULL, db);
}

bool db_was_cut(const struct db *db) {
    return db->last_code == SQLITE_INTERRUPT;
}

// ---- the bound ----

// SQLite looks at the length, which stands before the value, and reads no page of what is longer.
void db_bound(struct db *db, int64_t bytes) {
    db->bound = bytes;
    db->bounded = false;
    sqlite3_limit(db->handle, SQLITE_LIMIT_LENGTH, bytes > 0 && bytes < INT32_MAX ? (int)bytes : INT32_MAX);
}

bool db_was_bounded(const struct db *db) {
    return db->bounded;
}

// ---- who writes ----

int64_t db_writer(struct db *db) {
    struct stat st;
    char line[256];
    int64_t writer = 0;
    // The index of the log stands beside it: "-shm" instead of "-wal".
    const char *log = db_log_path(db);
    char *index = mem_format("%.*s-shm", (int)(strlen(log) - strlen("-wal")), log);
    FILE *locks = stat(index, &st) == 0 ? fopen("/proc/locks", "re") : NULL;
    free(index);
    while (locks && fgets(line, sizeof line, locks)) {
        int64_t pid = 0;
        uint64_t inode = 0, from = 0, to = 0;
        // "7: POSIX  ADVISORY  WRITE 4711 08:01:1234 120 120" (proc(5))
        if (sscanf(line, "%*d: POSIX ADVISORY WRITE %" SCNd64 " %*x:%*x:%" SCNu64 " %" SCNu64 " %" SCNu64,
                   &pid, &inode, &from, &to) == 4 &&
            inode == (uint64_t)st.st_ino && from == WRITER_BYTE && to == WRITER_BYTE)
            writer = pid;
    }
    if (locks)
        fclose(locks);
    return writer;
}

// ---- bugs ----

bool db_has_wal_reset_bug(int version) {
    bool backported = (version >= 3044006 && version < 3045000) || (version >= 3050007 && version < 3051000);
    return version >= 3007000 && version < 3051003 && !backported;
}
