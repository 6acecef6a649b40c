// SPDX-License-Identifier: MIT
// Writes of a host (an HTTP server on the runner's loop), done inside the tick's one
// transaction: each in a savepoint of its own, all on disk with the tick's commit.
#ifndef GENRUN_RUN_WRITE_H
#define GENRUN_RUN_WRITE_H

#include <stdbool.h>
#include <stdint.h>

struct genrun;

// Embedded in its owner, which sets the first three and zeroes the rest.
struct host_write {
    // Called once, inside the transaction: writes with functions of the handle. Another result than 0 undoes what it
    // wrote, and nothing of the others.
    int (*on_write)(void *payload, struct genrun *g);
    // Called once, at the end of that tick, after which the struct may be used again or freed. result 0: what it wrote
    // is on disk; on_write's own result, with the handle's message of then; GENRUN_DATABASE: nothing is stored, and
    // `message` says why (the disk is full, another process holds the database, the runner stops).
    void (*on_done)(void *payload, int result, const char *message);
    void *payload;
    struct host_write *next, **back; // back NULL: in no list
    int64_t since_ms;                // monotonic
    int result;
    char *message; // of a result other than 0; NULL: none
};

struct write_list {
    struct host_write *first, **end;
};

struct writes {
    struct write_list pending, written; // written: by the transaction under way, or waiting for their on_done
    struct host_write *current;         // its on_write is running; NULL: it was cancelled meanwhile
};

struct runner;
void write_open(struct writes *writes);
void write_queue(struct writes *writes, struct host_write *w);
void write_cancel(struct writes *writes, struct host_write *w); // not queued: fine
// When the first of them has waited too long for the database: monotonic; INT64_MAX: none waits.
int64_t write_due_ms(const struct writes *writes);
// Tells those that have waited too long.
void write_expire(struct runner *runner, int64_t now_ms);
// Inside of a transaction: a slice of them. True when any changed something.
bool write_run(struct runner *runner);
// After the commit.
void write_done(struct runner *runner);
// The transaction failed with what these wrote; with `all`, those that still wait are told, too.
void write_failed(struct runner *runner, bool all, const char *message);

#endif
