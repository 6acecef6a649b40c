// SPDX-License-Identifier: MIT
// Numbers, times, money and states as people read them.
import {h, line} from "./dom.js";

const UNITS = [
    [86400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
];
const EXACT = new Intl.DateTimeFormat(undefined, {dateStyle: "medium", timeStyle: "medium"});
const NUMBER = new Intl.NumberFormat("en");

export function number(value) {
    return value === null || value === undefined ? "" : NUMBER.format(value);
}

export function money(value) {
    if (value === null || value === undefined) return "";
    return (
        "$" + (value !== 0 && Math.abs(value) < 0.1 ? String(Number(value.toPrecision(2))) : value.toFixed(2))
    );
}

export function bytes(value) {
    for (const [size, unit] of [
        [1 << 30, "GB"],
        [1 << 20, "MB"],
        [1 << 10, "kB"],
    ])
        if (value >= size) return (value / size).toFixed(value < 10 * size ? 1 : 0) + " " + unit;
    return (value ?? 0) + " B";
}

// A length of time in its largest unit, with a second one below ten of it.
export function duration(ms) {
    let seconds = Math.max(0, Math.round(ms / 1000));
    for (let i = 0; i < UNITS.length; i++) {
        const [size, unit] = UNITS[i];
        if (seconds < size && size > 1) continue;
        const count = Math.floor(seconds / size),
            rest = UNITS[i + 1] && Math.floor((seconds % size) / UNITS[i + 1][0]);
        return `${count} ${unit}` + (rest && count < 10 && size > 60 ? ` ${rest} ${UNITS[i + 1][1]}` : "");
    }
}

function relative(at) {
    const away = at - Date.now();
    if (Math.abs(away) < 1000) return "now";
    return away > 0 ? "in " + duration(away) : duration(-away) + " ago";
}

// A time: relative, with the exact one as its title; kept up to date by the clock below.
export function time(value, style) {
    if (!value) return null;
    const at = new Date(value);
    if (isNaN(at)) return line(value);
    const text = style === "age" ? duration(Date.now() - at) : relative(at);
    return h(
        "time",
        {
            datetime: at.toISOString(),
            title: EXACT.format(at) + " (" + at.toISOString() + ")",
            data: {style: style ?? ""},
        },
        text,
    );
}

// A time of the day; with "hour" an hour of a day.
export function clock(value, style) {
    const at = new Date(value);
    const options =
        style === "hour"
            ? {weekday: "short", hour: "2-digit", minute: "2-digit", hour12: false}
            : {timeStyle: "medium", hour12: false};
    return h(
        "time",
        {datetime: at.toISOString(), title: EXACT.format(at) + " (" + at.toISOString() + ")"},
        at.toLocaleString(undefined, options),
    );
}

setInterval(() => {
    for (const element of document.querySelectorAll("time[data-style]")) {
        const at = new Date(element.dateTime);
        const text = element.dataset.style === "age" ? duration(Date.now() - at) : relative(at);
        if (element.textContent !== text) element.textContent = text;
    }
}, 1000);

const SIGNS = {
    queued: "○",
    processing: "◐",
    completed: "●",
    failed: "✕",
    cancelled: "–",
    stuck: "!",
    paused: "‖",
    ok: "●",
    cooling: "◐",
    parked: "‖",
    done: "●",
    away: "‖",
    disabled: "✕",
    unusable: "!",
};

// A state: a sign, its name, and a colour.
export function badge(state, title) {
    const known = Object.hasOwn(SIGNS, state);
    return h(
        "span",
        {class: "badge " + (known ? state : "other"), title},
        h("span", {"aria-hidden": "true"}, known ? SIGNS[state] : "○"),
        " ",
        state ?? "",
    );
}

export function tail(id) {
    return line(id ?? "").slice(-8);
}

// What a person can do about an error, by its type.
const ADVICE = {
    RateLimitError:
        "The server asks for patience. It is tried again by itself; lower the model's concurrency or requests_per_minute if it goes on.",
    AuthenticationError:
        "The key was refused. Set a valid one for the model, then resume the model and retry.",
    QuotaError:
        "The account has no quota left. Top it up or wait for the next period, then resume the model and retry.",
    TimeoutError:
        "The server took too long. Retry, or give the model more time (progress_timeout, max_runtime).",
    NetworkError: "The server could not be reached. Check its address and that it is up, then retry.",
    ModelGenerationError: "The model could not do it. Retry, or change the prompt or the parameters.",
    InvalidRequestError:
        "The server does not take this request. Change its parameters or prompt; the same again will fail again.",
    ContentFilterError: "The server's filter refused it. Change the prompt; the same again will fail again.",
    HeartbeatTimeoutError:
        "The runner hung while it ran. Retry; if it happens again look at the runner's log.",
    RunnerCrashError:
        "The runner crashed each time while it ran alone. Look at the runner's log before a retry.",
    CommandError: "The command failed. Run it by hand with the prompt on its stdin, then retry.",
    CancelledError: "It was cancelled. Retry to run it again.",
    ConfigurationError: "The configuration does not let it run. Correct genrun.ini, then retry.",
    OperatorError: "A person failed it. Retry to run it again.",
    DeadlineError: "It waited longer than max_wait. Remove what it waited for, then retry.",
    InternalError: "A fault of genrun. Please report it with the events below.",
};
export function advice(type) {
    return Object.hasOwn(ADVICE, type) ? ADVICE[type] : null;
}
