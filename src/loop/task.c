// SPDX-License-Identifier: MIT
// Deferred tasks: a doubly linked list through the owners' structs, so that
// deferring and cancelling cost a few pointers and no memory.
#include "loop/state.h"

void loop_defer(struct loop *loop, struct loop_task *task) {
    if (task->back)
        return;
    task->next = NULL;
    task->back = loop->tasks_end;
    *loop->tasks_end = task;
    loop->tasks_end = &task->next;
}

void loop_defer_cancel(struct loop *loop, struct loop_task *task) {
    if (!task->back)
        return;
    *task->back = task->next;
    if (task->next)
        task->next->back = task->back;
    else if (loop->tasks_end == &task->next)
        loop->tasks_end = task->back;
    task->back = NULL;
    task->next = NULL;
}

void loop_tasks_run(struct loop *loop) {
    // Tasks deferred by these go to the loop's own list, now empty: they run in the next pass.
    struct loop_task *due = loop->tasks;
    if (!due)
        return;
    due->back = &due;
    loop->tasks = NULL;
    loop->tasks_end = &loop->tasks;
    while (due) {
        struct loop_task *task = due;
        loop_defer_cancel(loop, task); // moves `due` on
        task->on_run(task->payload);
    }
}
