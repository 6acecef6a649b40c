// SPDX-License-Identifier: MIT
// UUIDv7 and random numbers. The process keeps one counter of 74 bits under
// one lock: the lower 32 bits (the tail people type) start at a random place and
// go up by 1 to 256 for every id for as long as the process lives; the upper 42
// are random and drawn anew for each millisecond. Within a millisecond a wrap
// of the tail carries into them, so ids made in a row always sort in order.
// The state is the process's: a forked child starts with a state of its own.
#include "base/id.h"
#include "base/clock.h"
#include "base/mem.h"
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define HEAD_BITS 42
#define HEAD_MASK ((UINT64_C(1) << HEAD_BITS) - 1)
#define HEAD_ROOM (HEAD_MASK >> 1) // a fresh head leaves its top bit for carries
#define AT_MASK ((UINT64_C(1) << 48) - 1)
#define POOL_SIZE 256 // the most getentropy gives at once

static struct {
    pthread_mutex_t lock;
    bool started;
    uint64_t at;   // milliseconds of the last id
    uint64_t head; // the 42 upper bits of the counter
    uint32_t tail; // the 32 lower ones
    size_t unused; // random bytes left at the end of the pool
    unsigned char pool[POOL_SIZE];
} state = {.lock = PTHREAD_MUTEX_INITIALIZER};

// Takes random bytes from the pool; the lock is held. They are wiped from it, being perhaps a key.
static void take_random(void *out, size_t bytes) {
    unsigned char *to = out;
    while (bytes) {
        if (state.unused == 0) {
            if (getentropy(state.pool, sizeof state.pool) != 0) {
                // no id and no key can be made, and to go on with poor ones is worse
                mem_give_up("genrun: the kernel gives no random bytes: allow it getrandom(2)\n");
            }
            state.unused = sizeof state.pool;
        }
        size_t n = bytes < state.unused ? bytes : state.unused;
        unsigned char *from = state.pool + sizeof state.pool - state.unused;
        memcpy(to, from, n);
        memset(from, 0, n);
        state.unused -= n;
        to += n;
        bytes -= n;
    }
}

static void before_fork(void) {
    pthread_mutex_lock(&state.lock);
}

static void after_fork_parent(void) {
    pthread_mutex_unlock(&state.lock);
}

static void after_fork_child(void) {
    state.started = false;
    state.unused = 0;
    pthread_mutex_unlock(&state.lock);
}

static void watch_forks(void) {
    pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

static void lock_state(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    pthread_mutex_lock(&state.lock);
}

static uint64_t fresh_head(void) {
    uint64_t random;
    take_random(&random, sizeof random);
    return random & HEAD_ROOM;
}

// Moves to the next id; the lock is held.
static void advance(uint64_t now) {
    if (!state.started) {
        state.started = true;
        state.at = now;
        state.head = fresh_head();
        take_random(&state.tail, sizeof state.tail);
        return;
    }
    unsigned char step;
    take_random(&step, sizeof step);
    uint32_t tail = state.tail + step + 1;
    bool wrapped = tail < state.tail;
    state.tail = tail;
    if (now > state.at) {
        state.at = now;
        state.head = fresh_head();
    } else if (wrapped && ++state.head > HEAD_MASK) { // the clock stands still or went back
        state.at++;
        state.head = fresh_head();
    }
}

static char *put_hex(char *out, uint64_t value, int digits) {
    for (int i = digits - 1; i >= 0; i--, value >>= 4) {
        out[i] = "0123456789abcdef"[value & 15];
    }
    return out + digits;
}

void id_make(char out[ID_SIZE]) {
    int64_t wall = clock_wall_at();
    lock_state();
    advance((uint64_t)(wall > 0 ? wall : 0) & AT_MASK);
    uint64_t at = state.at, head = state.head;
    uint32_t tail = state.tail;
    pthread_mutex_unlock(&state.lock);
    // at:48 version:4 head:12 | variant:2 head:30 tail:32
    out = put_hex(out, at >> 16, 8);
    *out++ = '-';
    out = put_hex(out, at & 0xFFFF, 4);
    *out++ = '-';
    out = put_hex(out, 0x7000 | head >> 30, 4);
    *out++ = '-';
    out = put_hex(out, 0x8000 | (head >> 16 & 0x3FFF), 4);
    *out++ = '-';
    out = put_hex(out, head & 0xFFFF, 4);
    out = put_hex(out, tail, 8);
    *out = 0;
}

static bool is_hex(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

bool id_is_valid(const char *text) {
    if (!text) {
        return false;
    }
    for (size_t i = 0; i < ID_SIZE - 1; i++) {
        bool hyphen = i == 8 || i == 13 || i == 18 || i == 23;
        if (hyphen ? text[i] != '-' : !is_hex(text[i])) { // a NUL is neither
            return false;
        }
    }
    return text[ID_SIZE - 1] == 0;
}

void id_random_hex(char *out, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        unsigned char byte;
        lock_state();
        take_random(&byte, 1);
        pthread_mutex_unlock(&state.lock);
        out = put_hex(out, byte, 2);
    }
    *out = 0;
}

uint64_t id_random_u64(void) {
    uint64_t random;
    lock_state();
    take_random(&random, sizeof random);
    pthread_mutex_unlock(&state.lock);
    return random;
}

void id_random_bytes(void *out, size_t bytes) {
    lock_state();
    take_random(out, bytes);
    pthread_mutex_unlock(&state.lock);
}
