// Small charts. They use the available width, so that their text is readable on a phone, up to a maximum.
import { s } from './dom.js';
import { clock, number, short, time } from './words.js';

const WIDEST = 900;
const within = (room) => Math.max(Math.min(room.width, WIDEST), 280);

/** Draws a line of the last values, without axes. */
export function spark(values) {
  const max = Math.max(...values, 1e-9), step = 100 / Math.max(values.length - 1, 1);
  const points = values.map((v, i) => `${(i * step).toFixed(2)},${(29 - 27 * v / max).toFixed(2)}`);
  return s('svg', { viewBox: '0 0 100 30', preserveAspectRatio: 'none', 'aria-hidden': 'true' }, values.length > 1 && [
    s('polygon', { class: 'area', points: `0,30 ${points.join(' ')} 100,30` }),
    s('polyline', { class: 'line', points: points.join(' '), 'vector-effect': 'non-scaling-stroke' })]);
}

/** Draws a bar for each of the last batches: the time until its stages were done, and until it was committed. */
export function batches(all, interval, chosen, choose, room) {
  const wide = within(room), high = 190, left = 56, floor = high - 22, max = Math.max(...all.map((b) => (b.committed_us ?? 0)), interval ? interval * 1.1 : 0, 1);
  const step = (wide - left) / Math.max(all.length, 30), y = (us) => floor - (floor - 12) * us / max;
  const bar = (b, i) => {
    const x = left + i * step, ready = Math.min(b.ready_us ?? b.committed_us ?? 0, b.committed_us ?? 0);
    const box = (kind, from, to) => s('rect', { class: kind + ' bar', x: x.toFixed(1), width: Math.max(step - 1.5, 1).toFixed(1), y: y(to).toFixed(1), height: Math.max(y(from) - y(to), 0).toFixed(1) });
    return s('g', { on: { click: () => choose(b.number) }, opacity: chosen === b.number ? 1 : 0.88 },
      s('title', {}, `batch ${b.batch}, ${clock(b.begun_us)}: ${time(b.committed_us)}, ${number(b.rows)} rows`),
      box('a', 0, ready), box('b', ready, b.committed_us ?? 0));
  };
  const mark = (us, label, kind) => [s('line', { class: kind, x1: left, x2: wide, y1: y(us), y2: y(us) }), s('text', { x: left - 6, y: y(us) + 4, 'text-anchor': 'end' }, label)];
  return s('svg', { class: 'chart', viewBox: `0 0 ${wide} ${high}`, role: 'img', 'aria-label': 'Duration of the last batches' },
    mark(0, '0', 'axis'), mark(max, time(max), 'axis'), all.map(bar), interval > 0 && interval < max * 0.97 && mark(interval, time(interval), 'limit'),
    all.length > 0 && s('text', { x: left, y: high - 5 }, clock(all[0].begun_us)),
    // Below the last bar, if there is room next to the first label.
    all.length * step > 130 && s('text', { x: left + all.length * step, y: high - 5, 'text-anchor': 'end' }, clock(all.at(-1).begun_us)));
}

/** Draws the rows of each of the last batches. */
export function rows(all, room) {
  const wide = within(room), high = 90, left = 56, floor = high - 8, max = Math.max(...all.map((b) => b.rows), 1), step = (wide - left) / Math.max(all.length, 30);
  return s('svg', { class: 'chart', viewBox: `0 0 ${wide} ${high}`, role: 'img', 'aria-label': 'Rows of the last batches' },
    s('line', { class: 'axis', x1: left, x2: wide, y1: floor, y2: floor }), s('text', { x: left - 6, y: 16, 'text-anchor': 'end' }, short(max)),
    s('text', { x: left - 6, y: floor + 3, 'text-anchor': 'end' }, '0'),
    all.map((b, i) => s('rect', { class: 'c', x: (left + i * step).toFixed(1), width: Math.max(step - 1.5, 1).toFixed(1), y: (floor - (floor - 10) * b.rows / max).toFixed(1), height: ((floor - 10) * b.rows / max).toFixed(1) },
      s('title', {}, `batch ${b.batch}: ${number(b.rows)} rows`))));
}

/** Draws when each part worked on a batch. */
export function timeline(batch, parts, room) {
  const end = Math.max(batch.committed_us ?? 0, ...batch.parts.map((p) => p.to_us), 1), wide = within(room), left = Math.min(190, Math.round(wide * 0.36)), line = 24;
  const all = [...batch.parts].sort((a, b) => a.from_us - b.from_us), high = all.length * line + 40, x = (us) => left + (wide - left - 90) * us / end;
  const mark = (us, label, y) => us !== undefined && us !== null && [s('line', { class: 'axis', x1: x(us), x2: x(us), y1: 18, y2: high - 16 }), s('text', { x: x(us), y, 'text-anchor': us > end * 0.8 ? 'end' : 'start' }, label)];
  return s('svg', { class: 'chart', viewBox: `0 0 ${wide} ${high}`, role: 'img', 'aria-label': 'Timeline of the batch by part' },
    mark(batch.planned_us, 'planned', 13), mark(batch.ready_us, 'all stages done', high - 3), mark(batch.committed_us, 'committed', 13),
    all.map((p, i) => {
      const part = parts[p.part] ?? { name: '?', role: '' }, y = 22 + i * line, kind = { source: 'c', sink: 'b' }[part.role] ?? 'a';
      return [s('text', { x: left - 8, y: y + 13, 'text-anchor': 'end' }, [...part.name].slice(0, Math.floor(left / 7.2)).join('')),
        s('rect', { class: kind, x: x(p.from_us).toFixed(1), y: y + 3, height: 13, rx: 3, width: Math.max(x(p.to_us) - x(p.from_us), 2).toFixed(1) }, s('title', {}, `from ${time(p.from_us)} to ${time(p.to_us)}; busy ${time(p.busy_us)}`)),
        s('text', { x: Math.min(x(p.to_us) + 6, wide - 70), y: y + 13 }, time(p.busy_us))];
    }));
}
