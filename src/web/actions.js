// SPDX-License-Identifier: MIT
// Buttons for what can be done from several places. Each asks, does it, says so, and then calls `after`.
import {path, post} from "./api.js";
import {actionButton} from "./say.js";

function acting(label, question, said, after, properties, send) {
    return actionButton(
        label,
        question,
        async (answer) => {
            await send(answer);
            after?.();
            return said;
        },
        properties,
    );
}

export function retryAction(id, after, properties) {
    return acting(
        "Retry",
        {title: "Run it again?", text: "It is queued with all its attempts."},
        "Queued again",
        after,
        {data: {focus: "retry-" + id}, ...properties},
        () => post(path("api", "generations", id, "retry")),
    );
}

export function recoverAction(id, after, properties) {
    return acting(
        "Recover",
        {title: "Queue it again?", text: "What its former owner still sends is dropped."},
        "Queued again",
        after,
        {data: {focus: "recover-" + id}, ...properties},
        () => post("/api/admin/recover-generation", {generationId: id}),
    );
}

export function cancelAction(id, running, after, properties) {
    return acting(
        "Cancel it",
        {
            title: "Cancel this generation?",
            text: running ? "It ends at once; what has come of it is kept." : "It will not run.",
            danger: true,
            reason: "Reason (optional)",
        },
        "Cancelled",
        after,
        {data: {focus: "cancel-" + id}, class: "danger", ...properties},
        ({reason}) => post(path("api", "generations", id, "cancel"), {reason}),
    );
}

export function dismissAction(id, undo, after) {
    return acting(
        undo ? "Undo dismissal" : "Dismiss",
        undo
            ? null
            : {title: "Dismiss it?", text: "It is left out of failures and alerts, and stays in this list."},
        undo ? "Counted again" : "Dismissed",
        after,
        {data: {focus: "dismiss-" + id}},
        () => post(path("api", "generations", id, "dismiss"), undo ? {undo} : undefined),
    );
}

export function resumeModelAction(name, after) {
    return acting(
        "Resume",
        {title: `Resume ${name}?`, text: "What waits for it is sent again at once."},
        `${name} goes on`,
        after,
        {class: "small", data: {focus: "resume-" + name}},
        () => post(path("api", "models", name, "resume")),
    );
}

export function testWebhookAction(name, after) {
    return actionButton(
        "Test",
        null,
        async () => {
            const answer = await post(path("api", "webhooks", name, "test"));
            after?.();
            return `${name} took it: HTTP ${answer.status} after ${answer.tookMs} ms`;
        },
        {class: "small", "aria-label": "Test " + name, data: {focus: "test-" + name}},
    );
}

export function redeliverAction(name, count, after) {
    return actionButton(
        "Redeliver",
        {title: `Send again to ${name}?`, text: `${count} that failed or were dropped, each under its own message id.`},
        async () => {
            const answer = await post(path("api", "webhooks", name, "redeliver"));
            after?.();
            return `${answer.count} to be sent again`;
        },
        {class: "small", "aria-label": "Redeliver " + name, data: {focus: "redeliver-" + name}},
    );
}

export function enableWebhookAction(name, after) {
    return acting(
        "Enable",
        {title: `Send to ${name} again?`, text: "It answered 410: it wanted no more. It gets what happens from now on."},
        `${name} is sent to again`,
        after,
        {class: "small", "aria-label": "Enable " + name, data: {focus: "enable-" + name}},
        () => post(path("api", "webhooks", name, "enable")),
    );
}
