/* SPDX-License-Identifier: MIT
 * A host that has other things to do: every line of standard input becomes a generation, and each answer is printed
 * as it comes. genrun runs inside, in this thread, on the host's loop; nothing is polled in vain.
 *   loop DATABASE MODEL
 * What was not answered when it ends, is killed or crashes is in the file, and is run by the next start.
 */
#include <genrun.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct host {
    genrun *g;
    const char *model;
    char line[4096]; /* of standard input, as far as it has come */
    size_t length;
    int at_end;
    int64_t seen; /* the last row of the log that was looked at */
    int code;
};

static void submit(struct host *h)
{
    genrun_spec spec = GENRUN_SPEC_INIT;
    char id[GENRUN_ID_SIZE];

    h->line[h->length] = '\0';
    h->length = 0;
    if (h->line[0] == '\0')
        return;
    spec.model = h->model;
    spec.prompt = h->line;
    h->code = genrun_submit(h->g, id, NULL, &spec);
}

/* Called from genrun_step() when there is something on standard input. */
static void read_input(void *payload, int fd, short events)
{
    struct host *h = payload;
    char bytes[1024];
    ssize_t count = read(fd, bytes, sizeof bytes), i;

    (void)events;
    for (i = 0; i < count && h->code == GENRUN_OK; i++) {
        if (bytes[i] != '\n')
            h->line[h->length++] = bytes[i];
        if (bytes[i] == '\n' || h->length == sizeof h->line - 1)
            submit(h);
    }
    if (count > 0)
        return;
    if (h->code == GENRUN_OK)
        submit(h); /* a last line without its end */
    h->at_end = 1;
    genrun_watch(h->g, fd, 0, NULL, NULL);
}

struct event {
    int64_t id;
    char generation[GENRUN_ID_SIZE];
    char name[32];
};

/* Takes one event; the list ends with it, as the handle is needed for what is done about it. */
static int take_event(void *payload, genrun_row *row)
{
    struct event *event = payload;
    const char *generation = genrun_row_text(row, "generation_id");

    event->id = genrun_row_integer(row, "id", 0);
    snprintf(event->generation, sizeof event->generation, "%s", generation != NULL ? generation : "");
    snprintf(event->name, sizeof event->name, "%s", genrun_row_text(row, "event"));
    return 1;
}

static void print_answers(struct host *h)
{
    genrun_event_filter filter = GENRUN_EVENT_FILTER_INIT;
    struct event event;

    filter.event = "generation.";
    while (h->code == GENRUN_OK) {
        event.id = 0;
        filter.after = h->seen;
        h->code = genrun_events(h->g, &filter, take_event, &event);
        if (event.id == 0)
            return;
        h->seen = event.id;
        if (strcmp(event.name, "generation.completed") == 0) {
            genrun_write_output(h->g, event.generation, stdout);
            putchar('\n');
        } else if (strcmp(event.name, "generation.failed") == 0) {
            printf("%s failed\n", event.generation);
        }
        fflush(stdout);
    }
}

static int is_done(struct host *h)
{
    genrun_row *stats;
    int done;

    if (!h->at_end || genrun_stats(h->g, &stats) != GENRUN_OK)
        return 0;
    done = genrun_row_integer(stats, "queued", 0) + genrun_row_integer(stats, "processing", 0) == 0;
    genrun_row_free(stats);
    return done;
}

int main(int argc, char **argv)
{
    struct host h = {0};
    genrun_options options = GENRUN_OPTIONS_INIT;

    if (argc != 3) {
        fprintf(stderr, "usage: loop DATABASE MODEL\n");
        return GENRUN_INVALID;
    }
    options.database = argv[1];
    options.create = 1;
    h.model = argv[2];
    h.code = genrun_open(&h.g, &options);
    if (h.code == GENRUN_OK)
        h.code = genrun_watch(h.g, STDIN_FILENO, POLLIN, read_input, &h);
    while (h.code == GENRUN_OK && !is_done(&h)) {
        h.code = genrun_step(h.g, 1000); /* a host's own timers would shorten this */
        print_answers(&h);
    }
    if (h.code != GENRUN_OK)
        fprintf(stderr, "loop: %s\n", genrun_message(h.g));
    genrun_close(h.g);
    return h.code;
}
