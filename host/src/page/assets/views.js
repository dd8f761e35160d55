// The views of a job that change every second.
import { h, name, safe, sentence } from './dom.js';
import { bytes, clock, number, percent, plural, short, time } from './words.js';
import { draw, outline } from './graph.js';
import * as chart from './chart.js';
import * as acts from './acts.js';

let known = { view: null, parts: [] };

/** Returns the facts about the part with this index, in one object. It is created once per view. */
export function facts(job, index) {
  if (known.view !== job.view) known = { view: job.view, parts: [] };
  return known.parts[index] ??= factsOf(job, index);
}

function factsOf(job, index) {
  const { view } = job, { status, graph } = view;
  const counts = status.sources.length > index ? status.sources[index]
    : status.stages[index - status.sources.length] ?? status.sinks[index - status.sources.length - status.stages.length] ?? {};
  const recent = view.batches.last_10_s, part = graph.parts[index], own = view.parts[index] ?? {};
  const threads = part?.role === 'sink' ? 1 : Math.max(status.workers, 1);
  const watermark = view.batches.watermarks_us[index];
  const behind = watermark !== null && watermark !== undefined && status.last_batch_time_us && watermark < 9e15 ? status.last_batch_time_us - watermark : null;
  return {
    counts, own, watermark, rate: counts.rows_per_second ?? 0, busy: (recent.busy_us[index] ?? 0) / Math.max(recent.span_us, 1) / threads,
    fill: (own.waiting_bytes ?? 0) / Math.max(own.waiting_bytes_max ?? 0, 1), behind: counts.behind ?? null, state: own.state_bytes,
    rejected: counts.rejected ?? 0, lag: behind === null ? null : time(behind),
  };
}

const tile = (label, value, more, line) => h('div', { class: 'tile' }, h('div', { class: 'name' }, label), h('div', { class: 'value' }, value), h('div', { class: 'more' }, more), line);

export function overview(job) {
  const { view, history } = job, { status, batches, graph } = view, recent = batches.last_10_s;
  const sum = (all, of) => all.reduce((total, one) => total + of(one), 0);
  const written = status.sources.filter((_, i) => !graph.parts[i]?.hidden);
  const come = sum(written, (p) => p.rows_per_second), out = sum(status.sinks, (p) => p.rows_per_second);
  const flying = batches.in_flight.length, state = sum(view.parts, (p) => p.state_bytes), last = view.checkpoints.at(-1);
  const limit = status.memory_bytes_max;
  return [
    h('div', { class: 'tiles' },
      tile('Input rows/s', short(come), plural(sum(written, (p) => p.rows), 'row') + ' since startup', chart.spark(history.map((x) => x.come))),
      tile('Output rows/s', short(out), plural(sum(status.sinks, (p) => p.rows), 'row') + ' since startup', chart.spark(history.map((x) => x.out))),
      tile('Batch duration', recent.batches ? time(recent.took_p50_us) : '–', recent.batches ? `p99: ${time(recent.took_p99_us)} · maximum: ${time(recent.took_max_us)}` : 'none in 10 s', chart.spark(history.map((x) => x.took))),
      tile('Batches/s', short(recent.batches * 1e6 / Math.max(recent.span_us, 1)), `${number(status.batches_committed)} committed · ${number(flying)} in flight`),
      tile('Memory', bytes(status.memory_bytes), limit ? `${percent(status.memory_bytes / limit)} of ${bytes(limit)}${status.memory_tight ? ' · short' : ''}` : '', chart.spark(history.map((x) => x.memory))),
      tile('State', bytes(state), plural(sum(view.parts, (p) => p.state_rows), 'row, key or window', 'rows, keys and windows')),
      tile('Last checkpoint', last ? time(view.now_us - last.published_us) + ' ago' : graph.checkpoints ? 'none yet' : 'off', last ? `batch ${number(last.batch)} · ${time(last.took_us)} · ${bytes(last.bytes)}` : ''),
      tile('Uptime', time(status.now_us - status.since_us), `${plural(status.workers, 'worker')} in ${plural(status.answered, 'process', 'processes')}${view.restarts.length ? ' · ' + plural(view.restarts.length, 'restart') : ''}`)),
    h('h2', {}, 'Graph'),
    h('div', { class: 'outline', hidden: true, live: (element) => outline(element, view, (i) => facts(job, i), job.room) }),
    h('div', { class: 'card graph', tabindex: '0', role: 'region', 'aria-label': 'Graph of the job', live: (element) => draw(element, view, (i) => facts(job, i), (part) => job.link('part', `${part.role}/${encodeURIComponent(part.name)}`), job.room, job.whole) }),
    view.diagnosis.sentences.length > 0 && [h('h2', {}, 'Findings'), h('div', { class: 'card' }, said(job))],
    status.busy?.length > 1 && [h('h2', {}, 'Busy workers'), h('div', { class: 'card' }, working(status.busy))],
    h('h2', {}, 'Parts'), h('div', { class: 'card scroll later', live: (element) => parts(element, job) }),
  ];
}

const WORKERS_MAX = 64;

/** Shows the busy share of each worker in the last ten seconds. */
function working(busy) {
  const one = ({ worker, percent: of }) => [h('dt', {}, `Worker ${number(worker)}`), h('dd', {}, percent(of / 100), ' ', h('meter', { min: 0, max: 100, value: of, 'aria-label': `Worker ${number(worker)} busy` }))];
  return [h('dl', { class: 'facts' }, busy.slice(0, WORKERS_MAX).map(one)), busy.length > WORKERS_MAX && h('p', { class: 'small quiet' }, `${number(busy.length - WORKERS_MAX)} more: see millstream status.`)];
}

const said = (job) => h('ul', { class: 'said' }, job.view.diagnosis.sentences.slice(0, 40).map((one) => h('li', { class: one.level }, sentence(one.text))));

// The number of table rows that are drawn immediately. The others follow after everything else is visible.
const FIRST = 30;
const COLUMNS = ['Rows', 'Rows/s', 'Busy', 'Rejected', 'Late', 'State', 'Waiting'];

/** Draws the table of all parts into an element. Its rows are cloned once, and then only their numbers change. */
function parts(element, job) {
  const all = job.view.graph.parts, key = all.map((part) => [part.role, part.name, part.kind, part.hidden].join()).join(';') + job.id;
  if (element.drawn?.key !== key) {
    const body = h('tbody', {}), row = h('tr', {}, h('td', {}, h('a', {}, name(' '))), h('td', { class: 'quiet' }, ' '), COLUMNS.map(() => h('td', { class: 'n' }, ' ')));
    element.replaceChildren(h('table', {}, h('thead', {}, h('tr', {}, ['Name', 'Kind'].map((t) => h('th', {}, t)), COLUMNS.map((t) => h('th', { class: 'n' }, t)))), body));
    element.drawn = { key, body, row, rows: [], shown: all.map((_, i) => i).filter((i) => !all[i].hidden) };
  }
  const { body, row, rows, shown } = element.drawn, n = (value) => value ? number(value) : '–';
  shown.slice(rows.length, job.table ? shown.length : FIRST).forEach((i) => {
    const made = row.cloneNode(true), [called, kind, ...cells] = made.childNodes, part = all[i];
    called.firstChild.setAttribute('href', safe(job.link('part', `${part.role}/${encodeURIComponent(part.name)}`)));
    called.firstChild.firstChild.firstChild.data = safe(part.name);
    kind.firstChild.data = safe(`${part.role} · ${part.kind}`);
    rows.push(cells.map((cell) => cell.firstChild));
    body.append(made);
  });
  rows.forEach((cells, at) => {
    const i = shown[at], values = facts(job, i), { counts, own } = values;
    const words = [number(counts.rows), number(values.rate), percent(values.busy), n(counts.rejected), n(counts.late), own.state_bytes ? bytes(own.state_bytes) : '–',
      all[i].role === 'source' ? `${number(own.waiting_rows)} · ${percent(values.fill)}` : '–'];
    words.forEach((text, column) => { if (cells[column].data !== text) cells[column].data = text; });
  });
}

const causes = [['interval_us', 'the interval'], ['data_us', 'data'], ['in_flight_us', 'previous batches'], ['memory_us', 'memory'], ['upgrade_us', 'an upgrade']];
const waited = (waits) => { const [us, words] = causes.map(([key, words]) => [waits[key] ?? 0, words]).sort((a, b) => b[0] - a[0])[0]; return us > 0 ? `${time(us)} for ${words}` : '–'; };

const SOURCES_MAX = 50;

/** Shows the rows/s of each source since the page was opened. */
function rates(job) {
  const sources = job.view.graph.parts.flatMap((part, i) => part.role === 'source' && !part.hidden ? [[part, i]] : []);
  const row = ([part, i]) => h('tr', {}, h('td', {}, h('a', { href: job.link('part', `source/${encodeURIComponent(part.name)}`) }, name(part.name))), h('td', { class: 'n' }, `${short(facts(job, i).rate)} rows/s`),
    h('td', { class: 'spark' }, chart.spark(job.history.map((then) => then.rates[i] ?? 0))));
  return [h('table', {}, h('tbody', {}, sources.slice(0, SOURCES_MAX).map(row))), sources.length > SOURCES_MAX && h('p', { class: 'small quiet' }, `${number(sources.length - SOURCES_MAX)} more: see the table of all parts.`)];
}

export function batches(job) {
  const { view } = job, last = job.batches.slice(-120), chosen = job.chosen === null ? null : job.batches.find((b) => b.number === job.chosen);
  const minute = view.batches.last_minute, choose = (n) => job.choose(n);
  const row = (b) => h('tr', { class: b.number === job.chosen && 'chosen' }, h('td', {}, h('a', { href: job.link('batches'), on: { click: (event) => { event.preventDefault(); choose(b.number); } } }, number(b.batch))), h('td', {}, clock(b.begun_us)),
    h('td', { class: 'n' }, number(b.rows)), h('td', { class: 'n' }, bytes(b.bytes)), h('td', {}, waited(b.waits)), h('td', { class: 'n' }, time(b.waits.in_flight_us + b.waits.memory_us)),
    h('td', { class: 'n' }, b.planned_us === undefined ? '–' : time(b.planned_us)), h('td', { class: 'n' }, b.ready_us === undefined ? '–' : time(b.ready_us)), h('td', { class: 'n' }, b.committed_us === undefined ? 'in flight' : time(b.committed_us)));
  const heads = [['Batch'], ['Start'], ['Rows', 1], ['Bytes', 1], ['Delayed by'], ['Blocked', 1], ['Planned', 1], ['Stages done', 1], ['Committed', 1]];
  return [
    h('div', { class: 'card' }, h('h2', {}, 'Batch duration'), chart.batches(last, view.graph.interval_us, job.chosen, choose, job.room),
      h('span', { class: 'key' }, 'until all stages were done'), h('span', { class: 'key b' }, 'until all sinks had committed'), view.graph.interval_us > 0 && h('span', { class: 'small quiet' }, `batch interval: ${time(view.graph.interval_us)}`)),
    h('div', { class: 'card' }, h('h2', {}, 'Rows per batch'), chart.rows(last, job.room)),
    chosen && h('div', { class: 'card' }, h('h2', {}, `Timeline of batch ${number(chosen.batch)}`), chosen.parts.length ? chart.timeline(chosen, view.graph.parts, job.room) : h('p', { class: 'quiet' }, 'No timeline: only the last batches have one.')),
    h('div', { class: 'card' }, h('h2', {}, 'Input rows/s by source'), rates(job)),
    h('p', { class: 'small quiet' }, `Last minute: ${plural(minute.batches, 'batch', 'batches')}; median ${time(minute.took_p50_us)}, p99 ${time(minute.took_p99_us)}. Waiting between batches: ${causes.map(([key, words]) => [minute.waits[key] ?? 0, words]).filter(([us]) => us > 0).map(([us, words]) => `${time(us)} for ${words}`).join(', ') || 'none'}. Select a batch to see its timeline.`),
    h('div', { class: 'card scroll' }, h('table', {}, h('thead', {}, h('tr', {}, heads.map(([t, n]) => h('th', { class: n && 'n' }, t)))), h('tbody', {}, [...view.batches.in_flight].reverse().map(row), job.batches.slice(-60).reverse().map(row)))),
  ];
}

export function part(job, path) {
  const [role, ...rest] = path.split('/'), wanted = decodeURIComponent(rest.join('/')), { graph, batches: b } = job.view;
  const index = graph.parts.findIndex((p) => p.role === role && p.name === wanted);
  if (index < 0) return [h('p', { class: 'quiet' }, 'The job has no such part.')];
  const is = graph.parts[index], values = facts(job, index), { counts, own } = values, all = [];
  const fact = (label, value) => { if (value !== null && value !== undefined && value !== '') all.push(h('dt', {}, label), h('dd', {}, value)); };
  fact('Reads', is.from.length ? is.from.map((stream, i) => [i > 0 && ', ', name(stream)]) : null);
  fact(role === 'sink' ? 'Input rows' : 'Output rows', `${number(counts.rows)} · ${number(values.rate)} rows/s`);
  fact('Busy', `${percent(values.busy)} of the last 10 s · ${time(b.busy_us[index])} in total`);
  if (role === 'source') fact('Waiting', `${plural(own.waiting_rows, 'record')}, ${bytes(own.waiting_bytes)} of ${bytes(own.waiting_bytes_max)}${own.finished ? ' · finished' : own.idle_ms ? ' · idle for ' + time(own.idle_ms * 1000) : ''}`);
  if (values.behind !== null) fact('Lag', plural(values.behind, 'record'));
  if (role !== 'sink') fact('Rejected', `${number(counts.rejected)}${counts.unread_rejected ? `, ${number(counts.unread_rejected)} of them lost: no sink reads them` : ''}`);
  if (counts.late) fact('Late', number(counts.late));
  if (values.lag !== null) fact('Watermark', `${clock(values.watermark)}, ${values.lag} behind the last batch`);
  if (own.state_rows) fact('State', `${number(own.state_rows)} rows, keys and windows, ${bytes(own.state_bytes)}`);
  if (is.grants.length) fact('Grants', is.grants.join(', '));
  const counters = Object.entries(counts.counters ?? {});
  const plugin = (p) => {
    const cost = [], line = (label, value) => cost.push(h('dt', {}, label), h('dd', {}, value)), both = p.guest_ns + p.host_ns;
    line('Digest', h('code', {}, p.digest));
    if (p.signed_by) line('Signed by', p.signed_by.length ? p.signed_by.map((signer, i) => [i > 0 && ', ', name(signer)]) : 'no trusted key');
    line('Calls', `${number(p.calls)} in ${plural(p.instances, 'instance')} · ${time(p.cpu_ns / 1000 / Math.max(p.calls, 1))} each`);
    line('Time', `guest ${time(p.guest_ns / 1000)} (${percent(p.guest_ns / Math.max(both, 1))}), host ${time(p.host_ns / 1000)}`);
    line('Input', `${number(p.rows_in)} rows, ${bytes(p.bytes_in)}`); line('Output', `${number(p.rows_out)} rows, ${bytes(p.bytes_out)}`);
    line('Memory', `${bytes(p.memory_bytes_max)} maximum`);
    const traps = Object.entries(p.traps ?? {});
    if (traps.length) line('Failures', traps.map(([kind, count]) => `${kind} ${number(count)}`).join(', '));
    if (p.log_lines_dropped) line('Log', `${number(p.log_lines_dropped)} lines dropped`);
    return h('div', { class: 'card' }, h('h2', {}, 'Plugin ', name(p.name), ' ', name(p.version), counts.plugin && counts.plugin.digest !== p.digest && ' (previous version)'), h('dl', { class: 'facts' }, cost));
  };
  const { partitions } = counts, stages = partitions ? [...new Set(partitions.furthest.flatMap((p) => Object.keys(p.times_us ?? {})))].slice(0, 4) : [];
  const moved = (us) => us === undefined ? '–' : `${clock(us)} · ${time(Math.max(job.view.status.last_batch_time_us - us, 0))} ago`;
  // Some servers have text positions instead of numbers.
  const worded = partitions?.furthest.some((p) => p.rows !== undefined);
  const read = (p) => worded ? [h('td', { class: 'text' }, p.place === undefined ? '–' : name(p.place)), h('td', { class: 'n' }, number(p.rows))]
    : [h('td', { class: 'n' }, number(p.position)), h('td', { class: 'n' }, p.behind === undefined ? '–' : number(p.behind))];
  const spread = partitions?.furthest.some((p) => p.process !== undefined);
  const partition = (p) => h('tr', {}, h('td', { class: 'text' }, name(p.name)), spread && h('td', { class: 'n' }, number(p.process)), read(p), stages.map((stage) => h('td', { class: 'n' }, moved(p.times_us?.[stage]))));
  const last = job.batches.filter((x) => x.parts.some((p) => p.part === index)).slice(-120).map((x) => { const p = x.parts.find((p) => p.part === index); return { ...x, ready_us: p.busy_us, committed_us: p.busy_us }; });
  return [h('h2', {}, name(is.name), ' ', h('span', { class: 'badge' }, `${is.role} · ${is.kind}`)), h('div', { class: 'card' }, h('dl', { class: 'facts' }, all)),
    last.length > 1 && h('div', { class: 'card' }, h('h2', {}, 'Busy time in the last batches'), chart.batches(last, 0, null, () => {}, job.room)),
    own.hot_keys && h('div', { class: 'card' }, h('h2', {}, 'Hottest keys'), own.hot_keys.keys.length ? h('table', {}, h('tbody', {}, own.hot_keys.keys.map((k) => h('tr', {}, h('td', { class: 'text' }, name(k.key)), h('td', { class: 'n' }, percent(k.rows / own.hot_keys.looked_at)))))) : 'No key has more than 1 % of the rows.',
      h('p', { class: 'quiet small' }, `In a sample of ${plural(own.hot_keys.looked_at, 'recent row')}.`)),
    own.spread && h('div', { class: 'card' }, h('h2', {}, 'State by key group'), h('p', { class: 'quiet small' }, `${plural(own.spread.groups, 'key group')} with about ${plural(own.spread.rows, 'row')} and ${bytes(own.spread.bytes)} of keys and state; the largest:`),
      h('table', {}, h('thead', {}, h('tr', {}, ['Group', 'Rows', 'Bytes', 'Share'].map((t) => h('th', { class: 'n' }, t)))), h('tbody', {}, own.spread.largest.map((g) => h('tr', {}, [number(g.group), number(g.rows), bytes(g.bytes), percent(g.bytes / Math.max(own.spread.bytes, 1))].map((text) => h('td', { class: 'n' }, text))))))),
    partitions && h('div', { class: 'card scroll' }, h('h2', {}, 'Partitions'), h('table', {}, h('thead', {}, h('tr', {}, h('th', {}, 'Name'), spread && h('th', { class: 'n' }, 'Process'), worded ? [h('th', {}, 'Position'), h('th', { class: 'n' }, 'Rows since startup')] : ['Next offset', 'Lag'].map((t) => h('th', { class: 'n' }, t)), stages.map((stage) => h('th', { class: 'n' }, 'Event time in ', name(stage))))), h('tbody', {}, partitions.furthest.map(partition))),
      partitions.count > partitions.furthest.length && h('p', { class: 'quiet small' }, `${number(partitions.count - partitions.furthest.length)} more${worded ? '' : ', none with more lag'}.`)),
    (counts.plugins ?? []).map(plugin), counts.plugin && acts.upgrading(job, is),
    counters.length > 0 && h('div', { class: 'card scroll' }, h('h2', {}, 'Counters of the plugin'), h('table', {}, h('tbody', {}, counters.slice(0, 200).map(([key, count]) => h('tr', {}, h('td', { class: 'text' }, name(key)), h('td', { class: 'n' }, number(count)))))))];
}
