// SPDX-License-Identifier: MIT
// Calls of the HTTP API. The credential is a cookie that this code cannot read.

// An answer that is no success, or none at all (status 0). Its message is one line, with the request's id.
class ApiError extends Error {
    constructor(message, status, requestId) {
        super(requestId ? `${message} (request ${requestId})` : message);
        this.status = status;
    }
}

export const session = new EventTarget(); // "signed-out": a call was answered 401

export function path(...segments) {
    return "/" + segments.map(encodeURIComponent).join("/");
}

export function query(values) {
    const given = Object.entries(values ?? {}).filter(([, v]) => v !== undefined && v !== null && v !== "");
    return given.length ? "?" + new URLSearchParams(given) : "";
}

async function answer(response) {
    const text = await response.text();
    let json = null;
    try {
        json = text ? JSON.parse(text) : null;
    } catch {
        // Not JSON: the status says enough.
    }
    if (response.ok) return json;
    const message = json?.error?.message ?? `the server answered ${response.status}`;
    throw new ApiError(message, response.status, response.headers.get("x-request-id"));
}

async function send(url, options) {
    let response;
    try {
        response = await fetch(url, {credentials: "same-origin", cache: "no-store", ...options});
    } catch (e) {
        if (e.name === "AbortError") throw e;
        throw new ApiError("the server cannot be reached: is genrun running?", 0);
    }
    return response;
}

// One call. `body` is sent as JSON, or as it is when it is FormData. Returns the parsed answer (null: empty).
export async function call(method, url, {body, signal, quiet} = {}) {
    const options = {method, signal, headers: {Accept: "application/json"}};
    if (body instanceof FormData) {
        options.body = body;
    } else if (body !== undefined) {
        options.body = JSON.stringify(body);
        options.headers["Content-Type"] = "application/json";
    }
    const response = await send(url, options);
    if (response.status === 401 && !quiet) session.dispatchEvent(new Event("signed-out"));
    return answer(response);
}

// Sends FormData, and tells of each part that has gone: progress(sent, total). fetch() cannot.
export function upload(url, body, progress) {
    return new Promise((resolve, reject) => {
        const request = new XMLHttpRequest();
        request.open("POST", url);
        request.setRequestHeader("Accept", "application/json");
        request.upload.addEventListener("progress", (event) => progress(event.loaded, event.total));
        request.addEventListener("error", () =>
            reject(new ApiError("the upload was broken off: is genrun running?", 0)),
        );
        request.addEventListener("load", () => {
            if (request.status === 401) session.dispatchEvent(new Event("signed-out"));
            const id = request.getResponseHeader("x-request-id");
            const headers = id ? {"x-request-id": id} : {};
            answer(new Response(request.responseText, {status: request.status, headers})).then(resolve, reject);
        });
        request.send(body);
    });
}

export const get = (url, options) => call("GET", url, options);
export const post = (url, body, options) => call("POST", url, {body, ...options});
export const remove = (url, options) => call("DELETE", url, options);

// The health: {ok, reasons}. Red health answers 503 and has its reasons in the body, so it is no error here.
export async function health() {
    const response = await send("/healthz", {headers: {Accept: "application/json"}});
    let json = null;
    try {
        json = await response.json();
    } catch {
        // Only the status counts then.
    }
    return {ok: response.ok, reasons: json?.reasons ?? []};
}
