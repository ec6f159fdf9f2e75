"use strict";
// All text of data and models goes into the page through textContent, never as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const PAGE = 24;
const $ = id => document.getElementById(id);
const answers = data.kind === "answers";
const two = data.kind === "two";  // systems A and B

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "text") element.textContent = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter(child => child !== null));
  return element;
}

const percent = value => (100 * value).toFixed(1);
const signed = value => (value >= 0 ? "+" : "\u2212") + Math.abs(value).toFixed(2);
const gain = card => card.think === null || card.think === undefined ? null : card.vIoU - card.think;
const score = (card, i) => card.systems[i].vIoU === null ? card.systems[i].tIoU : card.systems[i].vIoU;
const lead = card => score(card, 0) - score(card, 1);  // of A
const field = name => card => card[name] === undefined ? null : card[name];

// Summary ----------------------------------------------------------------------------------------------------------
document.title = data.title + " \u2013 swift-stvg show";
$("title").textContent = data.title;
$("subtitle").textContent = data.subtitle;
$("footer").textContent = data.footer;
for (const [value, interval, label] of data.tiles) {
  const figure = make("b", {text: value}, interval ? make("small", {text: " " + interval}) : null);
  $("tiles").append(make("div", {class: "tile"}, figure, make("span", {text: label})));
}
document.querySelectorAll("figure[data-chart]").forEach(figure => {
  figure.prepend(make("figcaption", {text: data.charts[Number(figure.dataset.chart)]}));
});
$("charts").hidden = !$("charts").children.length;
$("training").hidden = !document.querySelector("#training figure");
$("training-notes").textContent = data.training_notes.join(". ");

function table(header, rows, kind) {
  const head = make("tr", {}, ...header.map(text => make("th", {scope: "col", text})));
  const body = rows.map(row => make("tr", {}, ...row.map(text => make("td", {text}))));
  return make("div", {class: "scroll", tabindex: "0"},
    make("table", {class: kind}, make("thead", {}, head), make("tbody", {}, ...body)));
}

$("tables-title").textContent = answers || two ? "Figures under each protocol" : "What was read";
data.tables.forEach(({title, header, rows}) => {
  const [name, ...rest] = title.split(": ");
  const summary = make("summary", {text: name}, make("small", {text: " " + rest.join(": ")}));
  const details = make("details", {class: "table"}, summary, table(header, rows, ""));
  details.open = two && !$("tables").querySelector("details");
  $("tables").append(details);
});
if (data.preamble.length) {
  $("tables").append(make("details", {class: "table"}, make("summary", {text: "How it was made"}),
    make("ul", {class: "facts"}, ...data.preamble.map(text => make("li", {text})))));
}
$("failures").hidden = !data.failures.length;
if (data.failures.length) {
  const rows = data.failures.map(f => [f.reason, String(f.count), f.zero ? "counts 0" : "set aside", f.example]);
  $("failures").append(table(["reason", "how many", "", "for example"], rows, "plain"));
}

for (const [id, name] of [["charts", "Charts"], ["training", "Training"], ["tables", "Figures"], ["failures", "Failures"], ["gallery", "Gallery"]]) {
  if (!$(id).hidden) $("nav").append(make("a", {href: "#" + id, text: name}));
}

// Gallery ----------------------------------------------------------------------------------------------------------
const by = (measure, sign) => (a, b) => {
  const [x, y] = [measure(a), measure(b)];
  if (x === null || y === null) return (x === null) - (y === null);
  return sign * (x - y);
};
const drawn = card => card.media ? 0 : 1;
const thinking = answers && data.cards.some(card => gain(card) !== null);
const SORTS = new Map(answers ? [
  ["best", [by(field("vIoU"), -1), by(field("tIoU"), -1)]],
  ["worst", [by(field("vIoU"), 1), by(field("tIoU"), 1)]],
  ...(thinking ? [
    ["most improved by refining", [by(gain, -1)]],
    ["most damaged by refining", [by(gain, 1)]]] : []),
  ["as in the file", []],
] : two ? [
  ["A wins by most", [by(lead, -1)]],
  ["B wins by most", [by(lead, 1)]],
  ["most different", [by(card => Math.abs(lead(card)), -1)]],
  ["both best", [by(card => score(card, 0) + score(card, 1), -1)]],
  ["both worst", [by(card => score(card, 0) + score(card, 1), 1)]],
  ["as in the file", []],
] : [["drawn first", [by(drawn, 1)]], ["as annotated", []]]);
for (const [name, sign] of [["shortest", 1], ["longest", -1]]) SORTS.set(`${name} event`, [by(field("length"), sign)]);
for (const [name, sign] of [["smallest", 1], ["largest", -1]]) SORTS.set(`${name} boxes`, [by(field("area"), sign)]);
const METRICS = new Map([
  ...(answers ? [["vIoU", field("vIoU")], ["tIoU", field("tIoU")]] : []),
  ...(thinking ? [["think vIoU", field("think")], ["change by refining", gain]] : []),
  ...(two ? [["A minus B", lead], ["score of A", card => score(card, 0)], ["score of B", card => score(card, 1)]] : []),
  ["seconds", field("length")], ["box area", field("area")],
]);
const STATUS = new Map([["all", () => true], ["drawn", card => Boolean(card.media)]]);
if (two) {
  const right = (card, i) => score(card, i) >= Number($("right").value) - 1e-9;
  STATUS.set("only A right", card => right(card, 0) && !right(card, 1));
  STATUS.set("only B right", card => !right(card, 0) && right(card, 1));
  STATUS.set("both right", card => right(card, 0) && right(card, 1));
  STATUS.set("neither right", card => !right(card, 0) && !right(card, 1));
  for (const [i, name] of ["A", "B"].entries()) {
    if (data.cards.some(card => card.systems[i].status === "missing")) {
      STATUS.set(`not in ${name}`, card => card.systems[i].status === "missing");
    }
    STATUS.set(`${name} counts 0`, card => card.systems[i].status !== "scored");
  }
} else for (const status of new Set(data.cards.map(card => card.status))) {
  const zero = answers && status !== "scored" ? " (counts 0)" : "";
  STATUS.set(status + zero, card => card.status === status);
}
for (const [id, options] of [["sort", SORTS], ["metric", METRICS], ["status", STATUS]]) {
  $(id).append(...[...options.keys()].map(name => make("option", {value: name, text: name})));
}
document.querySelectorAll(".answers").forEach(element => { element.hidden = !answers; });
document.querySelectorAll(".two").forEach(element => { element.hidden = !two; });
document.body.classList.toggle("compare", two);
if (two) [$("first").textContent, $("second").textContent] = data.systems;
data.cards.forEach((card, i) => {
  card.number = i;
  card.haystack = [card.sentence, card.id, card.category, card.query, card.video, card.status, ...(card.systems || []).map(s => s.status)].join("\n").toLowerCase();
});

let found = [];
let shown = 0;
let only = null;

function select() {
  const words = $("text").value.toLowerCase().split(/\s+/).filter(Boolean);
  const [measure, accepts] = [METRICS.get($("metric").value), STATUS.get($("status").value)];
  const [low, high] = ["low", "high"].map(id => $(id).value === "" ? null : Number($(id).value));
  const inRange = card => {
    if (low === null && high === null) return true;
    const value = measure(card);
    return value !== null && (low === null || value >= low - 1e-9) && (high === null || value <= high + 1e-9);
  };
  found = data.cards.filter(card => only === null
    ? accepts(card) && inRange(card) && words.every(word => card.haystack.includes(word))
    : card.number === only);
  const orders = SORTS.get($("sort").value);
  const ties = orders.length ? [by(drawn, 1)] : [];
  const compare = (a, b) => {
    for (const order of [...orders, ...ties]) {
      const sign = order(a, b);
      if (sign) return sign;
    }
    return a.number - b.number;
  };
  found.sort(compare);
  shown = 0;
  $("cards").replaceChildren();
  $("count").textContent = only === null ? `${found.length} of ${data.cards.length}` : `sample ${only + 1} alone`;
  grow();
}

function grow() {
  $("cards").append(...found.slice(shown, shown + PAGE).map(cardOf));
  shown = Math.min(shown + PAGE, found.length);
  $("more").hidden = shown >= found.length;
  $("more").textContent = `Show more (${found.length - shown})`;
}

function stage(card) {
  if (!card.media) return make("div", {class: "stage"}, make("p", {text: card.why}));
  const video = make("video", {
    src: card.media + ".mp4", poster: card.media + ".jpg", preload: "none", loop: "", playsinline: "", tabindex: "-1",
    "aria-label": card.sentence || "",
  });
  video.muted = true;
  // the browser's own controls would cover the time bar that is drawn into the film
  const button = make("button", {type: "button", class: "play", "aria-label": "Play or pause"});
  const seek = make("input", {type: "range", class: "seek", min: "0", max: "1000", value: "0", "aria-label": "Position"});
  const stage = make("div", {class: "stage"}, video, button, seek);
  const toggle = () => { if (video.paused) video.play().catch(() => {}); else video.pause(); };
  for (const element of [button, video]) element.addEventListener("click", toggle);
  for (const event of ["play", "pause"]) video.addEventListener(event, () => stage.classList.toggle("playing", !video.paused));
  video.addEventListener("timeupdate", () => { if (video.duration) seek.value = 1000 * video.currentTime / video.duration; });
  const move = () => { video.currentTime = seek.value / 1000 * video.duration; };
  seek.addEventListener("input", () => {
    video.pause();
    if (video.readyState) return move();
    video.preload = "auto";
    video.addEventListener("loadedmetadata", move, {once: true});
  });
  video.addEventListener("error", () => {
    stage.replaceChildren(make("p", {text: "the drawing is missing: " + card.media + ".mp4"}));
  });
  return stage;
}

function bar(kind, span, duration) {
  if (!span) return null;
  const [begin, end] = span.map(time => 100 * Math.min(Math.max(time / duration, 0), 1));
  const inner = make("i");
  inner.style.left = begin + "%";
  inner.style.width = Math.max(end - begin, 0) + "%";
  return make("div", {class: "bar " + kind}, inner);
}

function scores(card) {
  const chips = [];
  if (answers) {
    if (card.status !== "scored") chips.push(make("span", {class: "zero", text: card.status}));
    const main = card.vIoU === null ? "tIoU" : "vIoU";
    chips.push(make("span", {class: "main", text: main + " " + card[main].toFixed(2)}));
    if (main === "vIoU") chips.push(make("span", {text: "tIoU " + card.tIoU.toFixed(2)}));
    const change = gain(card);
    if (change !== null) {
      const kind = Math.abs(change) < 0.005 ? "" : change > 0 ? "up" : "down";
      const arrow = {up: "\u25b2 ", down: "\u25bc ", "": ""}[kind];
      chips.push(make("span", {text: "think vIoU " + card.think.toFixed(2) + " "}, make("b", {class: kind, text: arrow + signed(change)})));
    }
  } else if (two) {
    const measure = card.systems[0].vIoU === null ? "tIoU" : "vIoU";
    chips.push(...card.systems.map((system, i) => make("span", {class: "main"},
      make("i", {class: "pen " + ["first", "second"][i]}), `${"AB"[i]} ${measure} ${score(card, i).toFixed(2)}`)));
    const winner = Math.abs(lead(card)) < 0.005 ? null : lead(card) > 0 ? "A" : "B";
    chips.push(make("span", {text: winner ? `${winner} wins by ${Math.abs(lead(card)).toFixed(2)}` : "a draw"}));
    card.systems.forEach((system, i) => {
      if (system.status !== "scored") chips.push(make("span", {class: "zero", text: `${"AB"[i]}: ${system.status}`}));
    });
  } else {
    chips.push(make("span", {text: card.query}), make("span", {text: card.category}));
  }
  return make("p", {class: "scores"}, ...chips);
}

function cardOf(card) {
  const facts = make("dl");
  const add = (name, value) => {
    if (value !== undefined && value !== null && value !== "") facts.append(make("dt", {text: name}), make("dd", {text: String(value)}));
  };
  add("id", card.id);
  if (card.line) add("line", card.line);
  add("event", card.truth ? `${card.truth[0].toFixed(1)} to ${card.truth[1].toFixed(1)} of ${card.duration.toFixed(1)} s` : null);
  add("box area", card.area === undefined ? null : percent(card.area) + " % of the frame");
  add("kind", [card.query, card.category].filter(Boolean).join(", "));
  add("video", card.video);
  add("why it counts 0", card.detail);
  for (const line of card.diagnosis || []) {
    const [name, ...rest] = line.split(": ");
    add(name, rest.join(": "));
  }
  for (const [i, system] of (card.systems || []).entries()) {
    if (system.line) add(`line of ${"AB"[i]}`, system.line);
    add(`why ${"AB"[i]} counts 0`, system.detail);
  }
  const written = two ? card.systems.map((system, i) => ["answer of " + "AB"[i], system.response]) : [["answer", card.response]];
  const details = make("details", {}, make("summary", {text: two ? "Answers and truth" : answers ? "Answer and truth" : "More"}));
  details.addEventListener("toggle", () => {
    if (details.children.length > 1) return;
    for (const [name, text] of [...written, ["truth", card.expected]]) {
      if (text !== undefined) details.append(make("div", {text: name}), make("pre", {tabindex: "0", text}));
    }
    details.append(facts);
    for (const ending of card.media ? data.also : []) {
      details.append(make("a", {href: card.media + ending, text: {".png": "contact sheet", ".gif": "GIF"}[ending]}), " ");
    }
  });
  const bars = card.media || !card.duration ? null : make("div", {},
    make("div", {class: "bars"}, bar("truth", card.truth, card.duration), bar("pred", card.answer, card.duration),
      ...(card.systems || []).map((system, i) => bar(["first", "second"][i], system.answer, card.duration)).filter(Boolean)),
    make("p", {class: "times"}, make("span", {text: "0 s"}), make("span", {text: card.duration.toFixed(1) + " s"})));
  return make("article", {class: "card" + (card.media ? "" : " still") + (card.number === only ? " chosen" : ""), id: "card" + card.number},
    stage(card),
    make("div", {class: "body"}, make("h3", {text: card.sentence || card.id}), scores(card), bars, details));
}

function follow() {
  const wanted = /^#s(\d+)$/.exec(location.hash);
  only = wanted && Number(wanted[1]) < data.cards.length ? Number(wanted[1]) : null;
  select();
  if (only !== null) $("gallery").scrollIntoView();
}

function changed() {
  only = null;
  if (/^#s\d+$/.test(location.hash)) history.replaceState(null, "", location.pathname + location.search);
  select();
}

let waiting = 0;
$("controls").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(changed, 120); });
$("controls").addEventListener("submit", event => event.preventDefault());
$("controls").addEventListener("reset", () => setTimeout(changed));
$("more").addEventListener("click", () => {
  const next = shown;
  grow();
  const first = $("cards").children[next];
  if (first) first.querySelector("button, summary").focus();
});
addEventListener("hashchange", follow);
follow();
const end = new IntersectionObserver(entries => {
  if (!entries.some(entry => entry.isIntersecting) || shown >= found.length) return;
  grow();
  end.unobserve($("more"));  // and again, so that it reports once more if the end is still in view
  end.observe($("more"));
}, {rootMargin: "600px"});
end.observe($("more"));
