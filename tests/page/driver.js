// Controls a browser. Each line of JSON on standard input is a command, `{"do": …}`, and gets a line of JSON as its response on
// standard output. The caller judges the results.
//   node driver.js BROWSER NODE_MODULES
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { readFileSync, writeFileSync } from 'node:fs';

const [program, modules] = process.argv.slice(2);
const require = createRequire(modules + '/');
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

// The browser makes no requests of its own, and shares nothing with a user's browser.
const flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage'];
const browser = await chromium.launch({ executablePath: program, headless: true, args: flags });
const pages = [];
// On a busy machine, ten pages together take a minute to load.
const LONGEST_MS = 180_000;

/** Records errors and external requests of a page, in a list that must stay empty. */
function watched(page, home) {
  const wrong = [];
  page.on('dialog', (dialog) => { wrong.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on('pageerror', (error) => wrong.push(`error: ${error.message}`));
  // Requests that fail while the server is unreachable are not errors of the page.
  page.on('console', (line) => { if (['error', 'warning'].includes(line.type()) && !/ERR_CONNECTION|ERR_INCOMPLETE|ERR_EMPTY/.test(line.text())) wrong.push(`console: ${line.text()}`); });
  page.on('request', (request) => { if (new URL(request.url()).origin !== home) wrong.push(`asks ${request.url()}`); });
  return wrong;
}

/** Counts the bytes on the wire, including headers, as the browser counts them. */
async function counted(page) {
  const session = await page.context().newCDPSession(page), came = new Map();
  await session.send('Network.enable');
  session.on('Network.responseReceived', ({ requestId, response, type }) => came.set(requestId, { url: response.url, type, bytes: response.encodedDataLength }));
  session.on('Network.dataReceived', ({ requestId, encodedDataLength }) => { if (came.has(requestId)) came.get(requestId).bytes += encodedDataLength; });
  session.on('Network.loadingFinished', ({ requestId, encodedDataLength }) => { if (came.has(requestId)) came.get(requestId).bytes = encodedDataLength; });
  return came;
}

const orders = {
  /** Opens pages at this address, each like a separate browser. Returns what the first one loaded, and when it painted. */
  async open({ url, dark = false, width = 1280, height = 900, pages: many = 1 }) {
    const first = pages.length;
    const loaded = await Promise.all(Array.from({ length: many }, async () => {
      const context = await browser.newContext({ colorScheme: dark ? 'dark' : 'light', viewport: { width, height }, reducedMotion: 'reduce' });
      context.setDefaultTimeout(LONGEST_MS);
      const page = await context.newPage(), wrong = watched(page, new URL(url).origin), came = await counted(page);
      pages.push({ page, wrong });
      await page.goto(url);
      await page.locator('#tabs a, .jobs').first().waitFor();
      const paint = await page.evaluate(() => performance.getEntriesByType('paint').map(({ name, startTime }) => [name, startTime]));
      return { paint: Object.fromEntries(paint), files: [...came.values()] };
    }));
    return { ...loaded[0], first };
  },
  /** Opens a page of another site. */
  async visit({ url }) {
    const page = await (await browser.newContext()).newPage(), wrong = watched(page, new URL(url).origin);
    pages.push({ page, wrong });
    await page.goto(url);
  },
  /** Returns the addresses of the views, from the page. */
  async views({ at = 0 }) {
    return pages[at].page.$$eval('#tabs a', (all) => all.map((one) => one.getAttribute('href')));
  },
  /** Opens a view of the page. */
  async view({ at = 0, hash }) {
    await pages[at].page.evaluate((to) => { location.hash = to; }, hash);
    await pages[at].page.waitForFunction(() => document.querySelector('#content')?.childElementCount > 0);
  },
  /** Returns the visible text of the page or a part of it. */
  async text({ at = 0, selector = 'body' }) {
    return pages[at].page.locator(selector).first().innerText();
  },
  /** Waits for text that matches a pattern. Returns the text. */
  async until({ at = 0, selector = 'body', pattern, seconds = LONGEST_MS / 1000 }) {
    const { page } = pages[at], find = new RegExp(pattern);
    const found = await page.waitForFunction(([where, source]) => {
      const text = document.querySelector(where)?.innerText ?? '';
      return new RegExp(source).test(text) && text;
    }, [selector, find.source], { timeout: seconds * 1000, polling: 50 });
    return found.jsonValue();
  },
  /** Waits for an element. */
  async there({ at = 0, selector, seconds = LONGEST_MS / 1000 }) {
    await pages[at].page.locator(selector).first().waitFor({ state: 'attached', timeout: seconds * 1000 });
  },
  /** Evaluates an expression in the page. */
  async evaluate({ at = 0, code }) {
    return pages[at].page.evaluate(code);
  },
  async click({ at = 0, selector }) { await pages[at].page.locator(selector).first().click(); },
  async press({ at = 0, key }) { await pages[at].page.keyboard.press(key); },
  async fill({ at = 0, selector, text }) { await pages[at].page.locator(selector).first().fill(text); },
  /** Returns accessibility violations, found by axe. */
  async axe({ at = 0 }) {
    const { page } = pages[at];
    // Injected by the browser, since the page only allows its own scripts.
    await page.evaluate(axe + ';0');
    return page.evaluate(async () => {
      const { violations } = await axe.run(document, { resultTypes: ['violations'] });
      return violations.map(({ id, help, nodes }) => ({ id, help, nodes: nodes.slice(0, 3).map((node) => `${node.html.slice(0, 200)}: ${node.failureSummary.slice(0, 300)}`) }));
    });
  },
  /** Returns the errors so far. */
  async wrong({ at = 0 }) { return pages[at].wrong; },
  /** Takes a screenshot. */
  async picture({ at = 0, path }) {
    // Imported here: older versions of Node lack what it needs, and tests run without it.
    const { smaller } = await import('./smaller.js');
    writeFileSync(path, smaller(await pages[at].page.screenshot({ animations: 'disabled' })));
  },
  async close() {
    for (const { page } of pages.splice(0)) await page.context().close();
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    const order = JSON.parse(line);
    answer = { ok: (await orders[order.do](order)) ?? null };
  } catch (error) {
    // The content and console messages of each page, for the failure report.
    const looks = await Promise.all(pages.map(async ({ page, wrong }, at) => {
      const seen = page.evaluate(() => `${document.readyState} ${document.visibilityState}: ${document.body?.innerText}`).catch(String);
      const late = new Promise((resolve) => { setTimeout(resolve, 5_000, 'no answer'); });
      return `page ${at}, ${page.url()}: ${String(await Promise.race([seen, late])).slice(0, 500)} ${JSON.stringify(wrong)}`;
    }));
    answer = { error: [String(error?.stack ?? error), ...looks].join('\n') };
  }
  console.log(JSON.stringify(answer));
}
await browser.close();
