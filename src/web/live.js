// SPDX-License-Identifier: MIT
// What changes, as it changes: the server's events, gathered for a moment so that a thousand of them cause one look.
// Where the stream is refused the page looks every few seconds instead. (An event whose name is not known here is seen all the
// same, a little later: the summary looks at the counts now and then.)

const EVENTS = "/api/events";
const GATHER_MS = 350; // from the first event to the look that it causes
const POLL_MS = 3000; // between looks without a stream
const RETRY_MS = 15000; // after a refusal the stream is asked for again
const KINDS = {
    generation: [
        "queued",
        "processing",
        "completed",
        "failed",
        "cancelled",
        "retrying",
        "parked",
        "recovered",
        "dismissed",
        "undismissed",
        "dropped",
        "due",
        "changed",
    ],
    batch: [
        "created",
        "queued",
        "processing",
        "completed",
        "failed",
        "cancelled",
        "paused",
        "resumed",
        "stopped",
        "reopened",
        "repaired",
        "refused",
    ],
    lock: ["acquired", "released", "expired"],
    model: ["parked", "resumed", "cooling"],
    runner: ["started", "stopped", "clock_jumped"],
    job: ["completed", "failed"],
};

// Events: "change" (detail: {generations, batches: sets of ids, or null when anything may have changed}), "state".
export const live = new EventTarget();
let source = null,
    timer = null,
    poll = null,
    retry = null,
    running = false,
    state = "off";
let generations = new Set(),
    batches = new Set(),
    everything = false;

function tell(next) {
    if (state === next) return;
    state = next;
    live.dispatchEvent(new CustomEvent("state", {detail: state}));
}

export function liveState() {
    return state;
}

function flush() {
    timer = null;
    const detail = everything ? {generations: null, batches: null} : {generations, batches};
    generations = new Set();
    batches = new Set();
    everything = false;
    live.dispatchEvent(new CustomEvent("change", {detail}));
}

// Something may have changed; without an argument: anything.
export function changed(row) {
    if (row?.generationId) generations.add(row.generationId);
    if (row?.batchJobId) batches.add(row.batchJobId);
    // What a batch, a model or a runner did stands for many generations.
    everything ||= !row?.generationId;
    timer ??= setTimeout(flush, GATHER_MS);
}

function onEvent(event) {
    let row = null;
    try {
        row = JSON.parse(event.data);
    } catch {
        // Then anything may have changed.
    }
    changed(row);
}

function startPolling() {
    tell("polling");
    poll ??= setInterval(() => changed(), POLL_MS);
}

function stopPolling() {
    clearInterval(poll);
    poll = null;
}

function connect() {
    retry = null;
    source = new EventSource(EVENTS);
    source.onopen = () => {
        stopPolling();
        tell("live");
        changed();
    };
    source.onmessage = onEvent;
    source.addEventListener("reset", () => changed());
    for (const [noun, verbs] of Object.entries(KINDS))
        for (const verb of verbs) source.addEventListener(`${noun}.${verb}`, onEvent);
    source.onerror = () => {
        startPolling();
        // CONNECTING: the browser tries again, and resumes where it was. CLOSED: it was refused.
        if (source.readyState === EventSource.CLOSED) retry ??= setTimeout(connect, RETRY_MS);
    };
}

function follow() {
    disconnect();
    if (!running) return;
    if (document.hidden) {
        tell("paused");
        return;
    }
    connect();
}

function disconnect() {
    source?.close();
    source = null;
    stopPolling();
    clearTimeout(retry);
    retry = null;
}

export function startLive() {
    running = true;
    follow();
}

export function stopLive() {
    running = false;
    disconnect();
    tell("off");
}

// A page that nobody sees asks for nothing; what it missed it looks up when it is seen again.
document.addEventListener("visibilitychange", () => running && follow());
