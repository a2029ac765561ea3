// The dashboard in Chromium, against a continuum that runs: `web/test.sh`.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { join } from "node:path";
import { tmpdir } from "node:os";
import { chromium } from "playwright-core";

const PROGRAM = process.env.CLOUDSKIN;
const PICTURES = process.env.PICTURES;
const MOBILITY = new URL("../../examples/mobility/", import.meta.url).pathname;
const run = promisify(execFile);

const folder = mkdtempSync(join(tmpdir(), "cloudskin-web-"));
const environment = { ...process.env, XDG_STATE_HOME: join(folder, "state"), XDG_CONFIG_HOME: join(folder, "config") };
const cloudskin = (...given) =>
  run(PROGRAM, given, { env: environment, cwd: MOBILITY }).then(({ stdout }) => stdout.trim());

let browser, page, address, load;
const complaints = [];

before(async () => {
  mkdirSync(PICTURES, { recursive: true });
  await cloudskin("up", "--detach");
  await cloudskin("apply", "-f", "street-counter.yaml");
  await cloudskin("wait", "--for", "ready", "service/street-counter");
  await cloudskin("apply", "-f", join(import.meta.dirname, "policy.yaml"));
  address = await cloudskin("dashboard");
  const service = JSON.parse(await cloudskin("get", "service", "street-counter", "-o", "json"));
  load = setInterval(() => ask(new URL(service.status.url)), 50);
  browser = await chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
});

after(async () => {
  clearInterval(load);
  await browser?.close();
  await cloudskin("down").catch(() => {});
  rmSync(folder, { recursive: true, force: true });
});

/** A request that is no picture: it is answered, and counts. */
function ask(url) {
  const asked = request({ host: "127.0.0.1", port: url.port, method: "POST", headers: { Host: url.host } }, (answer) => answer.resume());
  asked.on("error", () => {});
  asked.end("no picture");
}

/** Two days of a service at two sites: a day curve, waves, and bursts that the edge has before the cloud. */
function recorded() {
  const lines = ["timestamp,site,latency_ms,cpu"];
  const begin = Math.floor(Date.now() / 1000 / 20) * 20 - 2 * 86_400;
  for (let at = 0; at < 8640; at++) {
    for (const [site, name] of ["cloud", "edge"].entries()) {
      const day = 18 * Math.sin((2 * Math.PI * at) / 4320);
      const wave = 14 * Math.sin(at / 31) + ((at * 2654435761) % 997) / 120;
      const burst = (at + 40 * (1 - site)) % 700 < 90 ? 55 : 0;
      const latency = 75 + 20 * site + day + wave + burst;
      lines.push(`${begin + 20 * at},${name},${latency.toFixed(2)},${(latency / 60).toFixed(2)}`);
    }
  }
  const file = join(folder, "trace.csv");
  writeFileSync(file, lines.join("\n"));
  return file;
}

const picture = (name) => page.screenshot({ path: join(PICTURES, `${name}.png`), fullPage: true });

/** How many points of a picture's curves have been drawn. */
const drawn = () =>
  page.evaluate(() => {
    const canvas = document.querySelector(".chart canvas");
    if (!canvas) return 0;
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return data.reduce((count, value, at) => count + (at % 4 === 3 && value > 0 ? 1 : 0), 0);
  });

test("sites and services are shown as they are, and the token leaves the address", async () => {
  await page.goto(address);
  await page.locator(".card h3", { hasText: "edge" }).waitFor();
  assert.equal(await page.locator(".cards .card").count(), 2);
  await page.locator(".row h3", { hasText: "street-counter" }).waitFor();
  await page.locator(".row .state.good", { hasText: "Ready" }).waitFor();
  assert.ok(!page.url().includes("token"), page.url());
});

test("latency is drawn beside the level of the policy", async () => {
  await page.locator(".row dd small", { hasText: "of 120 ms" }).waitFor();
  await page.locator(".row .u-legend", { hasText: "edge" }).waitFor({ timeout: 60_000 });
  assert.ok((await drawn()) > 1000);
  await picture("overview");
});

test("a migration appears by itself, with its steps", async () => {
  await cloudskin("migrate", "service/street-counter", "--to", "site/cloud");
  await page.locator(".timeline .state.good", { hasText: "done" }).waitFor({ timeout: 10_000 });
  assert.ok((await page.locator(".timeline .phases i").count()) >= 3);
  await page.locator(".row dd", { hasText: "cloud" }).first().waitFor();
});

test("a service has a page of its own, and decisions say why", async () => {
  await page.locator(".row h3 a").click();
  await page.locator("h1", { hasText: "street-counter" }).waitFor();
  await page.locator(".decisions summary", { hasText: "migrate" }).first().click();
  await page.locator(".detail code", { hasText: "cloudskin why decision/" }).first().waitFor();
  await picture("service");
  await page.locator("nav a", { hasText: "Decisions" }).click();
  await page.getByRole("searchbox").fill("nothing has this name");
  await page.locator(".hint", { hasText: "None." }).waitFor();
  await page.getByRole("searchbox").fill("migrate");
  await page.locator(".decisions summary").first().waitFor();
  await picture("decisions");
});

test("policies say what they said last", async () => {
  await page.locator("nav a", { hasText: "Policies" }).click();
  await page.locator(".card h3", { hasText: "street-latency" }).waitFor();
  await picture("policies");
});

test("requests that were answered are counted though nothing else changes", async () => {
  await page.locator("nav a", { hasText: "Overview" }).click();
  const answered = page.locator(".row dl", { hasText: "answered" }).locator("dd").nth(2);
  await page.waitForFunction((at) => Number(at.textContent.replace(",", "")) > 20, await answered.elementHandle(), { timeout: 20_000 });
});

test("models are told as the catalog has them, and a version's back-test is drawn", async () => {
  const data = recorded();
  const train = (kind) => cloudskin("model", "train", "--kind", kind, "--data", data, "--target", "latency", "--horizon", "10m", "--every", "2m");
  await page.locator("nav a", { hasText: "Models" }).click();
  await page.locator(".hint", { hasText: "None yet" }).waitFor();
  await train("ridge");
  await page.locator("table.models .state.wait", { hasText: "candidate" }).waitFor({ timeout: 20_000 });
  await cloudskin("model", "promote", "latency/1");
  await page.locator("table.models .state.good", { hasText: "production" }).waitFor({ timeout: 20_000 });
  await train("gbm");
  await cloudskin("model", "promote", "latency/2", "--force");
  await page.locator("table.models td", { hasText: "v2 · gbm" }).waitFor({ timeout: 20_000 });
  const share = Number.parseFloat(await page.locator(".gauge").first().textContent());
  assert.ok(share > 5 && share < 100, `${share} % of the naive error`);
  await picture("models");

  await page.locator("table.models a", { hasText: "latency" }).click();
  await page.locator("h1 .state.good", { hasText: "production" }).waitFor();
  await page.locator(".plot path.interval").waitFor();
  const drawn = await page.locator(".plot path.truth").getAttribute("d");
  assert.ok(drawn.split("L").length > 100, `${drawn.length}`);
  assert.ok((await page.locator(".plot rect.model").count()) > 8);
  const other = page.locator(".choice button").nth(1);
  await other.click();
  assert.notEqual(await page.locator(".plot path.truth").getAttribute("d"), drawn);
  await picture("model");
  // The other version, and the way back, appear by themselves.
  await page.locator("table.models a", { hasText: "v1" }).click();
  await page.locator("h2", { hasText: "Back-test of v1" }).waitFor();
  await cloudskin("model", "rollback", "latency");
  await page.locator("table.models tr", { hasText: "v1" }).locator(".state.good", { hasText: "production" }).waitFor({ timeout: 20_000 });
  await page.emulateMedia({ colorScheme: "dark" });
  await picture("model-dark");
  await page.setViewportSize({ width: 390, height: 800 });
  await page.waitForFunction(() => document.documentElement.scrollWidth <= 390, null, { timeout: 5_000 });
  await picture("model-telephone");
  await page.setViewportSize({ width: 1280, height: 900 });
  await page.emulateMedia({ colorScheme: "light" });
});

test("it is readable in the dark and on a telephone", async () => {
  await page.emulateMedia({ colorScheme: "dark" });
  await page.locator("nav a", { hasText: "Overview" }).click();
  await page.locator(".row h3").first().waitFor();
  const background = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  assert.equal(background, "rgb(14, 17, 22)");
  await picture("dark");
  await page.setViewportSize({ width: 390, height: 800 });
  await page.waitForFunction(() => document.documentElement.scrollWidth <= 390, null, { timeout: 5_000 });
  await picture("telephone");
  await page.setViewportSize({ width: 1280, height: 900 });
});

test("it says that it is not up to date while the control plane is away, and goes on after", async () => {
  // Sites name the control plane, too: by `--control`.
  const { stdout } = await run("pgrep", ["-f", ` control --data-dir ${folder}`]);
  const control = Number(stdout.trim().split("\n")[0]);
  process.kill(control, "SIGSTOP");
  try {
    await page.locator(".light.bad").waitFor({ timeout: 30_000 });
  } finally {
    process.kill(control, "SIGCONT");
  }
  await page.locator(".light.good").waitFor({ timeout: 30_000 });
});

test("without a token it says where to get one, and the browser had nothing to complain of", async () => {
  const stranger = await browser.newPage();
  await stranger.goto(new URL("/", address).href);
  await stranger.locator("code", { hasText: "cloudskin dashboard" }).waitFor();
  await stranger.close();
  const serious = complaints.filter((text) => !text.includes("ERR_") && !text.includes("Failed to load"));
  assert.deepEqual(serious, []);
});
