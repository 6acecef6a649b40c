// SPDX-License-Identifier: MIT
// Signals as events of the loop: blocked and read from a signalfd, so that no
// code runs in a handler.
#include "loop/state.h"
#include "loop/stray.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

static void read_signals(void *payload, int fd, short ready) {
    (void)ready;
    struct loop *loop = payload;
    struct signalfd_siginfo info;
    // on_signal may end the signals, and with them this descriptor.
    while (loop->signal_watch && read(fd, &info, sizeof info) == (ssize_t)sizeof info)
        if (info.ssi_signo == SIGCHLD)
            stray_reap(loop);
        else
            loop->on_signal(loop->signal_payload, (int)info.ssi_signo);
}

int loop_signals(struct loop *loop, void (*on_signal)(void *payload, int number), void *payload,
                 struct err *e) {
    if (loop->signal_watch)
        return err_set(e, ERR_CONFLICT, "the loop already receives signals: end that first");
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    if (stray_falls_here())
        sigaddset(&set, SIGCHLD);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return err_set(e, ERR_REMOTE, "cannot make a signalfd (%s): raise the limit on open files",
                       strerror(errno));
    pthread_sigmask(SIG_BLOCK, &set, &loop->old_mask);
    struct sigaction ignore;
    memset(&ignore, 0, sizeof ignore);
    ignore.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &ignore, &loop->old_sigpipe);
    loop->on_signal = on_signal;
    loop->signal_payload = payload;
    loop->signal_watch = loop_watch_add(loop, fd, POLLIN, read_signals, loop);
    if (stray_falls_here())
        stray_reap(loop); // those that ended before
    return 0;
}

void loop_signals_end(struct loop *loop) {
    if (!loop->signal_watch)
        return;
    int fd = loop->signal_watch->fd;
    loop_watch_remove(loop, loop->signal_watch);
    loop->signal_watch = NULL;
    close(fd);
    sigaction(SIGPIPE, &loop->old_sigpipe, NULL);
    pthread_sigmask(SIG_SETMASK, &loop->old_mask, NULL);
}
