// SPDX-License-Identifier: MIT
// Everything about one generation, and what can be done with it.
import {cancelAction, dismissAction, recoverAction, retryAction} from "./actions.js";
import {get, path} from "./api.js";
import {block, button, fill, h, keep, link, pairs} from "./dom.js";
import {advice, badge, bytes, money, number, time} from "./format.js";
import {Log} from "./log.js";
import {looker} from "./say.js";

const SHOWN_TEXT = 200000; // characters of a text; the whole one is a click away
const INLINE = 1 << 20; // bytes of outputs that stand in the answer itself
const OWN_KEYS = new Set(["error", "errorContext", "cancelledAt", "cancelledReason"]);

export class Generation {
    constructor(id, {person, onClose, changed}) {
        Object.assign(this, {id, person, onClose, changed});
        this.abort = new AbortController();
        this.log = new Log(path("api", "generations", id, "logs"), this.abort.signal);
        this.parts = Object.fromEntries(
            ["state", "actions", "error", "prompt", "outputs", "fields", "parameters"].map((name) => [
                name,
                h("div", {class: "part"}),
            ]),
        );
        this.state = h("div", {}, h("p", {class: "quiet"}, "Loading …"));
        this.lookAgain = looker(this.state, () => this.look());
        this.element = h(
            "article",
            {class: "detail", tabindex: "-1", "aria-labelledby": "detail-title"},
            h(
                "header",
                {},
                h("h2", {id: "detail-title"}, "Generation ", h("code", {}, id)),
                button("Close", onClose, {class: "small", title: "Escape closes, too"}),
            ),
            this.state,
            Object.values(this.parts),
            h("h3", {}, "Events"),
            this.log.element,
        );
    }

    close() {
        this.abort.abort();
    }

    // Looks again, unless the changes are none of this one's.
    refresh(changes) {
        const own = !changes?.generations || changes.generations.has(this.row?.id ?? this.id);
        const batch = this.row && !this.row.completedAt && changes?.batches?.has(this.row.batchJobId);
        if (own || batch) this.lookAgain();
    }

    async look() {
        this.row = await get(path("api", "generations", this.id), {signal: this.abort.signal});
        fill(this.state);
        this.draw(this.row);
        await this.log.refresh();
    }

    draw(row) {
        const p = this.parts;
        keep(p.state, [row.status, row.stuck, row.waitsFor, row.dismissedAt], () => [
            badge(row.stuck ? "stuck" : row.status),
            row.dismissedAt ? h("span", {class: "quiet"}, " dismissed ", time(row.dismissedAt)) : null,
            row.waitsFor ? h("p", {class: "waits"}, "Waits for: ", row.waitsFor) : null,
        ]);
        keep(p.actions, [row.status, row.stuck, row.dismissedAt, row.batchJobId], () => this.actions(row));
        keep(p.error, [row.errorType, row.errorMessage, row.parameters?.errorContext, row.status], () =>
            this.error(row),
        );
        keep(p.prompt, row.prompt, () =>
            row.prompt ? [h("h3", {}, "Prompt"), block(row.prompt.slice(0, SHOWN_TEXT), "Prompt")] : null,
        );
        keep(p.outputs, row.outputs ?? [], (outputs) =>
            outputs.map((output) => this.output(output, outputs.length)),
        );
        keep(p.fields, {...row, prompt: null, outputs: null, parameters: null}, () => this.fields(row));
        const parameters = Object.fromEntries(
            Object.entries(row.parameters ?? {}).filter(([name]) => !OWN_KEYS.has(name)),
        );
        keep(p.parameters, parameters, () =>
            Object.keys(parameters).length
                ? [
                      h("h3", {}, "Parameters"),
                      block(JSON.stringify(parameters, null, 2).slice(0, SHOWN_TEXT), "Parameters"),
                  ]
                : null,
        );
    }

    error(row) {
        if (!row.errorMessage && row.status !== "cancelled") return null;
        const context = row.parameters?.errorContext;
        if (row.status === "cancelled")
            return h(
                "p",
                {class: "waits"},
                "Cancelled: ",
                row.parameters?.cancelledReason || "no reason was given",
            );
        return h(
            "section",
            {class: "error", "aria-label": "Error"},
            h("h3", {}, row.errorType ?? "Error", row.status === "failed" ? "" : " (of the last try)"),
            h("p", {}, row.errorMessage),
            advice(row.errorType) ? h("p", {class: "advice"}, advice(row.errorType)) : null,
            context?.stack ? h("p", {class: "quiet"}, context.stack) : null,
        );
    }

    fields(row) {
        const tokens =
            row.inputTokens === null && row.outputTokens === null
                ? null
                : `${number(row.inputTokens ?? 0)} in, ${number(row.outputTokens ?? 0)} out`;
        const tries =
            row.starts === row.attempts ? row.attempts : `${row.attempts} spent, ${row.starts} started`;
        return pairs("fields", [
            ["Model", row.modelId],
            ["User", row.userId],
            ["Session", row.sessionId],
            [
                "Batch",
                row.batchJobId && link("#/batches/" + encodeURIComponent(row.batchJobId), row.batchJobId),
            ],
            ["Custom id", row.customId],
            ["Topic", row.topic],
            ["Tier", row.tier],
            ["Type", row.type],
            ["Endpoint", row.endpoint],
            ["Client id", row.clientId],
            ["Priority", row.priority || null],
            ["Attempts", tries],
            ["Last step", row.lastStep],
            ["Created", time(row.createdAt)],
            ["Not before", row.status === "queued" ? time(row.runAfter) : null],
            ["Started", time(row.startedAt)],
            ["Heartbeat", time(row.lastHeartbeat)],
            ["Progress", time(row.lastProgress)],
            ["Ended", time(row.completedAt)],
            ["Tokens", tokens],
            ["Cost", money(row.cost)],
        ]);
    }

    output(output, count) {
        const address = path("api", "generations", this.row.id, "outputs", output.index);
        const title =
            (count > 1 ? `Output ${output.index + 1}` : "Output") +
            `: ${output.mime ?? "unknown type"}, ${bytes(output.bytes)}` +
            (output.partial ? ", partial" : "");
        return [
            h(
                "h3",
                {class: "output-title"},
                title,
                " ",
                link(address, "Download", {download: fileName(this.row.id, output)}),
            ),
            outputBody(output, address),
        ];
    }

    actions(row) {
        const after = () => {
            this.refresh();
            this.changed();
        };
        const ended = row.status === "failed" || row.status === "cancelled";
        const running = row.status === "processing";
        const all = [
            row.stuck && this.person.admin ? recoverAction(row.id, after, {class: "primary"}) : null,
            ended ? retryAction(row.id, after, {class: "primary"}) : null,
            running || row.status === "queued" ? cancelAction(row.id, running, after) : null,
            ended || row.dismissedAt ? dismissAction(row.id, Boolean(row.dismissedAt), after) : null,
        ];
        return all.some(Boolean) ? h("div", {class: "buttons"}, all) : null;
    }
}

const ENDINGS = {
    "text/plain": ".txt",
    "application/json": ".json",
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "image/svg+xml": ".svg",
};

function fileName(id, output) {
    return id.slice(-8) + "-" + output.index + (ENDINGS[output.mime] ?? ".bin");
}

// Text stands in the answer as far as there was room; an image is asked for by its address, as an image only.
function outputBody(output, address) {
    if (/^image\//.test(output.mime ?? ""))
        return h("img", {class: "output", src: address, alt: "Output, an image"});
    if (typeof output.content !== "string")
        return h(
            "p",
            {class: "quiet"},
            output.bytes > INLINE ? "It is too long to be shown." : "It is not text.",
        );
    return [
        block(output.content.slice(0, SHOWN_TEXT), "Output"),
        output.content.length > SHOWN_TEXT
            ? h("p", {class: "quiet"}, `The first of ${number(output.content.length)} characters.`)
            : null,
    ];
}
