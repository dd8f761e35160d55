// The views of rejected rows, state, checkpoints and the log.
import { h, name, safe, sentence } from './dom.js';
import * as acts from './acts.js';
import { bytes, clock, date, number, time } from './words.js';

const kept = { refused: '', log: '', sql: null, answer: null };
const search = (job, key, label) => h('form', { role: 'search', on: { submit: (event) => event.preventDefault() } },
  h('input', { id: 'search-' + key, type: 'search', 'aria-label': label, placeholder: label, value: kept[key], on: { input: (event) => { kept[key] = event.target.value; job.show(); } } }));
const matches = (key, ...texts) => texts.join(' ').toLowerCase().includes(kept[key].toLowerCase());

export function refused(job) {
  const rows = job.refused.filter((r) => matches('refused', r.part, r.reason, ...r.cells.flat())).reverse();
  const card = (r) => h('div', { class: 'card' },
    h('h2', {}, name(r.part), h('span', { class: 'quiet small' }, ` · batch ${number(r.batch)} · ${clock(r.at_us)}${r.late ? ' · late' : ''}`)),
    r.late ? h('p', { class: 'quiet' }, 'Older than the watermark allowed.') : h('p', { class: 'error' }, r.reason),
    h('dl', { class: 'facts mono' }, r.cells.map(([column, value]) => [h('dt', {}, name(column)), h('dd', {}, name(value))])),
    r.backtrace && h('details', {}, h('summary', {}, 'Backtrace'), h('pre', {}, r.backtrace)));
  return [search(job, 'refused', 'Search rows and reasons'),
    acts.retries(job), h('p', { class: 'quiet small' }, 'The last 100 rejected or late rows.'),
    rows.length ? rows.map(card) : h('p', {}, job.refused.length ? 'No row matches the search.' : 'No rejected or late rows since the page was opened.')];
}

// Parses JSON without rounding integers: those that a JavaScript number cannot represent become BigInt. Strings are matched first, so that
// digits within them are not changed.
const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?/g;
const EXACT = /^\u0000integer:-?\d{16,}$/;
function parse(text) {
  const marked = text.replace(TOKEN, (token) => /^-?\d{16,}$/.test(token) && !Number.isSafeInteger(Number(token)) ? `"\\u0000integer:${token}"` : token);
  return JSON.parse(marked, (_, value) => typeof value === 'string' && EXACT.test(value) ? BigInt(value.slice(9)) : value);
}
const digits = (_, value) => typeof value === 'bigint' ? String(value) : value;

export function state(job) {
  const tables = job.view.graph.parts.map((p, i) => [p, job.view.parts[i] ?? {}]).filter(([, own]) => own.state_rows > 0);
  const ask = async (event) => {
    event.preventDefault();
    kept.answer = { busy: true }; job.show();
    try {
      const reply = await fetch(`/api/v1/jobs/${job.id}/state?sql=${encodeURIComponent(document.getElementById('sql').value)}`);
      kept.answer = parse(await reply.text());
    } catch (error) { kept.answer = { error: String(error) }; }
    job.show();
  };
  kept.sql ??= `select * from ${tables.length ? '"' + tables[0][0].name.replaceAll('"', '""') + '"' : 'stage'} limit 20`;
  const { answer } = kept, columns = answer?.columns ?? [];
  const cell = (value) => h('td', { class: typeof value === 'number' || typeof value === 'bigint' ? 'n' : 'text' }, value === undefined || value === null ? '' : typeof value === 'object' ? JSON.stringify(value, digits) : name(value));
  if (!job.view.graph.checkpoints) return [h('p', {}, 'The job has no checkpoints, so its state cannot be queried.')];
  return [h('p', { class: 'quiet small' }, 'SQL over the last checkpoint. Tables have the names of the stages. The query runs in a separate process, for at most 15 s.'),
    h('form', { on: { submit: ask } }, h('textarea', { id: 'sql', 'aria-label': 'Query', spellcheck: 'false', value: kept.sql, on: { input: (e) => { kept.sql = e.target.value; }, keydown: (e) => { if (e.key === 'Enter' && (e.ctrlKey || e.metaKey)) ask(e); } } }), h('button', { type: 'submit' }, 'Run query')),
    answer?.busy && h('p', { class: 'quiet' }, 'Running …'), answer?.error && h('p', { class: 'error' }, answer.error),
    answer?.rows && h('div', { class: 'card scroll' }, answer.rows.length ? h('table', {}, h('thead', {}, h('tr', {}, columns.map((c) => h('th', {}, name(c))))), h('tbody', {}, answer.rows.slice(0, 1000).map((row) => h('tr', {}, columns.map((c) => cell(row[c])))))) : 'No rows.'),
    h('h2', {}, 'Current state of the stages'), h('div', { class: 'card scroll' }, h('table', {}, h('tbody', {}, tables.length ? tables.map(([p, own]) => h('tr', {}, h('td', {}, name(p.name)), h('td', { class: 'n' }, number(own.state_rows)), h('td', { class: 'n' }, bytes(own.state_bytes)))) : h('tr', {}, h('td', {}, 'No state.')))))];
}

export function history(job) {
  const { view } = job, { graph } = view;
  const head = (all) => h('thead', {}, h('tr', {}, all.map(([t, n]) => h('th', { class: n && 'n' }, t))));
  return [h('h2', {}, 'Checkpoints'), h('div', { class: 'card scroll' }, graph.checkpoints ? [h('p', { class: 'small quiet' }, `In ${safe(graph.checkpoints)}, every ${graph.checkpoint_every}.`),
    h('table', {}, head([['After batch'], ['Published'], ['Duration', 1], ['Files', 1], ['Bytes', 1]]), h('tbody', {}, [...view.checkpoints].reverse().slice(0, 50).map((c) => h('tr', {}, h('td', {}, number(c.batch)), h('td', {}, date(c.published_us)), h('td', { class: 'n' }, time(c.took_us)), h('td', { class: 'n' }, number(c.files)), h('td', { class: 'n' }, bytes(c.bytes))))))] : 'The job has no checkpoints.'),
  h('h2', {}, 'Restarts'), h('div', { class: 'card' }, view.restarts.length ? h('ul', { class: 'said' }, [...view.restarts].reverse().map((r) => h('li', { class: 'bad' }, date(r.at_us), ': ', sentence(r.why)))) : view.supervised ? 'None since startup.' : 'Unknown: the job has no supervisor here.'),
  h('h2', {}, 'Upgrades'), view.upgrades.length ? [...view.upgrades].reverse().map((one) => acts.upgrade(job, one)) : h('div', { class: 'card' }, 'None since startup.'),
  view.asked.length > 0 && [h('h2', {}, 'Actions from this page'), h('div', { class: 'card' }, acts.asked(job))]];
}

export function log(job) {
  const lines = job.log.filter((line) => matches('log', line.level, line.text)).slice(-400).reverse();
  return [search(job, 'log', 'Search the log'), h('div', { class: 'card log', role: 'log' }, lines.length ? lines.map((line) => h('div', { class: line.level }, h('span', { class: 'when' }, clock(line.at_us)), h('span', { class: 'level' }, line.level), h('span', { class: 'words' }, name(line.text)))) : 'The log is empty.')];
}
