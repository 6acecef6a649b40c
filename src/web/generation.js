// SPDX-License-Identifier: MIT
// Everything about one generation, and what can be done with it.
import {cancelAction, dismissAction, recoverAction, retryAction} from "./actions.js";
import {get, path} from "./api.js";
import {block, button, fill, h, keep, line, link, pairs} from "./dom.js";
import {advice, badge, bytes, clock, money, number, time} from "./format.js";
import {problem} from "./say.js";

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
        const tokens = row.inputTokens === null && row.outputTokens === null ? null : `${number(row.inputTokens ?? 0)} in, ${number(row.outputTokens ?? 0)} out`;
        const tries = row.starts === row.attempts ? row.attempts : `${row.attempts} spent, ${row.starts} started`;
        return pairs("fields", [["Model", row.modelId], ["User", row.userId], ["Session", row.sessionId],
            ["Batch", row.batchJobId && link("#/batches/" + encodeURIComponent(row.batchJobId), row.batchJobId)], ["Custom id", row.customId],
            ["Topic", row.topic], ["Tier", row.tier], ["Type", row.type], ["Endpoint", row.endpoint], ["Client id", row.clientId],
            ["Priority", row.priority || null], ["Attempts", tries], ["Last step", row.lastStep], ["Created", time(row.createdAt)],
            ["Not before", row.status === "queued" ? time(row.runAfter) : null], ["Started", time(row.startedAt)], ["Heartbeat", time(row.lastHeartbeat)],
            ["Progress", time(row.lastProgress)], ["Ended", time(row.completedAt)], ["Tokens", tokens], ["Cost", money(row.cost)]]);
    }

    output(output, count) {
        const title = (count > 1 ? `Output ${output.idx + 1}` : "Output") + `: ${output.mime ?? "unknown type"}, ${bytes(output.bytes)}` + (output.partial ? ", partial" : "");
        return [h("h3", {}, title), outputBody(output)];
    }

    actions(row) {
        const after = () => {
            this.refresh();
            this.changed();
        };
        const ended = row.status === "failed" || row.status === "cancelled";
        const running = row.status === "processing";
        const all = [row.stuck && this.person.admin ? recoverAction(row.id, after, {class: "primary"}) : null,
            ended ? retryAction(row.id, after, {class: "primary"}) : null,
            running || row.status === "queued" ? cancelAction(row.id, running, after) : null,
            ended || row.dismissedAt ? dismissAction(row.id, Boolean(row.dismissedAt), after) : null];
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
