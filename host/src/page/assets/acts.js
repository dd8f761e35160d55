// The actions of the page on a job. If they are disabled, the equivalent commands are shown.
import { h, name, sentence } from './dom.js';
import { clock, date, number, time } from './words.js';

const kept = { to: '', shadow: '20', promote: 'same', stage: null, error: null };
const RULES = [['same', 'the output is the same'], ['no-more-rejected', 'it does not reject more rows'], ['always', 'no call of it fails'], ['never', 'never: only compare']];
const STAGES_MAX = 20;

async function post(job, what, query) {
  try {
    const reply = await fetch(`/api/v1/jobs/${job.id}/${what}?${new URLSearchParams(query)}`, { method: 'POST' });
    kept.error = reply.ok ? null : (await reply.json()).error;
  } catch (error) { kept.error = String(error); }
  job.show();
}

export const stop = (job) => { if (confirm('Stop the job? It first processes and commits what it has received.')) post(job, 'stop', {}); };

// Quotes a text as one shell word.
const word = (text) => /^[\w./=@:,+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
const command = (...args) => h('code', {}, name('millstream ' + args.map(word).join(' ')));
const busy = (job) => job.view.asked.some((one) => one.ended_us === null);
const button = (job, label, call) => h('button', { type: 'button', class: 'plain', disabled: busy(job), on: { click: call } }, label);

/** Lists the requested actions, the newest first. `about` filters them. */
export function asked(job, about = () => true) {
  const all = job.view.asked.filter(about).reverse();
  const said = (one) => h('li', { class: one.ended_us === null ? 'note' : one.failed ? 'bad' : '' },
    `${clock(one.begun_us)}: ${one.what} of `, h('code', {}, name(one.stage)), one.ended_us === null ? ' is running' : one.failed ? ' failed' : ` took ${time(one.ended_us - one.begun_us)}`,
    one.words && h('pre', {}, one.words), h('p', { class: 'quiet small' }, 'Equivalent command: ', h('code', {}, name(one.command))));
  return [kept.error && h('p', { class: 'error', role: 'alert' }, kept.error), all.length > 0 && h('ul', { class: 'said', 'aria-live': 'polite' }, all.map(said))];
}

/** Shows how rejected rows can be retried in the stages that rejected them. */
export function retries(job) {
  const { view } = job, { parts } = view.graph, counts = new Map(view.status.stages.map((s) => [s.name, s.rejected ?? 0]));
  const stages = parts.filter((p) => p.role === 'stage' && (p.retries_from || counts.get(p.name) > 0)).sort((a, b) => counts.get(b.name) - counts.get(a.name)).slice(0, STAGES_MAX);
  const line = (p) => {
    const stage = h('code', {}, name(p.name)), from = p.retries_from;
    if (!from) return ['Rows of ', stage, ' cannot be retried: set ', h('code', {}, 'on_error = "reject"'), ' in the stage and ', h('code', {}, '[checkpoint]'), ' in the job.'];
    if (!from.length) return ['No sink writes the rejected rows of ', stage, ' to files on this machine, so the page cannot retry them. If you have such files: ', command('retry', view.file, p.name), ' FILES'];
    const sinks = from.map((sink, i) => [i > 0 && ', ', h('code', {}, name(sink))]);
    if (!view.actions) return ['To retry the rows in ', sinks, ' in ', stage, ': ', command('retry', view.file, p.name)];
    return [button(job, 'Retry', () => { if (confirm(`Retry all rows that stage ${p.name} has rejected? Rows that were retried before are skipped.`)) post(job, 'retry', { stage: p.name }); }), ' the rows of ', stage, ' in ', sinks, '. Rows that were retried before are skipped.'];
  };
  if (!stages.length) return null;
  return h('div', { class: 'card' }, h('h2', {}, 'Retry'), h('ul', { class: 'said acts' }, stages.map((p) => h('li', {}, line(p)))), asked(job, (one) => one.what === 'retry'));
}

const STEPS = { prepared: 'is loaded and checked', shadowing: 'runs in parallel and is compared', shadowed: 'ran in parallel and was compared', committing: 'becomes active with the next batch' };
const step = (at) => STEPS[at] ?? (at.done ? `active after batch ${number(at.done.after)}; pause between batches: ${time(at.done.pause_us)}` : at.dropped ? `was canceled: ${at.dropped}` : at.failed ? `failed, and the previous version continues: ${at.failed}` : JSON.stringify(at));

/** Shows the comparison of two versions that ran in parallel. */
function shadow(report) {
  const cells = (all) => h('tr', {}, all.map((text, i) => h(i ? 'td' : 'th', { class: i && 'n', scope: !i && 'row' }, text)));
  return [h('p', { class: 'small quiet' }, `Both versions processed the rows of ${number(report.batches)} batches.`),
    h('table', { class: 'shadow' }, h('thead', {}, h('tr', {}, ['', 'Old', 'New', 'Differ'].map((t, i) => h('th', { class: i && 'n' }, t)))), h('tbody', {},
      cells(['Rows', number(report.rows), '', number(report.rows_differing)]), cells(['States', number(report.states), '', number(report.states_differing)]),
      cells(['Rejected rows', number(report.rejected), number(report.rejected_new), number(report.rejected_differing)]),
      cells(['CPU time', time(report.cost_ns / 1000), time(report.cost_new_ns / 1000), report.cost_ns ? (report.cost_new_ns / report.cost_ns).toFixed(2) + ' ×' : '']))),
    report.examples.length > 0 && h('pre', {}, report.examples.join('\n')),
    report.failed && h('p', { class: 'error' }, 'The new version failed and is no longer called: ', report.failed)];
}

/** Shows the status of an upgrade. */
export const upgrade = (job, one) => h('div', { class: 'card' }, h('h2', {}, 'Upgrade of ', name(one.stage)),
  h('dl', { class: 'facts' }, h('dt', {}, 'From'), h('dd', {}, name(one.from[0]), ' ', h('code', { class: 'quiet' }, one.from[1])), h('dt', {}, 'To'), h('dd', {}, name(one.to[0]), ' ', h('code', { class: 'quiet' }, one.to[1])), h('dt', {}, 'New version'), h('dd', {}, sentence(step(one.step)))),
  job.view.actions && ['prepared', 'shadowing', 'shadowed'].includes(one.step) && h('button', { type: 'button', class: 'plain', on: { click: () => post(job, 'drop', { upgrade: one.id }) } }, 'Cancel'),
  one.shadow && shadow(one.shadow));

/** Shows how the plugin of a stage, source or sink can be upgraded. */
export function upgrading(job, is) {
  // The name in commands: a sink may have the name of a stage.
  const stage = is.role === 'stage' ? is.name : `${is.role}s.${is.name}`;
  if (kept.stage !== stage) Object.assign(kept, { stage, to: '', error: null });
  const { view } = job, own = (key) => ({ id: 'upgrade-' + key, value: kept[key], on: { input: (event) => { kept[key] = event.target.value; } } });
  const field = (key, label, more) => h('label', {}, label, h('input', { ...own(key), ...more }));
  const ask = (event) => {
    event.preventDefault();
    const { to, shadow, promote } = kept;
    if (to && confirm(`Replace the plugin of ${is.role} ${is.name} with ${to}? This also changes the job file.`)) post(job, 'upgrade', { stage, to, shadow: is.role === 'stage' && shadow || '0', promote });
  };
  // Paths are relative to the directory of the job.
  const fromJobDir = (to) => /^[^/]*@|^[\d.]*$|^\//.test(to) ? to : view.file.replace(/[^/]*$/, '') + to;
  const form = view.actions ? [
    h('form', { on: { submit: ask } }, field('to', 'Version, name@version or a path in the job’s directory', { required: true, placeholder: '0.2.0', autocomplete: 'off' }),
      is.role === 'stage' && field('shadow', 'Batches in parallel with the old version first', { type: 'number', min: 0 }),
      is.role === 'stage' && h('label', {}, 'Activate it if', h('select', own('promote'), RULES.map(([value, label]) => h('option', { value, selected: kept.promote === value }, label)))),
      h('button', { type: 'submit', disabled: busy(job) }, 'Upgrade')),
    h('p', { class: 'quiet small' }, 'A version that needs more permissions or has other columns is rejected here, with the differences. To accept it in a terminal: ', command('upgrade', view.file, stage, fromJobDir(kept.to) || 'VERSION', '--accept'))]
    : h('p', { class: 'quiet small' }, 'To upgrade: ', command('upgrade', view.file, stage, 'VERSION', ...(is.role === 'stage' ? ['--shadow', '20'] : [])), '. This page is read-only; to change the job from here, start it with ', h('code', {}, '--ui-actions'), '.');
  return [h('div', { class: 'card' }, h('h2', {}, 'Upgrade'), form, asked(job, (one) => one.what === 'upgrade' && one.stage === stage)),
    [...view.upgrades].reverse().filter((one) => one.stage === stage).slice(0, 3).map((one) => upgrade(job, one))];
}
