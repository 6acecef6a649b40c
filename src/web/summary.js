// SPDX-License-Identifier: MIT
// What is to be seen first: the runner, the health, counts by state, throughput, money, and models that wait.
import {get, path, post} from "./api.js";
import {h, keep, link} from "./dom.js";
import {badge, money, number, time} from "./format.js";
import {changed, liveState} from "./live.js";
import {actionButton} from "./say.js";

const LOOK_MS = 5000; // also without an event: ages grow, and a runner can vanish without one
const STATES = ["queued", "processing", "completed", "failed", "cancelled"];

export class Summary {
    constructor({admin, signs, counts, parked, health}) {
        Object.assign(this, {admin, signs, counts, parked, health});
        this.timer = setInterval(() => document.hidden || this.refresh(), LOOK_MS);
    }

    close() {
        clearInterval(this.timer);
        for (const element of [this.signs, this.counts, this.parked])
            element.keptData = undefined;
        this.closed = true;
    }

    // told: because of an event, so that others look, too.
    async refresh(told) {
        if (this.looking || this.closed)
            return;
        this.looking = true;
        this.told = told;
        try {
            const [stats, health] = await Promise.all([get("/api/stats"), this.health()]);
            if (!this.closed)
                this.draw(stats, health);
        } catch (error) {
            if (!this.closed && error.status !== 401)
                keep(this.signs, "down", () => h("span", {class: "sign bad", title: error.message}, error.status ? "no answer" : "not reachable"));
        } finally {
            this.looking = false;
        }
    }

    draw(stats, health) {
        const counts = JSON.stringify(STATES.map((state) => stats[state]));
        if (this.last !== undefined && this.last !== counts && liveState() === "live" && !this.told)
            changed();
        this.last = counts;
        keep(this.signs, [stats.runnerPid, stats.runnerStartedAt, health], () => [this.runner(stats), this.healthSign(health)]);
        this.counts.hidden = false;
        keep(this.counts, {...stats, health: null}, () => [h("ul", {class: "counts"}, STATES.map((state) => this.count(state, stats[state])),
            this.count("stuck", stats.stuck)), this.facts(stats)]);
        const parked = stats.parkedModels ?? [];
        this.parked.hidden = parked.length === 0;
        keep(this.parked, parked, () => parked.map((model) => this.parkedModel(model)));
    }

    runner(stats) {
        if (stats.runnerPid === undefined)
            return null;
        if (stats.runnerPid === null)
            return h("span", {class: "sign bad"}, "no runner");
        return h("span", {class: "sign good", title: "process " + stats.runnerPid}, "running ", time(stats.runnerStartedAt, "age"));
    }

    healthSign({ok, reasons}) {
        if (ok && !reasons.length)
            return h("span", {class: "sign good"}, "healthy");
        return h("details", {class: "sign bad"}, h("summary", {}, "not healthy"), h("ul", {}, reasons.map((reason) => h("li", {}, reason))));
    }

    count(state, value) {
        if (value === undefined)
            return null;
        const href = state === "stuck" ? "#/stuck" : "#/generations?status=" + state;
        return h("li", {class: value ? null : "none"}, link(href, [h("strong", {}, number(value)), " ", badge(state)], {data: {focus: "count-" + state}}));
    }

    facts(stats) {
        const fact = (label, value, properties) => value === null || value === undefined ? null :
            h("div", properties ?? {}, h("dt", {}, label), h("dd", {}, value));
        return h("dl", {class: "facts"},
            fact("throughput", stats.completedLastMinute === undefined ? null : `${number(stats.completedLastMinute)} / min, ${number(stats.completedLastHour)} / h`),
            fact("oldest queued", stats.oldestQueuedAt ? time(stats.oldestQueuedAt, "age") : "none"),
            fact("failed this hour", stats.failedLastHour === undefined ? null : number(stats.failedLastHour)),
            fact("cost today", stats.costToday === undefined ? null : money(stats.costToday)),
            stats.violations ? fact("neither waiting nor running", number(stats.violations), {class: "bad"}) : null);
    }

    parkedModel(model) {
        const resume = this.admin && actionButton("Resume", {title: `Resume ${model.name}?`, text: "What waits for it is sent again at once."}, async () => {
            await post(path("api", "models", model.name, "resume"));
            this.refresh();
            return `${model.name} goes on`;
        }, {class: "small", data: {focus: "resume-" + model.name}});
        return h("div", {class: "parked-model"}, badge("parked"), h("strong", {}, model.name), h("span", {class: "why"}, model.reason ?? "no reason is known",
            model.until ? [" – again ", time(model.until)] : null), resume);
    }
}

