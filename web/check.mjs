// Drives the page as a reader would; fails on a wrong answer or a request to another host.
import assert from "node:assert/strict";
import { createReadStream, existsSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { chromium } from "playwright-core";

const root = process.argv[2];
const kinds = {
  ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css",
  ".wasm": "application/wasm", ".json": "application/json", ".woff2": "font/woff2",
};
const server = createServer((request, response) => {
  const path = normalize(new URL(request.url, "http://x").pathname);
  const file = join(root, path === "/" ? "index.html" : path);
  if (!existsSync(file)) return response.writeHead(404).end();
  response.writeHead(200, { "content-type": kinds[extname(file)] ?? "application/octet-stream" });
  createReadStream(file).pipe(response);
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const home = `http://127.0.0.1:${server.address().port}/`;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const page = await browser.newPage({ viewport: { width: 900, height: 1150 } });
const foreign = [];
const failed = [];
page.on("request", (r) => r.url().startsWith(home) || r.url().startsWith("data:") || r.url().startsWith("blob:") || foreign.push(r.url()));
page.on("response", (r) => r.status() >= 400 && failed.push(r.url()));
page.on("pageerror", (error) => failed.push(String(error)));

const settled = (state) => page.waitForFunction((s) => document.body.dataset.state === s, state, { timeout: 120_000 });
const text = (id) => page.locator(`#${id}`).innerText();
const points = () => page.locator("#curve .law").getAttribute("points");
async function ask(psi, state = "done") {
  await page.fill("#psi", psi);
  await page.click("#ask button");
  await page.waitForTimeout(50);
  await settled(state);
}

const started = Date.now();
await page.goto(home);
await settled("done");
console.log(`first answer after ${((Date.now() - started) / 1000).toFixed(1)} s`);
assert.equal(await text("regime"), "exponential"); // c s^alpha with alpha = 1/2
if (process.env.SCREENSHOT) await page.screenshot({ path: process.env.SCREENSHOT, fullPage: true });

const before = await points();
await page.locator("#sliders input[name=alpha]").fill("0.25");
await page.waitForFunction((old) => document.querySelector("#curve .law").getAttribute("points") !== old, before);
await page.waitForFunction(() => document.getElementById("regime").textContent === "polynomial", null, { timeout: 30_000 });

await ask("sqrt(s)+s");
assert.equal(await text("regime"), "exponential");
assert.match(await page.locator("#formulas annotation").nth(3).textContent(), /log/);
await ask("s");
assert.equal(await text("regime"), "finite-time");
await ask("s*log(s)", "refused");
assert.match(await text("error"), /must increase/);
await ask("__import__('os')", "refused");
await ask("-1/log(s)");
assert.deepEqual(foreign, [], "requests to other hosts");
assert.deepEqual(failed, [], "failed requests or errors");
console.log("page: all answers right, no request to another host");
await browser.close();
server.close();
