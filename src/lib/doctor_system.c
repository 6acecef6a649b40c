// SPDX-License-Identifier: MIT
// The system around: libraries and their known bugs, disks, the clock, limits.
#include "base/clock.h"
#include "base/mem.h"
#include "lib/doctor.h"
#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#define SQLITE_OLDEST 3038000 // what the schema is written for
#define CURL_OLDEST 0x075700  // 7.87.0: names are looked up without blocking (CURLOPT_QUICK_EXIT)
#define YEAR_OF_RELEASE 2026  // this program was not run before
#define SPACE_WRONG (64LL << 20)
#define SPACE_NOTE (512LL << 20)
#define FILES_WRONG 100 // inodes
#define FILES_NOTE 1000
#define DESCRIPTORS_ASIDE 64 // the database, logs, the loop, a command's own
#define DESCRIPTORS_A_CALL 4 // of a local program: three pipes and a pidfd; of HTTP one

// ---- libraries ----

static void look_at_sqlite(struct doctor *d) {
    int version = sqlite3_libversion_number();
    if (version < SQLITE_OLDEST)
        doctor_tell(d, "SQLite", DOCTOR_WRONG, "install 3.38 or newer", "%s is older than the schema needs",
                    sqlite3_libversion());
    else if (db_has_wal_reset_bug(version))
        doctor_tell(d, "SQLite", DOCTOR_NOTE,
                    "let nothing else checkpoint a live database (no litestream, no PRAGMA wal_checkpoint, "
                    "no sqlite3 "
                    "shell that writes a lot), or install 3.51.3 or newer",
                    "%s has the WAL-reset bug: a commit that meets another's checkpoint can be lost. genrun "
                    "works around "
                    "it: only the owner checkpoints, and never beside a commit",
                    sqlite3_libversion());
    else
        doctor_tell(d, "SQLite", DOCTOR_OK, NULL, "%s, without known bugs that matter here",
                    sqlite3_libversion());
}

static bool wants_tls(const struct config *config) {
    for (size_t i = 0; config && i < config->model_count; i++)
        if (config->models[i].base_url && strncmp(config->models[i].base_url, "https:", 6) == 0)
            return true;
    return false;
}

static void look_at_curl(struct doctor *d) {
    const curl_version_info_data *curl = curl_version_info(CURLVERSION_NOW);
    const char *tls = curl->ssl_version ? curl->ssl_version : "no TLS";
    if (curl->version_num < CURL_OLDEST)
        doctor_tell(d, "libcurl", DOCTOR_WRONG, "install 7.87 or newer", "%s blocks while it looks names up",
                    curl->version);
    else if (!curl->ssl_version && wants_tls(d->config))
        doctor_tell(d, "libcurl", DOCTOR_WRONG, "install a libcurl with TLS",
                    "%s has no TLS, and a model has an https address", curl->version);
    else
        doctor_tell(d, "libcurl", DOCTOR_OK, NULL, "%s (%s)", curl->version, tls);
}

// ---- disks ----

// The folder, or the nearest one above that exists. The caller frees it.
static char *folder_of(const char *path) {
    struct stat st;
    char *folder = mem_copy(path);
    while (stat(folder, &st) != 0 || !S_ISDIR(st.st_mode)) {
        char *slash = strrchr(folder, '/');
        if (!slash || slash == folder) {
            free(folder);
            return mem_copy(slash ? "/" : ".");
        }
        *slash = '\0';
    }
    return folder;
}

static void look_at_disk(struct doctor *d, const char *check, const char *folder) {
    struct statvfs fs;
    if (statvfs(folder, &fs) != 0) {
        doctor_tell(d, check, DOCTOR_WRONG, "check the folder and its disk", "%s cannot be looked at: %s",
                    folder, strerror(errno));
        return;
    }
    int64_t space = (int64_t)fs.f_bavail * (int64_t)fs.f_frsize;
    double mib = (double)space / (1 << 20);
    // Some file systems count no inodes.
    bool counts = fs.f_files > 0;
    if (space < SPACE_WRONG)
        doctor_tell(d, check, DOCTOR_WRONG, "free some space: without it nothing can be stored",
                    "%s has %.1f MiB left", folder, mib);
    else if (counts && fs.f_favail < FILES_WRONG)
        doctor_tell(d, check, DOCTOR_WRONG, "remove small files: no more can be made",
                    "%s has %llu inodes left", folder, (unsigned long long)fs.f_favail);
    else if (space < SPACE_NOTE)
        doctor_tell(d, check, DOCTOR_NOTE, "free some space soon", "%s has %.1f MiB left", folder, mib);
    else if (counts && fs.f_favail < FILES_NOTE)
        doctor_tell(d, check, DOCTOR_NOTE, "remove small files soon", "%s has %llu inodes left", folder,
                    (unsigned long long)fs.f_favail);
    else
        doctor_tell(d, check, DOCTOR_OK, NULL, "%s has %.1f GiB left", folder, mib / 1024);
}

static void look_at_folders(struct doctor *d) {
    char *folder = d->database ? folder_of(d->database) : NULL;
    if (folder)
        look_at_disk(d, "disk", folder);
    if (folder && access(folder, W_OK | X_OK) != 0)
        doctor_tell(d, "disk", DOCTOR_WRONG,
                    "give this user the right, or name another place for the database",
                    "this user may not make files in %s, beside the database", folder);
    const char *named = getenv("TMPDIR");
    const char *temporary = named && *named ? named : "/tmp";
    look_at_disk(d, "temporary folder", temporary);
    if (access(temporary, W_OK | X_OK) != 0)
        doctor_tell(d, "temporary folder", DOCTOR_WRONG, "set TMPDIR to a folder that can be written",
                    "%s cannot be written by this user", temporary);
    free(folder);
}

// ---- the clock ----

static void look_at_clock(struct doctor *d) {
    time_t now = (time_t)(clock_wall_at() / 1000);
    struct tm day;
    struct timex timex = {0}; // no modes: it only looks
    gmtime_r(&now, &day);
    int state = adjtimex(&timex);
    if (day.tm_year + 1900 < YEAR_OF_RELEASE)
        doctor_tell(d, "clock", DOCTOR_WRONG, "set it: ages, delays and TLS depend on it",
                    "the clock shows the year %d", day.tm_year + 1900);
    else if (state == TIME_ERROR || (state >= 0 && (timex.status & STA_UNSYNC)))
        doctor_tell(
            d, "clock", DOCTOR_NOTE,
            "let it be kept by NTP ('timedatectl set-ntp true'); in a container that is the host's matter",
            "nothing synchronises the clock");
    else if (state < 0)
        doctor_tell(d, "clock", DOCTOR_OK, NULL, "plausible; whether it is synchronised cannot be told here");
    else
        doctor_tell(d, "clock", DOCTOR_OK, NULL, "plausible and synchronised");
}

// ---- limits ----

static void look_at_descriptors(struct doctor *d) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || !d->config)
        return;
    bool local = false;
    for (size_t i = 0; i < d->config->model_count; i++)
        local |= strcmp(d->config->models[i].provider, "command") == 0;
    int concurrency = d->config->scheduler.concurrency;
    uint64_t needed = (uint64_t)concurrency * (local ? DESCRIPTORS_A_CALL : 1) + DESCRIPTORS_ASIDE;
    if ((uint64_t)limit.rlim_cur < needed) {
        char *advice = mem_format(
            "raise the limit to %llu (ulimit -n, LimitNOFILE= of the unit), or lower concurrency in "
            "[scheduler]",
            (unsigned long long)needed);
        doctor_tell(d, "open files", DOCTOR_WRONG, advice,
                    "%llu may be open at once, concurrency %d needs %llu", (unsigned long long)limit.rlim_cur,
                    concurrency, (unsigned long long)needed);
        free(advice);
    } else {
        doctor_tell(d, "open files", DOCTOR_OK, NULL,
                    "%llu may be open at once, %llu are enough for concurrency %d",
                    (unsigned long long)limit.rlim_cur, (unsigned long long)needed, concurrency);
    }
}

// Notices of other processes' writes: without them the runner looks every poll_interval.
static void look_at_notices(struct doctor *d) {
    char *folder = folder_of(d->database ? d->database : ".");
    int fd = inotify_init1(IN_CLOEXEC);
    bool watches = fd >= 0 && inotify_add_watch(fd, folder, IN_MODIFY) >= 0;
    int error = errno;
    if (watches)
        doctor_tell(d, "inotify", DOCTOR_OK, NULL, "there is room for a watch");
    else
        doctor_tell(d, "inotify", DOCTOR_NOTE,
                    error == ENOSPC ? "raise it with 'sysctl fs.inotify.max_user_watches=65536'"
                                    : "raise it with 'sysctl fs.inotify.max_user_instances=512'",
                    "no watch is left to this user (%s): a runner notices new work every poll_interval only",
                    strerror(error));
    if (fd >= 0)
        close(fd);
    free(folder);
}

void doctor_look_at_system(struct doctor *d) {
    look_at_sqlite(d);
    look_at_curl(d);
    look_at_folders(d);
    look_at_clock(d);
    look_at_descriptors(d);
    look_at_notices(d);
}
