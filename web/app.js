// SPDX-License-Identifier: Apache-2.0
//
// The page at `/`: one topic read in four ways at once, side by side. Every way
// starts from the same cursor and hands each record to `arrived`. All that is
// drawn is drawn by `draw`, at most once a frame and a few times a second, so that
// a fast topic costs the browser no more than a slow one. Hidden, the page reads
// nothing: a browser has six connections for one host, and two are held open here.
"use strict";

const $ = id => document.getElementById(id);
const MINUTE = 60000, ROWS = 200, SAMPLES = 5000;
const enc = encodeURIComponent;

// ---- numbers as people read them ----

function count(n) {
	return n < 10000 ? Math.round(n).toLocaleString("en") : n < 1e6 ? (n / 1e3).toFixed(1) + " k" : (n / 1e6).toFixed(2) + " M";
}

function size(n) {
	return n < 1024 ? Math.round(n) + " B" : n < 1 << 20 ? (n / 1024).toFixed(1) + " KiB" : (n / (1 << 20)).toFixed(1) + " MiB";
}

function time(ms) {
	return ms < 10 ? ms.toFixed(1) + " ms" : ms < 1000 ? Math.round(ms) + " ms" : (ms / 1000).toFixed(1) + " s";
}

function clock(ms) {
	const d = new Date(ms), pad = (n, w) => String(n).padStart(w, "0");
	return `${pad(d.getHours(), 2)}:${pad(d.getMinutes(), 2)}:${pad(d.getSeconds(), 2)}.${pad(d.getMilliseconds(), 3)}`;
}

// ---- one way of reading ----

class Way {
	constructor(name, color, how) {
		this.name = name;
		this.how = how;
		this.color = color;
		const card = $("way").content.firstElementChild.cloneNode(true);
		card.style.setProperty("--way", `var(--${color})`);
		card.querySelector("h3").textContent = name;
		this.card = card;
		this.part = {};
		for (const c of ["how", "median", "p99", "dots", "records", "requests", "vain", "got", "each", "own", "trouble", "on"])
			this.part[c] = card.querySelector("." + c);
		this.part.on.addEventListener("change", () => this.part.on.checked ? this.start() : this.stop());
		this.part.dots.setAttribute("aria-label", `latency of ${name} over the last minute`);
		this.run = 0;
		this.reset();
	}

	reset() {
		this.records = this.requests = this.vain = this.bytes = 0;
		this.samples = [];   // [when it arrived, latency in ms]
		this.own = null;
	}

	// Each start is a run of its own: what a stopped run still hears of is dropped.
	start() {
		this.stop();
		this.card.classList.remove("off");
		if (!page.topic || document.hidden || !this.part.on.checked)
			return;
		if (this.cursor === undefined)
			this.cursor = page.cursor;
		this.read(++this.run);
	}

	stop() {
		this.run++;
		this.card.classList.toggle("off", !this.part.on.checked);
		if (this.end)
			this.end();
		this.end = null;
	}

	say(text) {
		this.part.trouble.hidden = !text;
		this.part.trouble.textContent = text || "";
	}

	arrived(r, cursor) {
		if (cursor)
			this.cursor = cursor;
		page.arrived(this, r);
	}

	// One GET of records: "done", "more" where it is not caught up, null after trouble.
	async pull(run, wait) {
		const stop = new AbortController();
		this.end = () => stop.abort();
		let r, text;
		try {
			const url = `/v1/topics/${enc(page.topic)}/records?limit=1000&cursor=${enc(this.cursor || "latest")}${wait ? "&wait=" + wait : ""}`;
			this.requests++;
			r = await fetch(url, { cache: "no-store", signal: stop.signal });
			text = await r.text();
		} catch (e) {
			if (run === this.run)
				this.say("weir does not answer; trying again");
			return null;
		}
		if (run !== this.run)
			return null;
		this.bytes += text.length;
		for (const [k, v] of r.headers)
			this.bytes += k.length + v.length + 4;
		let doc = {};
		try {
			doc = JSON.parse(text);
		} catch (e) { /* told below */ }
		if (!r.ok) {
			if (r.status === 410 && doc.cursor)
				this.cursor = doc.cursor;
			else if (r.status === 409 || r.status === 400 || r.status === 410)
				this.cursor = "earliest";
			this.say(r.status === 404 ? "" : doc.detail || `answered ${r.status}`);
			return null;
		}
		this.say("");
		for (const record of doc.records)
			this.arrived(record);
		if (!doc.records.length)
			this.vain++;
		this.cursor = doc.cursor;
		return doc.caught_up ? "done" : "more";
	}

	sleep(ms) {
		return new Promise(done => {
			const t = setTimeout(done, ms);
			this.end = () => { clearTimeout(t); done(); };
		});
	}
}

class Poll extends Way {
	async read(run) {
		while (run === this.run) {
			if (await this.pull(run) !== "more" && run === this.run)
				await this.sleep(Number($("every").value));
		}
	}
}

class LongPoll extends Way {
	async read(run) {
		while (run === this.run)
			if (!await this.pull(run, "30s") && run === this.run)
				await this.sleep(1000);
	}
}

class Sse extends Way {
	read(run) {
		this.requests++;
		const source = new EventSource(`/v1/topics/${enc(page.topic)}/sse?cursor=${enc(this.cursor || "latest")}`);
		this.end = () => source.close();
		source.onopen = () => run === this.run && (this.say(""), page.state("live"));
		source.onmessage = e => {
			if (run !== this.run)
				return;
			this.bytes += e.data.length + e.lastEventId.length + "id: \ndata: \n\n".length;
			this.arrived(JSON.parse(e.data), e.lastEventId);
		};
		source.addEventListener("gap", e => run === this.run && this.say("a gap: " + e.data));
		source.onerror = () => {
			if (run !== this.run)
				return;
			page.state("down");
			this.say("connection lost; trying again");
			if (source.readyState === EventSource.CLOSED)
				this.end = this.again(run, 2000);
			else
				this.requests++;
		};
	}

	again(run, ms) {
		const t = setTimeout(() => {
			if (run === this.run) {
				if (this.refused && this.refused++ > 1)
					this.cursor = "latest";
				this.read(run);
			}
		}, ms);
		return () => clearTimeout(t);
	}
}

class Ws extends Sse {
	read(run) {
		this.requests++;
		let opened = false;
		const base = location.origin.replace(/^http/, "ws");
		const socket = new WebSocket(`${base}/v1/topics/${enc(page.topic)}/ws?mode=subscribe&cursor=${enc(this.cursor || "latest")}`);
		this.end = () => socket.close();
		socket.onopen = () => {
			opened = true;
			this.failures = 0;
			if (run === this.run)
				this.say("");
		};
		socket.onmessage = e => {
			if (run !== this.run)
				return;
			this.bytes += e.data.length + (e.data.length < 126 ? 2 : e.data.length < 65536 ? 4 : 10);
			const r = JSON.parse(e.data);
			if (r.gap)
				return this.say("a gap: " + JSON.stringify(r.gap));
			this.arrived(r, r.cursor);
		};
		socket.onclose = e => {
			if (run !== this.run)
				return;
			this.say(`connection lost (${e.code}); trying again`);
			// A handshake that is refused again and again: the cursor is no longer good.
			if (!opened && (this.failures = (this.failures || 0) + 1) > 4)
				this.cursor = "latest";
			this.end = this.again(run, 1000);
		};
	}
}

// ---- drawing by hand ----

function canvas(el) {
	const w = el.clientWidth, h = el.clientHeight, d = window.devicePixelRatio || 1;
	if (el.width !== Math.round(w * d) || el.height !== Math.round(h * d)) {
		el.width = Math.round(w * d);
		el.height = Math.round(h * d);
	}
	const g = el.getContext("2d");
	g.setTransform(d, 0, 0, d, 0, 0);
	g.clearRect(0, 0, w, h);
	return [g, w, h];
}

function bars(el, values, color) {
	const [g, w, h] = canvas(el), top = Math.max(1, ...values), step = w / values.length;
	g.fillStyle = color;
	values.forEach((v, i) => {
		const y = v ? Math.max(1.5, v / top * (h - 2)) : .5;
		g.fillRect(i * step, h - y, Math.max(1, step - 1), y);
	});
}

// All four share one logarithmic scale, 1 ms at the bottom to 10 s at the top: that is the comparison.
const SCALE = [[1, "1 ms"], [10, "10 ms"], [100, "100 ms"], [1000, "1 s"], [10000, "10 s"]];

function dots(el, samples, colors, color) {
	const [g, w, h] = canvas(el), now = performance.now(), left = 40;
	const y = ms => h - 7 - Math.log10(Math.min(10000, Math.max(1, ms))) / 4 * (h - 14);
	g.font = "10px system-ui, sans-serif";
	g.textBaseline = "middle";
	for (const [ms, label] of SCALE) {
		g.fillStyle = colors.grid;
		g.fillRect(left, Math.round(y(ms)), w - left, 1);
		g.fillStyle = colors.muted;
		g.fillText(label, 0, y(ms));
	}
	g.fillStyle = color;
	g.globalAlpha = samples.length > 500 ? .35 : .75;
	for (const [at, ms] of samples) {
		const x = left + (1 - (now - at) / MINUTE) * (w - left);
		if (x >= left)
			g.fillRect(x - 1.25, y(ms) - 1.25, 2.5, 2.5);
	}
	g.globalAlpha = 1;
}

function quantile(sorted, q) {
	return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
}

// ---- the page ----

const page = {
	topic: null, cursor: "latest", began: Date.now(), seen: 0, perSecond: [], rows: [], fresh: [], paused: false,
	arrivals: new Map(),   // "topic partition offset" → {way: when}, for records that may turn out to be one's own
	mine: new Map(),       // the same → when it was published
	ways: [],

	state(s) {
		$("state").className = "state " + s;
		$("state").textContent = s === "live" ? "live" : s === "down" ? "no connection" : s;
	},

	arrived(way, r) {
		const now = performance.now(), id = `${r.topic} ${r.partition} ${r.offset}`;
		way.records++;
		let when = this.arrivals.get(id);
		if (!when) {
			this.arrivals.set(id, when = {});
			if (this.arrivals.size > 4000)
				this.arrivals.delete(this.arrivals.keys().next().value);
		}
		when[way.color] = now;
		if (this.mine.has(id))
			this.own(way, id, now);
		else if (r.timestamp >= this.since)
			this.sample(way, now, Math.max(0, Date.now() - r.timestamp));
		if (way.color === "sse")
			this.tail(r, id);
	},

	sample(way, now, ms) {
		way.samples.push([now, ms]);
		if (way.samples.length > SAMPLES)
			way.samples.splice(0, SAMPLES / 5);
	},

	own(way, id, now) {
		const ms = now - this.mine.get(id);
		way.own = ms;
		this.sample(way, now, ms);
		if (id === this.last)
			this.race();
	},

	// How one's last record came in over the four ways.
	race() {
		const sent = this.mine.get(this.last), when = this.arrivals.get(this.last) || {};
		const all = this.ways.map(w => when[w.color] && when[w.color] - sent), top = Math.max(1, ...all.filter(Boolean));
		$("arrivals").replaceChildren(...this.ways.map((w, i) => {
			const li = document.createElement("li"), bar = document.createElement("i");
			const name = document.createElement("span"), ms = document.createElement("span");
			name.textContent = w.name;
			ms.textContent = all[i] ? time(all[i]) : w.part.on.checked ? "…" : "off";
			bar.style.setProperty("--way", `var(--${w.color})`);
			bar.style.width = `${all[i] ? Math.max(1, all[i] / top * 100) : 0}%`;
			li.append(name, bar, ms);
			return li;
		}));
	},

	tail(r, id) {
		this.seen++;
		const second = Math.floor(Date.now() / 1000), text = valueText(r);
		let last = this.perSecond[this.perSecond.length - 1];
		if (!last || last.second !== second)
			this.perSecond.push(last = { second, records: 0, bytes: 0 });
		if (this.perSecond.length > 120)
			this.perSecond.shift();
		last.records++;
		last.bytes += text.length;
		this.fresh.push({ r, id, text });
		if (this.fresh.length > ROWS)
			this.fresh.shift();
	},
};

function valueText(r) {
	if (r.tombstone)
		return "(tombstone)";
	if (r.value_text !== undefined)
		return r.value_text;
	if (r.value_base64 !== undefined)
		return "base64 " + r.value_base64;
	return JSON.stringify(r.value);
}

function row({ r, id, text }) {
	const tr = document.createElement("tr");
	const key = r.key_base64 !== undefined ? "base64 " + r.key_base64 : r.key === null || r.key === undefined ? "" : r.key;
	for (const cell of [clock(r.timestamp), `${r.partition}:${r.offset}`, key, text.slice(0, 4000)]) {
		const td = document.createElement("td");
		td.textContent = cell;
		tr.append(td);
	}
	tr.title = "click to see all of it";
	tr.className = page.mine.has(id) ? "new mine" : "new";
	return tr;
}

function shown({ r, text }) {
	const want = $("filter").value;
	return !want || String(r.key ?? "").includes(want) || text.includes(want);
}

function drawRows() {
	if (page.paused || !page.fresh.length)
		return;
	const body = $("rows"), add = page.fresh.splice(0);
	page.rows = page.rows.concat(add).slice(-ROWS);
	body.prepend(...add.filter(shown).reverse().map(row));
	while (body.rows.length > ROWS)
		body.lastElementChild.remove();
	$("waiting").hidden = body.rows.length > 0;
}

function redrawRows() {
	$("rows").replaceChildren(...page.rows.filter(shown).reverse().map(row));
	$("waiting").hidden = $("rows").rows.length > 0;
}

function draw() {
	if (document.hidden)
		return;
	const css = getComputedStyle(document.documentElement), color = name => css.getPropertyValue("--" + name).trim();
	const colors = { grid: color("grid"), muted: color("muted") };
	drawRows();
	const now = Math.floor(Date.now() / 1000), by = new Map(page.perSecond.map(s => [s.second, s]));
	const records = [], bytes = [];
	for (let s = now - 60; s < now; s++) {
		records.push(by.get(s)?.records || 0);
		bytes.push(by.get(s)?.bytes || 0);
	}
	const mean = list => list.slice(-5).reduce((a, b) => a + b, 0) / 5;
	$("rate").textContent = mean(records) < 10 ? mean(records).toFixed(1) : count(mean(records));
	$("bytes").textContent = size(mean(bytes));
	$("seen").textContent = count(page.seen);
	const open = Math.round((Date.now() - page.began) / 1000);
	$("span").textContent = open < 90 ? `${open} s` : `${Math.round(open / 60)} min`;
	bars($("rate-line"), records, color("accent"));
	bars($("bytes-line"), bytes, color("accent"));
	for (const w of page.ways) {
		const limit = performance.now() - MINUTE, p = w.part;
		while (w.samples.length && w.samples[0][0] < limit)
			w.samples.shift();
		const sorted = w.samples.map(s => s[1]).sort((a, b) => a - b);
		p.median.textContent = sorted.length ? time(quantile(sorted, .5)) : "–";
		p.p99.textContent = sorted.length > 20 ? `· p99 ${time(quantile(sorted, .99))}` : "";
		p.records.textContent = count(w.records);
		p.requests.textContent = count(w.requests);
		p.vain.textContent = count(w.vain);
		p.got.textContent = size(w.bytes);
		p.each.textContent = w.records ? size(w.bytes / w.records) : "–";
		p.own.textContent = w.own === null ? "–" : time(w.own);
		dots(p.dots, w.samples, colors, color(w.color));
	}
}

// ---- topics ----

async function topics() {
	try {
		let list = [], next = null;
		do {
			const r = await fetch("/v1/topics" + (next ? "?after=" + enc(next) : ""), { cache: "no-store" });
			const doc = await r.json();
			list = list.concat(doc.topics);
			next = doc.next;
		} while (next && list.length < 5000);
		page.state("live");
		return list.map(t => t.name);
	} catch (e) {
		page.state("down");
		return null;
	}
}

async function refresh() {
	if (document.hidden)
		return;
	const names = await topics();
	if (!names)
		return;
	const select = $("topic");
	if (select.options.length !== names.length || names.some((n, i) => select.options[i].value !== n)) {
		select.replaceChildren(...names.map(n => new Option(n, n, false, n === page.topic)));
		select.disabled = !names.length;
	}
	$("empty").hidden = names.length > 0;
	if (!page.topic && names.length) {
		const wanted = decodeURIComponent(location.hash.slice(1));
		choose(names.includes(wanted) ? wanted : names.includes("machine") ? "machine" : names[0]);
	}
	if (page.topic)
		ends();
}

async function ends() {
	try {
		const r = await fetch("/v1/topics/" + enc(page.topic), { cache: "no-store" });
		if (!r.ok)
			return;
		const doc = await r.json();
		const list = Array.isArray(doc.offsets) ? doc.offsets : Array.isArray(doc.partitions) ? doc.partitions : [];
		const end = list.reduce((sum, p) => sum + (p.end ?? p.high_watermark ?? 0), 0);
		const n = typeof doc.partitions === "number" ? doc.partitions : list.length;
		if (list.length)
			$("end").textContent = count(end);
		$("partitions").textContent = `${n} partition${n === 1 ? "" : "s"}, kept ${doc.retention === "forever" ? "for ever" : doc.retention ?? "–"}`;
	} catch (e) { /* the state line tells */ }
}

// Begins a topic: every way from one and the same cursor, which lies a few seconds back so that the tail is not empty.
async function choose(topic) {
	page.topic = topic;
	history.replaceState(null, "", "#" + enc(topic));
	$("topic").value = topic;
	$("to").value = topic;
	commands(topic);
	for (const w of page.ways)
		w.stop();
	page.rows = [];
	page.fresh = [];
	page.perSecond = [];
	page.since = page.began = Date.now();
	page.seen = 0;
	redrawRows();
	page.cursor = "@" + (Date.now() - 10000);
	for (const w of page.ways) {
		w.cursor = undefined;
		w.reset();
		w.part.how.textContent = w.part.how.title = w.how(topic);
		w.start();
	}
	ends();
}

function commands(topic) {
	const at = `${location.origin}/v1/topics/${topic}`;
	$("curl-post").textContent = `curl -H 'Content-Type: application/json' -d '{"hello":"weir"}' ${at}/records`;
	$("curl-get").textContent = `curl '${at}/records?limit=10'`;
	$("curl-long").textContent = `curl '${at}/records?cursor=latest&wait=30s'`;
	$("curl-sse").textContent = `curl -N ${at}/sse`;
	$("empty-curl").textContent = $("curl-post").textContent;
}

// ---- publishing ----

async function publish() {
	const topic = $("to").value.trim(), key = $("key").value, value = $("value").value, say = $("result");
	let type = "application/json";
	try {
		JSON.parse(value);
	} catch (e) {
		type = "text/plain; charset=utf-8";
	}
	const sent = performance.now();
	try {
		const r = await fetch(`/v1/topics/${enc(topic)}/records${key ? "?key=" + enc(key) : ""}`, {
			method: "POST", body: value, headers: { "Content-Type": type, "Idempotency-Key": crypto.randomUUID ? crypto.randomUUID() : String(Math.random()) },
		});
		const took = performance.now() - sent, doc = await r.json();
		say.className = r.ok ? "muted" : "bad";
		if (!r.ok) {
			say.textContent = `${r.status} ${doc.code || ""}: ${doc.detail || doc.title || ""}`;
			return;
		}
		const { partition, first } = doc.offsets[0], id = `${topic} ${partition} ${first}`;
		say.textContent = `on disk at ${partition}:${first} after ${time(took)}${type === "application/json" ? "" : ", as text"}`;
		page.mine.set(id, sent);
		page.last = id;
		if (page.mine.size > 500)
			page.mine.delete(page.mine.keys().next().value);
		const when = page.arrivals.get(id) || {};   // what came before the answer did
		for (const w of page.ways)
			if (when[w.color])
				w.own = when[w.color] - sent;
		page.race();
		if (topic !== page.topic) {
			await refresh();
			choose(topic);
		}
	} catch (e) {
		say.className = "bad";
		say.textContent = "weir does not answer";
	}
}

// ---- start ----

function theme(t) {
	if (t)
		document.documentElement.dataset.theme = t;
}

function start() {
	try {
		theme(localStorage.getItem("theme"));
	} catch (e) { /* no storage, no memory of the choice */ }
	page.since = Date.now();
	page.ways = [
		new Poll("Poll", "poll", t => `GET …/${t}/records`),
		new LongPoll("Long poll", "long", t => `GET …/${t}/records?wait=30s`),
		new Sse("SSE", "sse", t => `GET …/${t}/sse`),
		new Ws("WebSocket", "ws", t => `GET …/${t}/ws`),
	];
	$("ways").append(...page.ways.map(w => w.card));
	$("topic").addEventListener("change", e => choose(e.target.value));
	addEventListener("hashchange", () => {
		const t = decodeURIComponent(location.hash.slice(1));
		if (t && t !== page.topic)
			choose(t);
	});
	$("every").addEventListener("change", () => page.ways[0].start());
	$("reset").addEventListener("click", () => {
		page.since = page.began = Date.now();
		page.seen = 0;
		page.ways.forEach(w => w.reset());
	});
	$("filter").addEventListener("input", redrawRows);
	$("pause").addEventListener("click", () => {
		page.paused = !page.paused;
		$("pause").setAttribute("aria-pressed", page.paused);
		$("pause").textContent = page.paused ? "go on" : "pause";
	});
	$("rows").addEventListener("click", e => e.target.closest("tr")?.classList.toggle("open"));
	$("theme").addEventListener("click", () => {
		const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" :
			matchMedia("(prefers-color-scheme: dark)").matches;
		theme(dark ? "light" : "dark");
		try {
			localStorage.setItem("theme", dark ? "light" : "dark");
		} catch (e) { /* as above */ }
		draw();
	});
	$("form").addEventListener("submit", e => {
		e.preventDefault();
		publish();
	});
	setInterval(() => $("auto").checked && !document.hidden && $("form").checkValidity() && publish(), 1000);
	document.addEventListener("visibilitychange", () => {
		page.since = Date.now();   // what piled up meanwhile says nothing about latency
		page.ways.forEach(w => document.hidden ? w.stop() : w.start());
	});
	$("to").value = "hello";
	commands("hello");
	refresh();
	setInterval(refresh, 3000);
	setInterval(() => requestAnimationFrame(draw), 200);
}

start();
