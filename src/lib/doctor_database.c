// SPDX-License-Identifier: MIT
// The database: whose it is, who can read it, whether it is whole, who holds it.
#include "base/clock.h"
#include "base/mem.h"
#include "base/process.h"
#include "db/check.h"
#include "db/header.h"
#include "db/migrate.h"
#include "lib/doctor.h"
#include "queue/audit.h"
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CHECK_LIMIT_MS 2000          // for the check of the pages, and as much for that of the rows
#define CHECK_MAXIMUM (4LL << 30)    // bytes of a file that is not read as a whole
#define LOG_WORTH_TELLING (64 << 20) // bytes of a log that a runner keeps under 8 MiB
#define WRITER_LIMIT_MS 1000         // no slice of genrun's holds the writer lock for so long
#define WRITER_LOOK_MS 20
#define DAMAGES_TOLD 5

// ---- the files ----

static void name_of_user(uid_t user, char *out, size_t size) {
    char space[1024];
    struct passwd entry, *found = NULL;
    if (getpwuid_r(user, &entry, space, sizeof space, &found) == 0 && found)
        snprintf(out, size, "%s", entry.pw_name);
    else
        snprintf(out, size, "user %u", (unsigned)user);
}

// One of the three files that a database is made of.
static void look_at_file(struct doctor *d, const char *path, const struct stat *database) {
    struct stat st;
    char owner[64], other[64];
    if (stat(path, &st) != 0)
        return;
    if ((st.st_mode & 077) != 0) {
        char *advice = mem_format("chmod 600 %s", path);
        doctor_tell(d, "permissions", DOCTOR_WRONG, advice,
                    "%s holds prompts and outputs and is open to others (mode %04o)", path,
                    (unsigned)st.st_mode & 07777);
        free(advice);
    }
    name_of_user(st.st_uid, owner, sizeof owner);
    if (st.st_uid != database->st_uid) {
        name_of_user(database->st_uid, other, sizeof other);
        char *advice = mem_format("chown %s %s", other, path);
        doctor_tell(d, "permissions", DOCTOR_WRONG, advice, "%s belongs to %s and the database to %s", path,
                    owner, other);
        free(advice);
    } else if (st.st_uid != geteuid() && st.st_ino == database->st_ino) {
        name_of_user(geteuid(), other, sizeof other);
        char *advice = mem_format("use genrun as %s, lest files beside it become another's", owner);
        doctor_tell(d, "permissions", DOCTOR_NOTE, advice, "%s belongs to %s, this is %s", path, owner,
                    other);
        free(advice);
    }
}

static void look_at_log(struct doctor *d, const char *path) {
    struct stat st;
    if (stat(path, &st) != 0)
        return;
    double mib = (double)st.st_size / (1 << 20);
    if (st.st_size > LOG_WORTH_TELLING)
        doctor_tell(d, "log", DOCTOR_NOTE,
                    d->served ? "a reader that stays open holds it: end sqlite3 shells and backups that hang"
                              : "start a runner: it copies the log into the database",
                    "the write-ahead log has %.1f MiB", mib);
    else
        doctor_tell(d, "log", DOCTOR_OK, NULL, "the write-ahead log has %.1f MiB", mib);
}

static void look_at_files(struct doctor *d, const struct stat *st) {
    char *real = realpath(d->database, NULL); // the log stands beside the file that a link leads to
    int64_t before = d->wrong;
    char *log = mem_format("%s-wal", real ? real : d->database),
         *index = mem_format("%s-shm", real ? real : d->database);
    look_at_file(d, d->database, st);
    look_at_file(d, log, st);
    look_at_file(d, index, st);
    if (d->wrong == before)
        doctor_tell(d, "permissions", DOCTOR_OK, NULL, "the database's files are open to their owner only");
    look_at_log(d, log);
    free(real);
    free(log);
    free(index);
}

// ---- the content ----

struct damage {
    struct doctor *d;
    const char *check;
    int64_t count;
};

static int tell_damage(void *payload, struct row *row) {
    struct damage *damage = payload;
    if (damage->count++ < DAMAGES_TOLD)
        doctor_tell(damage->d, damage->check, DOCTOR_WRONG, row_text(row, "advice"), "%s",
                    row_text(row, "problem"));
    row_free(row);
    return 0;
}

static void look_at_pages(struct doctor *d, int64_t bytes) {
    struct damage damage = {d, "integrity", 0};
    struct err e = {0};
    if (bytes > CHECK_MAXIMUM) {
        doctor_tell(d, "integrity", DOCTOR_NOTE, "'genrun db check' takes its time and reads it whole",
                    "not looked at, the file has %.1f GiB", (double)bytes / (1 << 30));
        return;
    }
    db_limit(d->db, CHECK_LIMIT_MS);
    int result = check_file(d->db, true, tell_damage, &damage, &e);
    db_limit(d->db, 0);
    if (result && db_was_cut(d->db))
        doctor_tell(d, "integrity", DOCTOR_NOTE, "'genrun db check' takes its time and reads it whole",
                    "no damage seen within %d s, and not all was read", CHECK_LIMIT_MS / 1000);
    else if (result)
        doctor_tell_message(d, "integrity", DOCTOR_WRONG, e.message);
    else if (damage.count > DAMAGES_TOLD)
        doctor_tell(d, "integrity", DOCTOR_WRONG, "'genrun db check' tells of all", "and %lld more damages",
                    (long long)damage.count - DAMAGES_TOLD);
    else if (damage.count == 0)
        doctor_tell(d, "integrity", DOCTOR_OK, NULL, "its pages are whole");
}

static void look_at_rows(struct doctor *d) {
    struct damage damage = {d, "rows", 0};
    struct err e = {0};
    db_limit(d->db, CHECK_LIMIT_MS);
    int result = db_run(d->db, &e, "BEGIN", ""); // all of one moment
    if (!result)
        result = audit_rows(d->db, tell_damage, &damage, &e);
    bool cut = result && db_was_cut(d->db);
    db_limit(d->db, 0);
    db_rollback(d->db);
    if (cut)
        doctor_tell(d, "rows", DOCTOR_NOTE, "'genrun db check' takes its time and counts them all",
                    "no fault seen within %d s, and not all were counted", CHECK_LIMIT_MS / 1000);
    else if (result)
        doctor_tell_message(d, "rows", DOCTOR_WRONG, e.message);
    else if (damage.count > DAMAGES_TOLD)
        doctor_tell(d, "rows", DOCTOR_WRONG, "'genrun db check' tells of all", "and %lld more faults",
                    (long long)damage.count - DAMAGES_TOLD);
    else if (damage.count == 0)
        doctor_tell(d, "rows", DOCTOR_OK, NULL, "states and counters agree");
}

// A shell with an open transaction keeps everybody from writing.
static void look_at_writer(struct doctor *d) {
    const struct timespec pause = {0, WRITER_LOOK_MS * 1000000L};
    int64_t end_ms = clock_monotonic_ms() + WRITER_LIMIT_MS, first = db_writer(d->db);
    struct process_stat process;
    while (first > 0 && !(d->served && first == d->health.runner_pid) && clock_monotonic_ms() < end_ms) {
        nanosleep(&pause, NULL); // no event tells of a lock that is given back
        if (db_writer(d->db) != first)
            first = 0;
    }
    if (first > 0 && !(d->served && first == d->health.runner_pid)) {
        bool seen = process_read((pid_t)first, &process);
        char *advice =
            mem_format("end the transaction that process %lld has open, or that process", (long long)first);
        doctor_tell(d, "writer lock", DOCTOR_WRONG, advice,
                    "process %lld (%s) has kept others from writing for more than %d s", (long long)first,
                    seen ? process.name : "unknown", WRITER_LIMIT_MS / 1000);
        free(advice);
    } else {
        doctor_tell(d, "writer lock", DOCTOR_OK, NULL, "nobody keeps it");
    }
}

static void look_inside(struct doctor *d, int64_t bytes) {
    struct err e = {0};
    bool current = false;
    struct damage damage = {d, "schema", 0};
    int result = check_schema(d->db, &current, tell_damage, &damage, &e);
    if (result)
        doctor_tell_message(d, "schema", DOCTOR_WRONG, e.message);
    else if (damage.count == 0)
        doctor_tell(d, "schema", DOCTOR_OK, NULL, "version %d, as this genrun makes it", migrate_newest());
    look_at_pages(d, bytes);
    if (!current || result) {
        db_close(d->db); // its rows cannot be asked by this program's statements
        d->db = NULL;
        return;
    }
    look_at_rows(d);
    d->served = db_is_served(d->db);
    if (queue_health(d->db, &d->health, &e) != 0) {
        doctor_tell_message(d, "database", DOCTOR_WRONG, e.message);
        db_close(d->db);
        d->db = NULL;
        return;
    }
    look_at_writer(d);
}

void doctor_look_at_database(struct doctor *d) {
    struct stat st;
    struct err e = {0};
    if (!d->database) {
        doctor_tell(d, "database", DOCTOR_NOTE, "mend the configuration first, or name it with -d",
                    "not looked at: the configuration, which names it, cannot be read");
        return;
    }
    int result = db_open(&d->db, d->database, DB_LOOK, &e);
    if (result == ERR_NOT_FOUND) {
        doctor_tell(d, "database", DOCTOR_NOTE, "the first submission makes it",
                    "%s does not exist yet, or is empty", d->database);
        return;
    }
    if (result)
        doctor_tell_message(d, "database", DOCTOR_WRONG, e.message);
    if (stat(d->database, &st) != 0 || !S_ISREG(st.st_mode) || (!d->db && header_is_foreign(d->database)))
        return; // another program's file is not ours to judge
    if (!result)
        doctor_tell(d, "database", DOCTOR_OK, NULL, "%s, %.1f MiB, on a local disk", d->database,
                    (double)st.st_size / (1 << 20));
    d->served = d->db && db_is_served(d->db);
    look_at_files(d, &st);
    if (d->db)
        look_inside(d, st.st_size);
}
