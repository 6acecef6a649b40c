// SPDX-License-Identifier: MIT
// Submitting: one generation, or a file as a batch.
import {get, post, upload} from "./api.js";
import {choiceField, field, fill, h, textField} from "./dom.js";
import {bytes} from "./format.js";
import {done, problem} from "./say.js";

// The values of a form's named fields that are not empty.
function values(form) {
    return Object.fromEntries(
        [...new FormData(form)]
            .filter(([, value]) => typeof value === "string" && value.trim() !== "")
            .map(([name, value]) => [name, name === "prompt" ? value : value.trim()]),
    );
}

// How far an upload is: {element, tell(sent, total)}.
function sendingBar() {
    const bar = h("progress", {max: "1", value: "0", "aria-label": "Sent"}),
        words = h("span", {class: "quiet"}, "Sending …");
    return {
        element: h("p", {class: "sending"}, bar, " ", words),
        tell(sent, total) {
            bar.max = total;
            bar.value = sent;
            const all = sent >= total;
            fill(words, all ? "Sent. Its lines are read …" : `${bytes(sent)} of ${bytes(total)}`);
        },
    };
}

// A form that sends once at a time and shows an error beside its button. `send` is given where it may show how far it is.
function sending(form, label, send) {
    const state = h("div", {}),
        submit = h("button", {type: "submit", class: "primary"}, label);
    form.append(state, h("div", {class: "buttons"}, submit));
    form.addEventListener("submit", async (event) => {
        event.preventDefault();
        submit.disabled = true;
        fill(state, h("p", {class: "quiet"}, "Sending …"));
        try {
            await send(state);
            fill(state);
        } catch (error) {
            fill(state, problem(error));
        } finally {
            submit.disabled = false;
        }
    });
    return form;
}

function parameters(text) {
    if (text === undefined) return undefined;
    let parsed;
    try {
        parsed = JSON.parse(text);
    } catch (error) {
        throw new Error("The parameters are not JSON: " + error.message);
    }
    if (parsed === null || typeof parsed !== "object" || Array.isArray(parsed))
        throw new Error('The parameters are not a JSON object, such as {"temperature": 0.2}');
    return parsed;
}

function single(at) {
    const form = h(
        "form",
        {class: "card"},
        h("h3", {}, "One generation"),
        field("Prompt", (id) => h("textarea", {id, name: "prompt", rows: "6", required: true})),
        textField("Model", {name: "modelId", list: "models", placeholder: "the default one"}),
        h(
            "details",
            {class: "options"},
            h("summary", {}, "More"),
            field("Parameters (JSON)", (id) =>
                h("textarea", {
                    id,
                    name: "parameters",
                    rows: "3",
                    class: "code",
                    placeholder: '{"temperature": 0.2}',
                    spellcheck: "false",
                }),
            ),
            textField("Session", {name: "sessionId"}),
            field("Priority", (id) =>
                h("input", {
                    id,
                    name: "priority",
                    type: "number",
                    min: "-1000",
                    max: "1000",
                    step: "1",
                    placeholder: "0",
                }),
            ),
            textField("Client id (the same one creates nothing twice)", {name: "clientId"}),
        ),
    );
    return sending(form, "Submit", async () => {
        const {prompt, modelId, parameters: text, sessionId, priority, clientId} = values(form);
        const row = await post("/api/generate", {
            prompt,
            modelId,
            parameters: parameters(text),
            sessionId,
            clientId,
            priority: priority === undefined ? undefined : Number(priority),
        });
        done("Accepted");
        location.hash = "#/generations?show=" + encodeURIComponent(row.id);
    });
}

// Where a file is dropped or chosen: {element, file()}.
function dropZone() {
    const input = h("input", {
        id: "file",
        type: "file",
        accept: ".jsonl,.ndjson,.csv,.txt,.json",
        class: "file",
    });
    const name = h(
        "p",
        {class: "quiet", role: "status"},
        'JSONL (OpenAI\'s batch lines or {"prompt": …}), CSV with a header, or one prompt a line.',
    );
    let file = null;
    const take = (given) => {
        file = given ?? null;
        fill(name, file ? `${file.name}, ${bytes(file.size)}` : "No file.");
    };
    input.addEventListener("change", () => take(input.files[0]));
    const zone = h(
        "div",
        {class: "drop"},
        h("label", {for: "file"}, "Drop a file here, or choose one"),
        input,
        name,
    );
    const over = (on) => (event) => {
        event.preventDefault();
        zone.toggleAttribute("data-over", on);
    };
    zone.addEventListener("dragenter", over(true));
    zone.addEventListener("dragover", over(true));
    zone.addEventListener("dragleave", over(false));
    zone.addEventListener("drop", (event) => {
        over(false)(event);
        take(event.dataTransfer.files[0]);
    });
    return {element: zone, file: () => file};
}

function batch(at) {
    const zone = dropZone();
    const form = h(
        "form",
        {class: "card"},
        h("h3", {}, "A batch"),
        zone.element,
        textField("Name", {name: "name"}),
        textField("Model (for lines that name none)", {
            name: "modelId",
            list: "models",
            placeholder: "the default one",
        }),
        h(
            "details",
            {class: "options"},
            h("summary", {}, "More"),
            choiceField(
                "Format",
                [
                    ["", "guess"],
                    ["openai", "OpenAI"],
                    ["jsonl", "JSONL"],
                    ["csv", "CSV"],
                    ["txt", "text lines"],
                ],
                {name: "format"},
            ),
            field("At once", (id) =>
                h("input", {
                    id,
                    name: "concurrency",
                    type: "number",
                    min: "1",
                    step: "1",
                    placeholder: "no limit of its own",
                }),
            ),
            textField("Failures allowed (a number, or a share such as 5%)", {name: "maxFailures"}),
            field("Cost at most (USD)", (id) =>
                h("input", {id, name: "maxCost", type: "number", min: "0", step: "any"}),
            ),
            field("Priority", (id) =>
                h("input", {
                    id,
                    name: "priority",
                    type: "number",
                    min: "-1000",
                    max: "1000",
                    step: "1",
                    placeholder: "0",
                }),
            ),
            choiceField(
                "After an error",
                [
                    ["continue", "continue"],
                    ["stop", "stop"],
                ],
                {name: "onError", value: "continue"},
            ),
        ),
        h(
            "label",
            {class: "check"},
            h("input", {type: "checkbox", name: "paused", value: "true"}),
            " Start paused",
        ),
    );
    return sending(form, "Upload", async (state) => {
        if (!zone.file()) throw new Error("No file: drop one, or choose one.");
        const body = new FormData();
        for (const [name, value] of Object.entries(values(form))) body.append(name, value);
        body.append("file", zone.file());
        const bar = sendingBar();
        fill(state, bar.element);
        const row = await upload("/api/batch-jobs", body, bar.tell);
        done("Accepted");
        location.hash = "#/batches/" + encodeURIComponent(row.id);
    });
}

export function createView(at) {
    const models = h("datalist", {id: "models"});
    const element = h(
        "section",
        {"aria-labelledby": "title"},
        h("h2", {id: "title"}, "New"),
        models,
        h("div", {class: "columns"}, single(at), batch(at)),
    );
    let asked = false;
    return {
        element,
        close() {},
        async refresh() {
            if (asked) return;
            asked = true;
            try {
                const page = await get("/api/models", {quiet: true});
                fill(
                    models,
                    page.data.filter((row) => row.name !== "*").map((row) => h("option", {value: row.name})),
                );
            } catch {
                // The names are a help only.
            }
        },
    };
}
