// The page: selects the job and the view, and receives the news once per second.
import { children, h, name, sentence } from './dom.js';
import { number, short, time } from './words.js';
import * as views from './views.js';
import * as more from './more.js';
import * as acts from './acts.js';

const KEPT = { batches: 3600, log: 1000, refused: 100, history: 180 };
const TABS = [['overview', 'Job'], ['batches', 'Batches'], ['refused', 'Rejected and late'], ['state', 'State'], ['history', 'Checkpoints and restarts'], ['log', 'Log']];
const [head, tabs, content] = ['head', 'tabs', 'content'].map((id) => document.getElementById(id));
let job = null, source = null, all = false, receivedAt = 0, waiting = null;

const link = (id) => (tab, rest) => `#/${id}/${tab}${rest ? '/' + rest : ''}`;
const route = () => { const [, id, tab, ...rest] = location.hash.split('/'); return { id, tab: tab || 'overview', rest: rest.join('/') }; };
const add = (kept, news, max) => { kept.push(...news); if (kept.length > max) kept.splice(0, kept.length - max); };

function open(id) {
  if (job?.id === id && source) return;
  source?.close();
  if (job?.id !== id) job = { id, view: null, batches: [], log: [], refused: [], history: [], chosen: null, link: link(id), show, choose(n) { job.chosen = job.chosen === n ? null : n; show(); } };
  const own = job;
  [own.batches, own.log, own.refused].forEach((list) => { list.length = 0; });
  source = new EventSource(`/api/v1/jobs/${encodeURIComponent(id)}/events`);
  source.addEventListener('news', (event) => { receivedAt = Date.now(); news(own, JSON.parse(event.data)); });
  source.onerror = () => { if (source?.readyState === EventSource.CLOSED) retry(); mark(); };
}
function close() { source?.close(); source = null; }
// Retries after a pause if the server is unreachable or the job does not exist.
function retry() { close(); clearTimeout(waiting); waiting = setTimeout(start, 2000); }
const mark = () => document.body.classList.toggle('stale', !!job && Date.now() - receivedAt > 5000);

function news(own, { view, batches, log, refused }) {
  const counts = view.status, seen = (list) => list.reduce((sum, p) => sum + (p.rows_per_second ?? 0), 0);
  own.view = view;
  add(own.batches, batches, KEPT.batches); add(own.log, log, KEPT.log); add(own.refused, refused, KEPT.refused);
  const { last_10_s: recent } = view.batches;
  add(own.history, [{ come: seen(counts.sources), out: seen(counts.sinks), took: recent.took_p50_us ?? 0, memory: counts.memory_bytes, rates: counts.sources.map((p) => p.rows_per_second ?? 0) }], KEPT.history);
  show();
}

function show() {
  if (!job?.view) return;
  job.room = { upright: matchMedia('(max-width: 720px)').matches, width: content.clientWidth - 44, height: innerHeight };
  const { view } = job, { tab, rest } = route(), { keeps_up: up, summary } = view.diagnosis;
  const sign = view.state === 'silent' ? ['bad', 'no answer'] : up === false ? ['bad', 'not keeping up'] : up ? ['good', 'keeping up'] : ['', view.state];
  const stop = view.actions && view.state === 'running' && h('button', { class: 'plain', type: 'button', on: { click: () => acts.stop(job) } }, 'Stop');
  document.title = `${sign[0] === 'bad' ? '▲ ' : ''}${view.status.job || 'job'} · Millstream`;
  children(head, [h('div', { class: 'title' }, all && h('a', { href: '#/' }, 'All jobs'), h('h1', {}, name(view.status.job || '…')), h('span', { class: 'sign ' + sign[0] }, sign[1]), h('span', { class: 'quiet small' }, name(view.file)), stop), h('p', { class: 'summary', role: 'status' }, sentence(summary))]);
  const badge = { refused: view.status.stages.concat(view.status.sources).reduce((sum, p) => sum + (p.rejected ?? 0) + (p.late ?? 0), 0), history: view.restarts.length, log: 0 };
  children(tabs, TABS.map(([key, label]) => h('a', { href: job.link(key), 'aria-current': (tab === key || (tab === 'part' && key === 'overview')) && 'page' }, label, badge[key] > 0 && h('span', { class: 'badge bad' }, short(badge[key])))));
  const made = { overview: views.overview, batches: views.batches, part: (j) => views.part(j, rest), refused: more.refused, state: more.state, history: more.history, log: more.log }[tab] ?? views.overview;
  const nodes = [made(job)].flat(9).filter((node) => node instanceof Node);
  if (content.dataset.tab !== tab + rest) { content.replaceChildren(); content.dataset.tab = tab + rest; }
  children(content, nodes);
  if (!job.table) drawNext(job);
  mark();
}

// Draws the visible area first, then the complete graph, then the complete table. Each step waits for the previous one to be visible.
function drawNext(own) {
  if (own.waits) return;
  own.waits = true;
  requestAnimationFrame(() => setTimeout(() => { own.waits = false; own.table = own.whole; own.whole = true; show(); }));
}

async function start() {
  const { id } = route();
  try {
    const reply = await fetch('/api/v1/jobs');
    if (!reply.ok) throw new Error(await reply.text());
    const listed = await reply.json();
    all = listed.all;
    const only = !all && listed.jobs.length === 1 && listed.jobs[0].id;
    // Change the address without another request.
    if (!id && only) history.replaceState(null, '', `#/${only}/overview`);
    if (id || only) { open(id || only); show(); }
    else { close(); job = null; list(listed.jobs); waiting = setTimeout(start, 2000); }
  } catch (error) {
    children(content, job?.view ? [...content.childNodes] : [h('p', { class: 'error' }, String(error.message || error))]);
    document.body.classList.add('stale');
    waiting = setTimeout(start, 2000);
  }
}

function list(jobs) {
  document.title = 'Millstream';
  children(head, [h('div', { class: 'title' }, h('h1', {}, 'Jobs'), h('span', { class: 'quiet small' }, `${number(jobs.length)} running on this machine`))]);
  children(tabs, []);
  delete content.dataset.tab;
  const sign = (j) => h('span', { class: 'sign ' + (j.keeps_up === false ? 'bad' : j.keeps_up ? 'good' : '') }, j.keeps_up === false ? 'not keeping up' : j.keeps_up ? 'keeping up' : j.state);
  children(content, [h('div', { class: 'jobs' }, jobs.length ? jobs.map((j) => h('div', { class: 'card' }, h('div', { class: 'title' }, h('h2', {}, h('a', { href: `#/${j.id}/overview` }, name(j.job || j.file))), sign(j), h('span', { class: 'quiet small' }, `${short(j.rows_per_second)} rows/s · ${number(j.batches_committed)} batches · up for ${time(Date.now() * 1000 - j.since_us)}`)), h('p', {}, sentence(j.summary)), h('p', { class: 'quiet small' }, name(j.file)))) : h('p', {}, 'No job of yours is running on this machine. Start one: millstream run JOB'))]);
}

addEventListener('hashchange', () => { clearTimeout(waiting); if (route().id && job?.id === route().id) { show(); scrollTo(0, 0); } else start(); });
// Browsers limit the connections per server, so hidden pages close theirs.
document.addEventListener('visibilitychange', () => { clearTimeout(waiting); if (document.hidden) close(); else start(); });
setInterval(mark, 1000);
addEventListener('resize', () => show());
start();
