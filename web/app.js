// The page: asks the worker for laws and curves, writes formulas, draws.
import katex from "./katex/katex.mjs";

const LIMIT = 30_000; // milliseconds for one answer
const RANGES = { alpha: [0.05, 0.95, 0.5], c: [0.1, 5, 1] };
const OTHERS = [0.1, 5, 1];

const byId = (id) => document.getElementById(id);
const state = (word) => (document.body.dataset.state = word);
let worker, waiting, count, loaded;

function boot() {
  worker = new Worker("worker.js", { type: "module" });
  waiting = new Map();
  count = 0;
  loaded = new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => {
      if (data.ready) return resolve();
      if (data.failed) return reject(new Error(data.failed));
      waiting.get(data.id)?.(data.answer);
      waiting.delete(data.id);
    };
  });
}

async function ask(what, ...values) {
  await loaded;
  const id = ++count;
  return new Promise((resolve) => {
    const late = setTimeout(() => {
      worker.terminate();
      boot();
      resolve({ ok: false, error: "no answer within 30 seconds; the search was ended" });
    }, LIMIT);
    waiting.set(id, (answer) => {
      clearTimeout(late);
      resolve(answer);
    });
    worker.postMessage({ id, request: { what, arguments: values } });
  });
}

function write(target, tex, display = true) {
  katex.render(tex, target, { displayMode: display, throwOnError: false });
}

function say(text) {
  byId("error").textContent = text;
}

function values() {
  return Object.fromEntries(
    [...document.querySelectorAll("#sliders input")].map((slider) => [slider.name, slider.value]),
  );
}

function sliders(names) {
  const box = byId("sliders");
  const before = values();
  const wanted = names.join();
  if (box.dataset.names === wanted) return;
  box.dataset.names = wanted;
  box.replaceChildren(
    ...names.map((name) => {
      const [low, high, start] = RANGES[name] ?? OTHERS;
      const label = document.createElement("label");
      const slider = document.createElement("input");
      Object.assign(slider, { type: "range", name, min: low, max: high, step: 0.05 });
      slider.value = before[name] ?? start;
      const shown = document.createElement("output");
      const write = () => (shown.textContent = `${name} = ${slider.value}`);
      slider.addEventListener("input", () => (write(), draw()));
      slider.addEventListener("change", regime);
      write();
      label.append(shown, slider);
      return label;
    }),
  );
}

async function update() {
  const psi = byId("psi").value.trim();
  state("busy");
  say("");
  const law = await ask("law", psi, {});
  if (!law.ok) {
    say(law.error);
    return state("refused");
  }
  const table = byId("formulas");
  table.replaceChildren();
  for (const [name, tex] of law.formulas) {
    const row = table.insertRow();
    write(row.insertCell(), name, false);
    const cell = row.insertCell();
    if (tex) write(cell, tex, false);
    else cell.textContent = "no closed form was found; numbers are";
  }
  sliders(law.parameters);
  words(law);
  await Promise.all([draw(), law.parameters.length ? regime() : null]);
  state("done");
}

function words(law) {
  byId("regime").textContent = law.regime;
  byId("reason").textContent = law.reason;
  byId("radius").textContent = "";
  write(byId("radius"), `0 < s < r_0 = ${law.radius}`, false);
  const rate = byId("rate");
  rate.textContent = law.loss_words ?? "";
  if (law.loss_rate) write(rate, `\\mathcal L_y(y(t)) \\le ${law.loss_rate}`);
  byId("notes").replaceChildren(
    ...law.notes.map((note) => Object.assign(document.createElement("li"), { textContent: note })),
  );
}

async function regime() {
  const law = await ask("law", byId("psi").value.trim(), values());
  if (law.ok) words(law);
  else say(law.error);
}

let drawing = false;
let again = false;
async function draw() {
  again = drawing;
  if (drawing) return;
  drawing = true;
  const found = await ask("curve", byId("psi").value.trim(), values(), byId("kappa").value, byId("loss0").value);
  drawing = false;
  if (again) return draw();
  if (found.ok) {
    say("");
    picture(found);
  } else say(found.error);
}

const TICKS = 5;
function picture({ t, loss }) {
  const svg = byId("curve");
  const [width, height, left, right, top, bottom] = [640, 360, 70, 20, 16, 44];
  const last = t.at(-1) / t[Math.floor(t.length / 4)] > 1e3 ? t[Math.floor(t.length / 4)] : t.at(-1);
  const shown = t.map((time, i) => [time, Math.log10(loss[i])]).filter(([time]) => time <= last);
  const high = Math.ceil(shown[0][1]);
  const low = Math.floor(Math.min(...shown.map(([, y]) => y)));
  const x = (time) => left + ((width - left - right) * time) / last;
  const y = (log) => top + ((height - top - bottom) * (high - log)) / Math.max(high - low, 1);
  const parts = [];
  const step = Math.max(1, Math.ceil((high - low) / 6));
  for (let log = high; log >= low; log -= step) {
    parts.push(`<line class="grid" x1="${left}" x2="${width - right}" y1="${y(log)}" y2="${y(log)}"/>`);
    parts.push(`<text class="tick" text-anchor="end" x="${left - 8}" y="${y(log) + 4}">10<tspan dy="-6" font-size="10">${log}</tspan></text>`);
  }
  const raw = last / TICKS;
  const unit = 10 ** Math.floor(Math.log10(raw));
  const gap = unit * [1, 2, 5, 10].find((q) => q * unit >= raw);
  for (let time = 0; time <= last; time += gap) {
    parts.push(`<text class="tick" text-anchor="middle" x="${x(time)}" y="${height - bottom + 18}">${Number(time.toPrecision(3))}</text>`);
  }
  parts.push(`<text class="axis" text-anchor="middle" x="${(left + width - right) / 2}" y="${height - 6}">time t</text>`);
  parts.push(`<text class="axis" text-anchor="middle" transform="rotate(-90)" x="${-(top + height - bottom) / 2}" y="16">bound on the loss</text>`);
  parts.push(`<polyline class="law" points="${shown.map(([time, log]) => `${x(time).toFixed(2)},${y(log).toFixed(2)}`).join(" ")}"/>`);
  svg.innerHTML = parts.join("");
}

function address() {
  const asked = new URLSearchParams(location.hash.slice(1));
  for (const id of ["psi", "kappa", "loss0"]) if (asked.has(id)) byId(id).value = asked.get(id);
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  location.hash = new URLSearchParams({ psi: byId("psi").value, kappa: byId("kappa").value, loss0: byId("loss0").value });
  update();
});
for (const button of document.querySelectorAll("button[data-psi]"))
  button.addEventListener("click", () => {
    byId("psi").value = button.dataset.psi;
    byId("ask").requestSubmit();
  });
for (const id of ["kappa", "loss0"]) byId(id).addEventListener("change", draw);

state("loading");
address();
boot();
loaded.then(update, (error) => {
  say(`Python did not start: ${error.message}`);
  state("failed");
});
