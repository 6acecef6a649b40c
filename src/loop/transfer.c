// SPDX-License-Identifier: MIT
// Transfers: easy handles on the loop's multi handle. The multi handle owns the
// connections, so a connection kept alive serves the next call whatever easy
// handle makes it.
#include "loop/state.h"

#include "base/mem.h"
#include <pthread.h>
#include <stdlib.h>

#define SPARE_EASIES 64 // handles kept for reuse; each holds a few KiB

struct loop_transfer {
    CURL *easy;
    loop_transfer_end on_end;
    void *payload;
    struct loop_transfer *next, **back;
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_state;

static void start_curl(void) {
    curl_state = curl_global_init(CURL_GLOBAL_ALL);
}

int loop_transfers_open(struct loop *loop, struct err *e) {
    pthread_once(&curl_once, start_curl);
    if (curl_state)
        return err_set(e, ERR_REMOTE, "libcurl does not start: %s", curl_easy_strerror(curl_state));
    loop->multi = curl_multi_init();
    if (!loop->multi)
        return err_set(e, ERR_REMOTE, "libcurl gives no multi handle: raise the limit on open files");
    // One call a connection: where several share one, a lost connection ends them all.
    curl_multi_setopt(loop->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
    loop->spare_easies = mem_alloc(SPARE_EASIES, sizeof *loop->spare_easies);
    return 0;
}

void loop_transfers_close(struct loop *loop) {
    while (loop->transfers)
        loop_transfer_remove(loop, loop->transfers->easy);
    for (size_t i = 0; i < loop->spare_count; i++)
        curl_easy_cleanup(loop->spare_easies[i]);
    free(loop->spare_easies);
    if (loop->multi)
        curl_multi_cleanup(loop->multi);
}

CURL *loop_easy_take(struct loop *loop) {
    if (loop->spare_count)
        return loop->spare_easies[--loop->spare_count];
    return curl_easy_init();
}

void loop_easy_give(struct loop *loop, CURL *easy) {
    if (!easy)
        return;
    if (loop->spare_count == SPARE_EASIES) {
        curl_easy_cleanup(easy);
        return;
    }
    curl_easy_reset(easy);
    loop->spare_easies[loop->spare_count++] = easy;
}

static struct loop_transfer *transfer_of(CURL *easy) {
    char *private = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private);
    return (struct loop_transfer *)(void *)private;
}

static void take_out(struct loop *loop, struct loop_transfer *transfer) {
    curl_multi_remove_handle(loop->multi, transfer->easy);
    curl_easy_setopt(transfer->easy, CURLOPT_PRIVATE, NULL);
    *transfer->back = transfer->next;
    if (transfer->next)
        transfer->next->back = transfer->back;
    loop->transfer_count--;
    free(transfer);
}

int loop_transfer_add(struct loop *loop, CURL *easy, loop_transfer_end on_end, void *payload, struct err *e) {
    struct loop_transfer *transfer = mem_alloc(1, sizeof *transfer);
    transfer->easy = easy;
    transfer->on_end = on_end;
    transfer->payload = payload;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    CURLMcode code = curl_multi_add_handle(loop->multi, easy);
    if (code) {
        curl_easy_setopt(easy, CURLOPT_PRIVATE, NULL);
        free(transfer);
        return err_set(e, ERR_REMOTE, "cannot start a transfer: %s", curl_multi_strerror(code));
    }
    transfer->next = loop->transfers;
    transfer->back = &loop->transfers;
    if (transfer->next)
        transfer->next->back = &transfer->next;
    loop->transfers = transfer;
    loop->transfer_count++;
    return 0;
}

void loop_transfer_remove(struct loop *loop, CURL *easy) {
    struct loop_transfer *transfer = easy ? transfer_of(easy) : NULL;
    if (transfer)
        take_out(loop, transfer);
}

size_t loop_transfer_count(const struct loop *loop) {
    return loop->transfer_count;
}

int loop_transfers_run(struct loop *loop, struct err *e) {
    if (!loop->transfer_count)
        return 0;
    int running = 0;
    CURLMcode code = curl_multi_perform(loop->multi, &running);
    if (code)
        return err_set(e, ERR_REMOTE, "transfers do not go on: %s", curl_multi_strerror(code));
    int left = 0;
    CURLMsg *message;
    // A callback may add and remove transfers: libcurl drops the message of one that is removed.
    while ((message = curl_multi_info_read(loop->multi, &left))) {
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode result = message->data.result; // the message dies with the removal
        struct loop_transfer ended = *transfer_of(message->easy_handle);
        take_out(loop, transfer_of(ended.easy));
        ended.on_end(ended.payload, ended.easy, result);
    }
    return 0;
}
