// SPDX-License-Identifier: MIT
// Everything about one generation, and what can be done with it.
import {get, path, post} from "./api.js";
import {block, button, fill, h, keep, line, link} from "./dom.js";
import {advice, badge, bytes, clock, money, number, time} from "./format.js";
import {actionButton, problem} from "./say.js";

const SHOWN_TEXT = 200000; // characters of a text; the whole one is a click away
const OWN_KEYS = new Set(["error", "errorContext", "cancelledAt", "cancelledReason"]);

export class Generation {
    constructor(id, {person, onClose, changed}) {
        Object.assign(this, {id, person, onClose, changed});
        this.abort = new AbortController();
        this.parts = Object.fromEntries(["state", "actions", "error", "prompt", "outputs", "fields", "parameters", "events"].map((name) => [name, h("div", {class: "part"})]));
        this.state = h("div", {}, h("p", {class: "quiet"}, "Loading …"));
        this.element = h("article", {class: "detail", tabindex: "-1", "aria-labelledby": "detail-title"}, h("header", {},
            h("h2", {id: "detail-title"}, "Generation ", h("code", {}, id)), button("Close", onClose, {class: "small", title: "Escape closes, too"})),
            this.state, Object.values(this.parts));
    }

    close() {
        this.abort.abort();
    }

    async refresh(changes) {
        if (changes?.generations && !changes.generations.has(this.row?.id ?? this.id) && !(this.row && changes.batches.has(this.row.batchJobId) && !this.row.completedAt))
            return;
        if (this.looking) {
            this.again = true;
            return;
        }
        this.looking = true;
        try {
            this.row = await get(path("api", "generations", this.id), {signal: this.abort.signal});
            fill(this.state);
            this.draw(this.row);
        } catch (error) {
            if (error.name !== "AbortError")
                fill(this.state, problem(error));
        } finally {
            this.looking = false;
            if (this.again && !this.abort.signal.aborted) {
                this.again = false;
                this.refresh();
            }
        }
    }

    draw(row) {
        const p = this.parts;
        keep(p.state, [row.status, row.stuck, row.waitsFor, row.dismissedAt], () => [badge(row.stuck ? "stuck" : row.status),
            row.dismissedAt ? h("span", {class: "quiet"}, " dismissed ", time(row.dismissedAt)) : null,
            row.waitsFor ? h("p", {class: "waits"}, "Waits for: ", row.waitsFor) : null]);
        keep(p.actions, [row.status, row.stuck, row.dismissedAt, row.batchJobId], () => this.actions(row));
        keep(p.error, [row.errorType, row.errorMessage, row.parameters?.errorContext, row.status], () => this.error(row));
        keep(p.prompt, row.prompt, () => (row.prompt ? [h("h3", {}, "Prompt"), block(row.prompt.slice(0, SHOWN_TEXT), "Prompt")] : null));
        keep(p.outputs, row.outputs ?? [], (outputs) => outputs.map((output) => this.output(output, outputs.length)));
        keep(p.fields, {...row, prompt: null, outputs: null, events: null, parameters: null}, () => this.fields(row));
        const parameters = Object.fromEntries(Object.entries(row.parameters ?? {}).filter(([name]) => !OWN_KEYS.has(name)));
        keep(p.parameters, parameters, () => (Object.keys(parameters).length ? [h("h3", {}, "Parameters"),
            block(JSON.stringify(parameters, null, 2).slice(0, SHOWN_TEXT), "Parameters")] : null));
        keep(p.events, row.events ?? [], (events) => (events.length ? [h("h3", {}, "Events"), timeline(events)] : null));
    }

    error(row) {
        if (!row.errorMessage && row.status !== "cancelled")
            return null;
        const context = row.parameters?.errorContext;
        if (row.status === "cancelled")
            return h("p", {class: "waits"}, "Cancelled: ", row.parameters?.cancelledReason || "no reason was given");
        return h("section", {class: "error", "aria-label": "Error"}, h("h3", {}, row.errorType ?? "Error", row.status === "failed" ? "" : " (of the last try)"),
            h("p", {}, row.errorMessage), advice(row.errorType) ? h("p", {class: "advice"}, advice(row.errorType)) : null,
            context?.stack ? h("p", {class: "quiet"}, context.stack) : null);
    }

    fields(row) {
        const pair = (label, value) => (value === null || value === undefined || value === "" ? null : [h("dt", {}, label), h("dd", {}, value)]);
        const tokens = row.inputTokens === null && row.outputTokens === null ? null : `${number(row.inputTokens ?? 0)} in, ${number(row.outputTokens ?? 0)} out`;
        const tries = row.starts === row.attempts ? row.attempts : `${row.attempts} spent, ${row.starts} started`;
        return h("dl", {class: "fields"}, pair("Model", row.modelId), pair("User", row.userId), pair("Session", row.sessionId),
            pair("Batch", row.batchJobId && link("#/batches/" + encodeURIComponent(row.batchJobId), row.batchJobId)), pair("Custom id", row.customId),
            pair("Topic", row.topic), pair("Tier", row.tier), pair("Type", row.type), pair("Endpoint", row.endpoint), pair("Client id", row.clientId),
            pair("Priority", row.priority || null), pair("Attempts", tries), pair("Last step", row.lastStep), pair("Created", time(row.createdAt)),
            pair("Not before", row.status === "queued" ? time(row.runAfter) : null), pair("Started", time(row.startedAt)), pair("Heartbeat", time(row.lastHeartbeat)),
            pair("Progress", time(row.lastProgress)), pair("Ended", time(row.completedAt)), pair("Tokens", tokens), pair("Cost", money(row.cost)));
    }

    output(output, count) {
        const title = (count > 1 ? `Output ${output.idx + 1}` : "Output") + `: ${output.mime ?? "unknown type"}, ${bytes(output.bytes)}` + (output.partial ? ", partial" : "");
        return [h("h3", {}, title), outputBody(output)];
    }

    actions(row) {
        const act = (label, verb, question, said, properties, body) => actionButton(label, question, async ({reason}) => {
            await post(path("api", "generations", this.id, verb), {...body, ...(reason ? {reason} : {})});
            this.refresh();
            this.changed();
            return said;
        }, {data: {focus: verb}, ...properties});
        const ended = row.status === "failed" || row.status === "cancelled";
        const live = row.status === "queued" || row.status === "processing";
        const all = [
            row.stuck && this.person.admin ? actionButton("Recover", {title: "Queue it again?", text: "What its former owner still sends is dropped."}, async () => {
                await post("/api/admin/recover-generation", {generationId: row.id});
                this.refresh();
                this.changed();
                return "Queued again";
            }, {class: "primary", data: {focus: "recover"}}) : null,
            ended ? act("Retry", "retry", {title: "Run it again?", text: "It is queued with all its attempts."}, "Queued again", {class: "primary"}) : null,
            live ? act("Cancel it", "cancel", {title: "Cancel this generation?", text: row.status === "processing" ? "It ends at once; what has come of it is kept." : "It will not run.",
                danger: true, reason: "Reason (optional)"}, "Cancelled", {class: "danger"}) : null,
            ended && !row.dismissedAt ? act("Dismiss", "dismiss", {title: "Dismiss it?", text: "It is left out of failures and alerts, and stays in this list."}, "Dismissed") : null,
            row.dismissedAt ? act("Undo dismissal", "dismiss", null, "Counted again", null, {undo: true}) : null,
        ];
        return all.some(Boolean) ? h("div", {class: "buttons"}, all) : null;
    }
}

function outputBody(output) {
    const {mime, content} = output;
    if (content === null || content === undefined)
        return h("p", {class: "quiet"}, output.file ? "It is in the file " : "The content is not here.", output.file ? h("code", {}, output.file) : null);
    const base64 = typeof content === "object" ? content.base64 : null;
    if (base64 && /^image\/[a-z0-9.+-]+$/.test(mime ?? ""))
        return h("img", {class: "output", src: `data:${mime};base64,${base64}`, alt: "Output, an image"});
    if (base64)
        return h("p", {class: "quiet"}, "It is not text.");
    const text = typeof content === "string" ? content : JSON.stringify(content, null, 2);
    return [block(text.slice(0, SHOWN_TEXT), "Output"), text.length > SHOWN_TEXT ? h("p", {class: "quiet"}, `${number(text.length)} characters in all.`) : null];
}

// Events, the oldest first.
export function timeline(events) {
    return h("ol", {class: "timeline"}, events.map((event) => h("li", {class: "level-" + (["debug", "info", "warn", "error"].includes(event.level) ? event.level : "info")},
        clock(event.createdAt), " ", h("strong", {}, line(event.event).replace(/^(generation|batch)\./, "")), event.attempt ? h("span", {class: "quiet"}, ` try ${event.attempt}`) : null,
        event.message ? h("p", {}, event.message) : null, event.data?.waitMs ? h("p", {class: "quiet"}, `again after ${(event.data.waitMs / 1000).toFixed(1)} s`) : null)));
}
