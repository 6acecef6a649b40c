// SPDX-License-Identifier: MIT
// What is to be seen first: the runner, the health, counts by state, throughput, money, and models that wait.
import {resumeModelAction} from "./actions.js";
import {get} from "./api.js";
import {h, keep, link, pairs} from "./dom.js";
import {badge, money, number, time} from "./format.js";
import {changed, liveState} from "./live.js";
import {looker} from "./say.js";

const LOOK_MS = 5000; // also without an event: ages grow, and a runner can vanish without one
const STATES = ["queued", "processing", "completed", "failed", "cancelled"];

export class Summary {
    constructor({admin, signs, counts, parked, health}) {
        Object.assign(this, {admin, signs, counts, parked, health});
        this.lookAgain = looker(signs, () => this.look());
        this.timer = setInterval(() => document.hidden || this.refresh(), LOOK_MS);
    }

    close() {
        clearInterval(this.timer);
        for (const element of [this.signs, this.counts, this.parked]) element.keptData = undefined;
        this.closed = true;
    }

    // told: because of an event, so that others look, too.
    refresh(told) {
        this.told ||= told;
        if (!this.closed) this.lookAgain();
    }

    async look() {
        const told = this.told;
        this.told = false;
        try {
            const [stats, health] = await Promise.all([this.admin ? get("/api/stats") : {}, this.health()]);
            if (!this.closed) this.draw(stats, health, told);
        } catch (error) {
            if (!this.closed && error.status !== 401) this.drawTrouble(error);
        }
    }

    drawTrouble(error) {
        const text = error.status ? "no answer" : "not reachable";
        keep(this.signs, text, () => h("span", {class: "sign bad", title: error.message}, text));
    }

    draw(stats, health, told) {
        const counts = JSON.stringify([...STATES, "stuck"].map((state) => stats[state]));
        if (this.last !== undefined && this.last !== counts && liveState() === "live" && !told) changed();
        this.last = counts;
        keep(this.signs, [stats.runnerPid, stats.runnerStartedAt, health], () => [
            this.runner(stats),
            this.healthSign(health),
        ]);
        this.counts.hidden = !this.admin; // the numbers are those of all users
        keep(this.counts, {...stats, health: null}, () => [
            h(
                "ul",
                {class: "counts"},
                STATES.map((state) => this.count(state, stats[state])),
                this.count("stuck", stats.stuck),
            ),
            this.facts(stats),
        ]);
        const parked = stats.parkedModels ?? [];
        this.parked.hidden = parked.length === 0;
        keep(this.parked, parked, () => parked.map((model) => this.parkedModel(model)));
    }

    runner(stats) {
        if (stats.runnerPid === undefined) return null;
        if (stats.runnerPid === null) return h("span", {class: "sign bad"}, "no runner");
        return h(
            "span",
            {class: "sign good", title: "process " + stats.runnerPid},
            "running ",
            time(stats.runnerStartedAt, "age"),
        );
    }

    healthSign({ok, reasons}) {
        if (ok && !reasons.length) return h("span", {class: "sign good"}, "healthy");
        return h(
            "details",
            {class: "sign bad"},
            h("summary", {}, "not healthy"),
            h(
                "ul",
                {},
                reasons.map((reason) => h("li", {}, reason)),
            ),
        );
    }

    count(state, value) {
        if (value === undefined) return null;
        const href = state === "stuck" ? "#/stuck" : "#/generations?status=" + state;
        return h(
            "li",
            {class: value ? null : "none"},
            link(href, [h("strong", {}, number(value)), " ", badge(state)], {
                data: {focus: "count-" + state},
            }),
        );
    }

    facts(stats) {
        const rate =
            stats.completedLastMinute === undefined
                ? null
                : `${number(stats.completedLastMinute)} / min, ${number(stats.completedLastHour)} / h`;
        return pairs("facts", [
            ["throughput", rate],
            ["oldest queued", stats.oldestQueuedAt ? time(stats.oldestQueuedAt, "age") : "none"],
            ["failed this hour", number(stats.failedLastHour)],
            ["cost today", money(stats.costToday)],
            [
                "neither waiting nor running",
                stats.violations ? number(stats.violations) : null,
                {class: "bad"},
            ],
        ]);
    }

    parkedModel(model) {
        return h(
            "div",
            {class: "parked-model"},
            badge("parked"),
            h("strong", {}, model.name),
            h(
                "span",
                {class: "why"},
                model.reason ?? "no reason is known",
                model.until ? [" – again ", time(model.until)] : null,
            ),
            this.admin ? resumeModelAction(model.name, () => this.refresh()) : null,
        );
    }
}
