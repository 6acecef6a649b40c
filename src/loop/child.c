// SPDX-License-Identifier: MIT
// A child's life: started, fed and read without blocking, stopped by the ladder
// SIGTERM, grace, SIGKILL, reaped, and its strays after it (stray.c).
#include "loop/child.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "loop/state.h"
#include "loop/stray.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define GRACE_MS 2000    // from SIGTERM to SIGKILL
#define EOF_WAIT_MS 200  // for output of descendants that outlive the child
#define READ_SIZE 65536  // what a pipe holds
#define PATIENCE_MS 5000 // after SIGKILL: the kernel may hold a process in a disk's or driver's call
#define REAP_EVERY_MS 5000
#define FILES_MOST 65536

// ---- pipes ----

static void close_end(struct child *child, struct child_pipe *end) {
    loop_watch_remove(child->loop, end->watch);
    end->watch = NULL;
    if (end->fd >= 0)
        close(end->fd);
    end->fd = -1;
}

// A write that may find nobody reading: without the SIGPIPE that a host may not ignore.
static ssize_t write_quietly(int fd, const char *bytes, size_t length) {
    const struct timespec now = {0, 0};
    sigset_t pipe_set, old, pending;
    sigemptyset(&pipe_set);
    sigaddset(&pipe_set, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &pipe_set, &old);
    ssize_t written = write(fd, bytes, length);
    int error = errno;
    if (written < 0 && error == EPIPE && !sigismember(&pending, SIGPIPE))
        while (sigtimedwait(&pipe_set, NULL, &now) < 0 && errno == EINTR) {
        }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    errno = error;
    return written;
}

static void on_writable(void *payload, int fd, short ready) {
    (void)ready;
    struct child *child = payload;
    while (child->input_left > 0) {
        ssize_t written = write_quietly(fd, child->input, child->input_left);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0 && errno == EAGAIN)
            return;
        if (written < 0) // it does not want (all of) its input: its own affair
            break;
        child->input += written;
        child->input_left -= (size_t)written;
    }
    close_end(child, &child->in);
}

static void tell_bytes(struct child *child, enum child_stream stream, const char *bytes, size_t length) {
    if (child->listener.on_bytes)
        child->listener.on_bytes(child->listener.payload, stream, bytes, length);
}

// Reads once; false when there is nothing (more).
static bool read_once(struct child *child, enum child_stream stream, size_t most) {
    struct child_pipe *end = &child->out[stream];
    char bytes[READ_SIZE];
    ssize_t length = end->fd < 0 ? 0 : read(end->fd, bytes, most < sizeof bytes ? most : sizeof bytes);
    if (length > 0)
        tell_bytes(child, stream, bytes, (size_t)length);
    else if (length == 0 || (errno != EAGAIN && errno != EINTR))
        close_end(child, end);
    return length > 0;
}

// What stands in the pipe now: all that the child itself wrote, once it has exited.
static void drain(struct child *child, enum child_stream stream) {
    int left = 0;
    struct child_pipe *end = &child->out[stream];
    if (end->fd < 0 || ioctl(end->fd, FIONREAD, &left) < 0)
        return;
    while (left > 0 && read_once(child, stream, (size_t)left))
        left -= left < READ_SIZE ? left : READ_SIZE;
}

// ---- the end ----

void child_remove(struct child *child) {
    loop_timer_clear(child->loop, &child->timer);
    loop_watch_remove(child->loop, child->exit_watch);
    close_end(child, &child->in);
    close_end(child, &child->out[CHILD_STDOUT]);
    close_end(child, &child->out[CHILD_STDERR]);
    if (child->pidfd >= 0)
        close(child->pidfd);
    *child->back = child->next;
    if (child->next)
        child->next->back = child->back;
    if (child->awaiting)
        loop_defer(child->loop, child->awaiting);
    free(child);
}

// While the child is a zombie its number, and with it its group, is surely its own.
static void conclude(struct child *child) {
    struct child_listener listener = child->listener;
    siginfo_t info = {0};
    if (!child->stray)
        kill(-child->pid, SIGKILL);
    waitid(P_PIDFD, (id_t)child->pidfd, &info, WEXITED | WNOHANG);
    const struct child_end end = {.signalled = info.si_code != CLD_EXITED, .status = info.si_status};
    child->pid = 0;
    stray_end(child->loop, child);
    child_remove(child);
    if (listener.on_end)
        listener.on_end(listener.payload, &end);
}

static bool is_read_out(const struct child *child) {
    return child->out[CHILD_STDOUT].fd < 0 && child->out[CHILD_STDERR].fd < 0;
}

static void on_readable(void *payload, int fd, short ready) {
    (void)ready;
    struct child *child = payload;
    read_once(child, fd == child->out[CHILD_STDOUT].fd ? CHILD_STDOUT : CHILD_STDERR, READ_SIZE);
    if (child->exited && is_read_out(child))
        conclude(child);
}

static void on_exit_seen(void *payload, int fd, short ready) {
    (void)fd, (void)ready;
    struct child *child = payload;
    child->exited = true;
    loop_watch_remove(child->loop, child->exit_watch);
    child->exit_watch = NULL;
    close_end(child, &child->in);
    drain(child, CHILD_STDOUT);
    drain(child, CHILD_STDERR);
    // The end of the streams comes in this pass or the next, but where a descendant holds them: when the child was
    // stopped, that one has the rest of the grace.
    if (is_read_out(child) || child->killed)
        conclude(child);
    else if (child->listener.on_end)
        loop_timer_set(child->loop, &child->timer, clock_monotonic_ms() + EOF_WAIT_MS);
}

void child_kill(struct child *child) {
    kill(child->stray ? child->pid : -child->pid, SIGKILL);
    child->killed = true;
    loop_timer_set(child->loop, &child->timer, clock_monotonic_ms() + PATIENCE_MS);
}

static void on_time(void *payload) {
    struct child *child = payload;
    if (child->exited) {
        conclude(child);
    } else if (!child->killed) {
        child_kill(child);
    } else {
        child->given_up = true;
        log_error(
            "process %ld does not end after SIGKILL, the kernel holds it: it is not waited for any longer",
            (long)child->pid);
    }
}

void child_stop(struct child *child) {
    child->listener = (struct child_listener){0};
    child->input_left = 0;
    close_end(child, &child->in);
    // Its pipes are read on, so that a last word of it does not end it.
    int64_t now_ms = clock_monotonic_ms();
    loop_timer_set(child->loop, &child->timer, child->exited ? now_ms : now_ms + GRACE_MS);
    if (child->exited)
        return;
    kill(-child->pid, SIGTERM);
    kill(-child->pid, SIGCONT);
}

static bool is_stopped(const struct child *child) {
    return child->stray || !child->listener.on_end;
}

bool child_hurry(struct loop *loop, const char *generation_id, struct loop_task *task) {
    struct child *last = NULL;
    for (struct child *child = loop->children; child; child = child->next) {
        if (!is_stopped(child) || strcmp(child->mark.generation, generation_id) != 0)
            continue;
        last = child;
        if (child->killed)
            continue;
        child_kill(child);
        if (child->exited)
            loop_timer_set(loop, &child->timer, clock_monotonic_ms());
    }
    if (last)
        last->awaiting = task;
    return last != NULL;
}

void child_hurry_cancel(struct loop *loop, const struct loop_task *task) {
    for (struct child *child = loop->children; child; child = child->next)
        if (child->awaiting == task)
            child->awaiting = NULL;
}

size_t child_dying(const struct loop *loop, const void *family) {
    size_t count = 0;
    for (const struct child *child = loop->children; child; child = child->next)
        count += is_stopped(child) && !child->given_up && (!family || child->family == family);
    return count;
}

void child_end_all(struct loop *loop) {
    for (struct child *child = loop->children; child; child = child->next) {
        child->listener = (struct child_listener){0};
        child_kill(child);
    }
    int64_t end_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (loop->children) {
        struct child *child = loop->children;
        struct pollfd ask = {.fd = child->pidfd, .events = POLLIN};
        int64_t left_ms = end_ms - clock_monotonic_ms();
        int ready = child->exited ? 1 : poll(&ask, 1, left_ms > 0 ? (int)left_ms : 0);
        if (ready > 0)
            conclude(child);
        else if (left_ms <= 0)
            child_remove(child);
    }
}

// ---- the start ----

struct child *child_add(struct loop *loop, pid_t pid, const struct leftover_mark *mark, const void *family) {
    struct child *child = mem_alloc(1, sizeof *child);
    *child = (struct child){.loop = loop, .pid = pid, .mark = *mark, .family = family};
    child->in.fd = child->out[CHILD_STDOUT].fd = child->out[CHILD_STDERR].fd = -1;
    child->timer = (struct loop_timer){.on_due = on_time, .payload = child};
    child->pidfd = pidfd_open(pid, 0);
    child->next = loop->children;
    child->back = &loop->children;
    if (child->next)
        child->next->back = &child->next;
    loop->children = child;
    if (child->pidfd >= 0)
        child->exit_watch = loop_watch_add(loop, child->pidfd, POLLIN, on_exit_seen, child);
    return child;
}

struct ends {
    int of_child[3]; // what becomes its stdin, stdout and stderr
    int ours[3];
};

static void close_all(int fds[3]) {
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

// A descriptor beyond the standard ones, which a host may have closed; 0 or errno.
static int lift(int *fd) {
    if (*fd > STDERR_FILENO)
        return 0;
    int lifted = fcntl(*fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    int error = lifted < 0 ? errno : 0;
    close(*fd);
    *fd = lifted;
    return error;
}

static int open_ends(struct ends *ends) {
    int error = 0;
    for (int i = 0; i < 3; i++)
        ends->of_child[i] = ends->ours[i] = -1;
    for (int i = 0; i < 3 && !error; i++) {
        int both[2];
        if (pipe2(both, O_CLOEXEC) < 0) {
            error = errno;
            break;
        }
        ends->of_child[i] = both[i == STDIN_FILENO ? 0 : 1];
        ends->ours[i] = both[i == STDIN_FILENO ? 1 : 0];
        error = lift(&ends->of_child[i]);
        if (!error)
            error = lift(&ends->ours[i]);
        if (!error && fcntl(ends->ours[i], F_SETFL, O_NONBLOCK) < 0)
            error = errno;
    }
    if (error) {
        close_all(ends->of_child);
        close_all(ends->ours);
    }
    return error;
}

static int set_up(posix_spawnattr_t *attributes, posix_spawn_file_actions_t *actions,
                  const struct child_request *request, const struct ends *ends) {
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    int error = posix_spawnattr_setflags(attributes,
                                         POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (!error)
        error = posix_spawnattr_setsigdefault(attributes, &all);
    if (!error)
        error = posix_spawnattr_setsigmask(attributes, &none);
    if (!error && request->folder)
        error = posix_spawn_file_actions_addchdir_np(actions, request->folder);
    for (int i = 0; i < 3 && !error; i++)
        error = posix_spawn_file_actions_adddup2(actions, ends->of_child[i], i);
    if (!error)
        error = posix_spawn_file_actions_addclosefrom_np(actions, STDERR_FILENO + 1);
    return error;
}

static int spawn(const struct loop *loop, const struct child_request *request, const struct ends *ends,
                 pid_t *pid) {
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    struct rlimit raised;
    int error = posix_spawnattr_init(&attributes);
    if (error)
        return error;
    if ((error = posix_spawn_file_actions_init(&actions))) {
        posix_spawnattr_destroy(&attributes);
        return error;
    }
    error = set_up(&attributes, &actions, request, ends);
    bool lower = !error && loop->files_before > 0 && getrlimit(RLIMIT_NOFILE, &raised) == 0;
    if (lower)
        setrlimit(RLIMIT_NOFILE, &(struct rlimit){loop->files_before, raised.rlim_max});
    if (!error)
        error =
            posix_spawnp(pid, request->program, &actions, &attributes, request->words, request->environment);
    if (lower)
        setrlimit(RLIMIT_NOFILE, &raised);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return error;
}

int child_start(struct child **out, struct loop *loop, const struct child_request *request,
                const struct child_listener *listener) {
    struct ends ends;
    pid_t pid = 0;
    *out = NULL;
    int error = open_ends(&ends);
    if (error)
        return error;
    error = spawn(loop, request, &ends, &pid);
    close_all(ends.of_child);
    if (error) {
        close_all(ends.ours);
        return error;
    }
    struct child *child = child_add(loop, pid, &request->mark, request->family);
    child->in.fd = ends.ours[STDIN_FILENO];
    child->out[CHILD_STDOUT].fd = ends.ours[STDOUT_FILENO];
    child->out[CHILD_STDERR].fd = ends.ours[STDERR_FILENO];
    if (child->pidfd < 0) {
        error = errno;
        kill(-pid, SIGKILL);
        waitpid(pid, NULL, 0);
        child_remove(child);
        return error;
    }
    child->listener = *listener;
    child->input = request->input;
    child->input_left = request->input_length;
    for (int i = 0; i < 2; i++)
        child->out[i].watch = loop_watch_add(loop, child->out[i].fd, POLLIN, on_readable, child);
    child->in.watch = loop_watch_add(loop, child->in.fd, POLLOUT, on_writable, child);
    if (loop->adopting && !loop->reaper.slot)
        loop_timer_set(loop, &loop->reaper, clock_monotonic_ms() + REAP_EVERY_MS);
    *out = child;
    return 0;
}

bool child_was_short(int error) {
    return error == EAGAIN || error == ENOMEM || error == EMFILE || error == ENFILE;
}

static void reap(void *payload) {
    struct loop *loop = payload;
    stray_reap(loop);
    if (loop->children)
        loop_timer_set(loop, &loop->reaper, clock_monotonic_ms() + REAP_EVERY_MS);
}

void child_adopt(struct loop *loop) {
    struct rlimit limit;
    if (loop->adopting)
        return;
    // Whoever started this process may have it ignore SIGCHLD, and then exit statuses are lost.
    signal(SIGCHLD, SIG_DFL);
    loop->adopting = prctl(PR_SET_CHILD_SUBREAPER, 1) == 0;
    loop->reaper = (struct loop_timer){.on_due = reap, .payload = loop};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max < FILES_MOST ? limit.rlim_max : FILES_MOST;
    if (limit.rlim_cur > before && setrlimit(RLIMIT_NOFILE, &limit) == 0)
        loop->files_before = before;
}
