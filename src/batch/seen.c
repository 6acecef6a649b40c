// SPDX-License-Identifier: MIT
// Duplicate names in bounded memory: an external merge sort over (hash, line).
// Each time the array is full it is sorted and written as one run; at the end
// the same array is cut into one read buffer per run for the merge, so the
// memory used never exceeds what the array took from the start (plus a few
// words per run).
#include "batch/seen.h"

#include "base/id.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

struct record {
    uint64_t high, low; // the hash
    int64_t line;
};

// A sorted run in the file, and the part of it that is in memory during the merge.
struct run {
    off_t offset; // of the next record to read
    size_t left;  // records not read yet
    struct record *buffer;
    size_t at, count;
};

struct seen {
    uint64_t key[2];
    struct record *records;
    size_t count, capacity;
    int file; // -1: everything is in memory
    size_t runs;
    size_t last_run; // records in the last run; all others are full
};

// ---- SipHash-2-4 with 128 bits of output (Aumasson and Bernstein, 2012) ----

static uint64_t rotate(uint64_t x, unsigned bits) {
    return (x << bits) | (x >> (64 - bits));
}

static void mix(uint64_t v[4], int rounds) {
    for (int i = 0; i < rounds; i++) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = rotate(v[1], 13) ^ v[0];
        v[3] = rotate(v[3], 16) ^ v[2];
        v[0] = rotate(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = rotate(v[1], 17) ^ v[2];
        v[3] = rotate(v[3], 21) ^ v[0];
        v[2] = rotate(v[2], 32);
    }
}

static void hash_name(const uint64_t key[2], const char *name, size_t length, struct record *out) {
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575U, key[1] ^ 0x646f72616e646f6dU ^ 0xee,
                     key[0] ^ 0x6c7967656e657261U, key[1] ^ 0x7465646279746573U};
    size_t whole = length - length % 8;
    for (size_t i = 0; i < whole; i += 8) {
        uint64_t word; // the byte order only has to be the same within one process
        memcpy(&word, name + i, 8);
        v[3] ^= word;
        mix(v, 2);
        v[0] ^= word;
    }
    uint64_t last = (uint64_t)length << 56;
    for (size_t i = whole; i < length; i++)
        last |= (uint64_t)(unsigned char)name[i] << (8 * (i - whole));
    v[3] ^= last;
    mix(v, 2);
    v[0] ^= last;
    v[2] ^= 0xee;
    mix(v, 4);
    out->high = v[0] ^ v[1] ^ v[2] ^ v[3];
    v[1] ^= 0xdd;
    mix(v, 4);
    out->low = v[0] ^ v[1] ^ v[2] ^ v[3];
}

// ---- the temporary file ----------------------------------------------------

static int file_open_in(const char *folder) {
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    // Not every file system knows O_TMPFILE.
    char *path = mem_format("%s/genrun-XXXXXX", folder);
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    free(path);
    return fd;
}

static int file_open(int *fd, struct err *e) {
    const char *named = getenv("TMPDIR");
    if (named && *named) {
        *fd = file_open_in(named);
    } else {
        named = "/var/tmp"; // rather than /tmp, which often is memory
        *fd = file_open_in(named);
        if (*fd < 0)
            *fd = file_open_in("/tmp");
    }
    if (*fd >= 0)
        return ERR_OK;
    return err_set(e, ERR_CONFIG,
                   "no temporary file can be made in %s (%s): set TMPDIR to a folder that can be written",
                   named, strerror(errno));
}

static int file_write(int fd, const void *bytes, size_t length, off_t offset, struct err *e) {
    const char *at = bytes;
    while (length > 0) {
        ssize_t done = pwrite(fd, at, length, offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return err_set(e, ERR_CONFIG,
                           "the temporary file of the duplicate check cannot be written (%s): "
                           "set TMPDIR to a folder with more room",
                           strerror(done < 0 ? errno : ENOSPC));
        at += done;
        length -= (size_t)done;
        offset += done;
    }
    return ERR_OK;
}

static int file_fill(int fd, void *bytes, size_t length, off_t offset, struct err *e) {
    char *at = bytes;
    while (length > 0) {
        ssize_t done = pread(fd, at, length, offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return err_set(e, ERR_CONFIG,
                           "the temporary file of the duplicate check cannot be read (%s): "
                           "set TMPDIR to another folder",
                           strerror(done < 0 ? errno : EIO));
        at += done;
        length -= (size_t)done;
        offset += done;
    }
    return ERR_OK;
}

// ---- records -----------------------------------------------------------------

static int record_compare(const void *a, const void *b) {
    const struct record *x = a;
    const struct record *y = b;
    if (x->high != y->high)
        return x->high < y->high ? -1 : 1;
    if (x->low != y->low)
        return x->low < y->low ? -1 : 1;
    return (x->line > y->line) - (x->line < y->line);
}

struct seen *seen_new(size_t in_memory) {
    struct seen *seen = mem_alloc(1, sizeof *seen);
    seen->key[0] = id_random_u64();
    seen->key[1] = id_random_u64();
    seen->capacity = in_memory < 2 ? 2 : in_memory;
    seen->file = -1;
    return seen;
}

void seen_free(struct seen *seen) {
    if (!seen)
        return;
    if (seen->file >= 0)
        close(seen->file);
    free(seen->records);
    free(seen);
}

// Writes the array as a sorted run.
static int spill(struct seen *seen, struct err *e) {
    if (seen->file < 0) {
        int rc = file_open(&seen->file, e);
        if (rc)
            return rc;
    }
    qsort(seen->records, seen->count, sizeof *seen->records, record_compare);
    off_t offset = (off_t)(seen->runs * seen->capacity * sizeof *seen->records);
    int rc = file_write(seen->file, seen->records, seen->count * sizeof *seen->records, offset, e);
    if (rc)
        return rc;
    seen->runs++;
    seen->last_run = seen->count;
    seen->count = 0;
    return ERR_OK;
}

int seen_add(struct seen *seen, const char *name, size_t length, int64_t line, struct err *e) {
    if (!seen->records) // most small files name nothing: take the memory when it is needed
        seen->records = mem_alloc(seen->capacity, sizeof *seen->records);
    if (seen->count == seen->capacity) {
        int rc = spill(seen, e);
        if (rc)
            return rc;
    }
    struct record *record = &seen->records[seen->count++];
    hash_name(seen->key, name, length, record);
    record->line = line;
    return ERR_OK;
}

// ---- the search ------------------------------------------------------------------

struct search {
    struct record previous; // the first of the names equal to the one before
    int64_t first, second;
};

// Takes the records in ascending order.
static void search_take(struct search *search, const struct record *record) {
    if (search->previous.line && search->previous.high == record->high &&
        search->previous.low == record->low) {
        if (!search->second || record->line < search->second) {
            search->first = search->previous.line;
            search->second = record->line;
        }
        return;
    }
    search->previous = *record;
}

static int run_fill(const struct seen *seen, struct run *run, size_t slots, struct err *e) {
    run->at = 0;
    run->count = run->left < slots ? run->left : slots;
    if (run->count == 0)
        return ERR_OK;
    size_t bytes = run->count * sizeof *run->buffer;
    int rc = file_fill(seen->file, run->buffer, bytes, run->offset, e);
    run->offset += (off_t)bytes;
    run->left -= run->count;
    return rc;
}

// Restores the order of a heap of runs below `i`; the smallest current record is at the top.
static void heap_sink(struct run *heap, size_t count, size_t i) {
    for (;;) {
        size_t least = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < count; child++)
            if (record_compare(&heap[child].buffer[heap[child].at], &heap[least].buffer[heap[least].at]) < 0)
                least = child;
        if (least == i)
            return;
        struct run swap = heap[i];
        heap[i] = heap[least];
        heap[least] = swap;
        i = least;
    }
}

static int merge(struct seen *seen, struct search *search, struct err *e) {
    size_t slots = seen->capacity / seen->runs;
    if (slots == 0) // over capacity squared: four thousand million names
        return err_set(e, ERR_INVALID, "too many lines for one batch: split the file");
    int rc = ERR_OK;
    size_t count = seen->runs;
    struct run *heap = mem_alloc(count, sizeof *heap);
    for (size_t i = 0; i < count; i++) {
        heap[i].offset = (off_t)(i * seen->capacity * sizeof *seen->records);
        heap[i].left = i + 1 == count ? seen->last_run : seen->capacity;
        heap[i].buffer = seen->records + i * slots;
        rc = run_fill(seen, &heap[i], slots, e);
        if (rc)
            goto out;
    }
    for (size_t i = count; i-- > 0;)
        heap_sink(heap, count, i);
    while (count > 0) {
        struct run *top = &heap[0];
        search_take(search, &top->buffer[top->at++]);
        if (top->at == top->count) {
            rc = run_fill(seen, top, slots, e);
            if (rc)
                goto out;
            if (top->count == 0)
                heap[0] = heap[--count];
        }
        heap_sink(heap, count, 0);
    }
out:
    free(heap);
    return rc;
}

int seen_find_duplicate(struct seen *seen, int64_t *first, int64_t *second, struct err *e) {
    struct search search = {.first = 0};
    int rc = ERR_OK;
    if (seen->runs > 0) {
        if (seen->count > 0)
            rc = spill(seen, e);
        if (!rc)
            rc = merge(seen, &search, e);
    } else if (seen->count > 0) {
        qsort(seen->records, seen->count, sizeof *seen->records, record_compare);
        for (size_t i = 0; i < seen->count; i++)
            search_take(&search, &seen->records[i]);
    }
    *first = search.first;
    *second = search.second;
    return rc;
}
