// A browser that does what it is told: a line of JSON on standard input is an order, `{"do": …}`, and each has a line of JSON as its
// answer on standard output. What is right and wrong is for those to say who give the orders.
//   node driver.js BROWSER NODE_MODULES
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { readFileSync, writeFileSync } from 'node:fs';

const [program, modules] = process.argv.slice(2);
const require = createRequire(modules + '/');
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

// Nothing of the browser's own goes out, and it shares nothing with a browser of somebody's.
const flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage'];
const browser = await chromium.launch({ executablePath: program, headless: true, args: flags });
const pages = [];
// On a machine with much else to do: ten pages at once need a minute there to load.
const LONGEST_MS = 180_000;

/** What went wrong in a page, and what it asked others for: a list that must stay empty. */
function watched(page, home) {
  const wrong = [];
  page.on('dialog', (dialog) => { wrong.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on('pageerror', (error) => wrong.push(`error: ${error.message}`));
  // What the server does not answer while it is away is no fault of the page.
  page.on('console', (line) => { if (['error', 'warning'].includes(line.type()) && !/ERR_CONNECTION|ERR_INCOMPLETE|ERR_EMPTY/.test(line.text())) wrong.push(`console: ${line.text()}`); });
  page.on('request', (request) => { if (new URL(request.url()).origin !== home) wrong.push(`asks ${request.url()}`); });
  return wrong;
}

/** The bytes that come over the wire, with their headers, as the browser counts them. */
async function counted(page) {
  const session = await page.context().newCDPSession(page), came = new Map();
  await session.send('Network.enable');
  session.on('Network.responseReceived', ({ requestId, response, type }) => came.set(requestId, { url: response.url, type, bytes: response.encodedDataLength }));
  session.on('Network.dataReceived', ({ requestId, encodedDataLength }) => { if (came.has(requestId)) came.get(requestId).bytes += encodedDataLength; });
  session.on('Network.loadingFinished', ({ requestId, encodedDataLength }) => { if (came.has(requestId)) came.get(requestId).bytes = encodedDataLength; });
  return came;
}

const orders = {
  /** Opens pages at this address, each as a browser of its own; the answer says what the first one loaded, and when it painted. */
  async open({ url, dark = false, width = 1280, height = 900, pages: many = 1 }) {
    const first = pages.length;
    const told = await Promise.all(Array.from({ length: many }, async () => {
      const context = await browser.newContext({ colorScheme: dark ? 'dark' : 'light', viewport: { width, height }, reducedMotion: 'reduce' });
      context.setDefaultTimeout(LONGEST_MS);
      const page = await context.newPage(), wrong = watched(page, new URL(url).origin), came = await counted(page);
      pages.push({ page, wrong });
      await page.goto(url);
      await page.locator('#tabs a, .jobs').first().waitFor();
      const paint = await page.evaluate(() => performance.getEntriesByType('paint').map(({ name, startTime }) => [name, startTime]));
      return { paint: Object.fromEntries(paint), files: [...came.values()] };
    }));
    return { ...told[0], first };
  },
  /** Opens a page that is not ours. */
  async visit({ url }) {
    const page = await (await browser.newContext()).newPage(), wrong = watched(page, new URL(url).origin);
    pages.push({ page, wrong });
    await page.goto(url);
  },
  /** The addresses of the views, as the page names them. */
  async views({ at = 0 }) {
    return pages[at].page.$$eval('#tabs a', (all) => all.map((one) => one.getAttribute('href')));
  },
  /** Goes to a view of the page. */
  async view({ at = 0, hash }) {
    await pages[at].page.evaluate((to) => { location.hash = to; }, hash);
    await pages[at].page.waitForFunction(() => document.querySelector('#content')?.childElementCount > 0);
  },
  /** The text that is shown, of the whole page or a part of it. */
  async text({ at = 0, selector = 'body' }) {
    return pages[at].page.locator(selector).first().innerText();
  },
  /** Waits until a text is there that a pattern finds; the answer is the text. */
  async until({ at = 0, selector = 'body', pattern, seconds = LONGEST_MS / 1000 }) {
    const { page } = pages[at], find = new RegExp(pattern);
    const found = await page.waitForFunction(([where, source]) => {
      const text = document.querySelector(where)?.innerText ?? '';
      return new RegExp(source).test(text) && text;
    }, [selector, find.source], { timeout: seconds * 1000, polling: 50 });
    return found.jsonValue();
  },
  /** Waits until an element is there. */
  async there({ at = 0, selector, seconds = LONGEST_MS / 1000 }) {
    await pages[at].page.locator(selector).first().waitFor({ state: 'attached', timeout: seconds * 1000 });
  },
  /** What an expression gives in the page. */
  async evaluate({ at = 0, code }) {
    return pages[at].page.evaluate(code);
  },
  async click({ at = 0, selector }) { await pages[at].page.locator(selector).first().click(); },
  async press({ at = 0, key }) { await pages[at].page.keyboard.press(key); },
  async fill({ at = 0, selector, text }) { await pages[at].page.locator(selector).first().fill(text); },
  /** What stands in the way of people who see, hear or move otherwise; as axe says. */
  async axe({ at = 0 }) {
    const { page } = pages[at];
    // By the browser, as the page itself lets no script in but its own.
    await page.evaluate(axe + ';0');
    return page.evaluate(async () => {
      const { violations } = await axe.run(document, { resultTypes: ['violations'] });
      return violations.map(({ id, help, nodes }) => ({ id, help, nodes: nodes.slice(0, 3).map((node) => `${node.html.slice(0, 200)}: ${node.failureSummary.slice(0, 300)}`) }));
    });
  },
  /** What went wrong so far. */
  async wrong({ at = 0 }) { return pages[at].wrong; },
  /** A picture of what is seen. */
  async picture({ at = 0, path }) {
    // Here, as older Nodes lack what it needs, and tests do without it.
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
    // What each page shows and has said, as whoever reads of the failure cannot look any more.
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
