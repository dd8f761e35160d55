// The graph of a job: each part behind those that it reads.
import { s, safe } from './dom.js';
import { bytes, percent, short } from './words.js';

const WIDE = 170, HIGH = 74, ALONG = 44, ASIDE = 18, THIN = 22;
let kept = { key: null };

/** Where parts stand. It is found once, and kept until the graph is another one. */
export function layout(parts, upright) {
  const key = (upright ? '|' : '-') + parts.map((p) => p.name + '<' + p.from.join()).join(';');
  if (kept.key === key) return kept;
  const place = new Map();
  parts.forEach((part, i) => { if (part.role !== 'sink') place.set(part.name, i); });
  const origin = (stream) => {
    if (place.has(stream)) return place.get(stream);
    for (let at = stream.lastIndexOf('.'); at > 0; at = stream.lastIndexOf('.', at - 1)) {
      if (place.has(stream.slice(0, at))) return place.get(stream.slice(0, at));
    }
    return undefined;
  };
  const edges = [], into = parts.map(() => []), out = parts.map(() => []);
  parts.forEach((part, to) => part.from.forEach((stream) => {
    const from = origin(stream);
    if (from === undefined || from === to) return;
    edges.push({ from, to, side: parts[from].name !== stream });
    into[to].push(from); out[from].push(to);
  }));
  const shown = parts.map((part, i) => !part.hidden || out[i].length > 0);
  const layer = parts.map(() => 0), missing = into.map((all) => all.length), ready = [];
  missing.forEach((count, i) => { if (!count) ready.push(i); });
  for (let at = 0; at < ready.length; at++) {
    for (const to of out[ready[at]]) {
      layer[to] = Math.max(layer[to], layer[ready[at]] + 1);
      if (--missing[to] === 0) ready.push(to);
    }
  }
  // An edge over several layers has a place of its own in those between.
  const rows = [], thin = [];
  parts.forEach((_, i) => { if (shown[i]) (rows[layer[i]] ??= []).push(i); });
  for (const edge of edges) {
    edge.by = [];
    let last = edge.from;
    if (!shown[edge.from] || !shown[edge.to]) continue;
    for (let at = layer[edge.from] + 1; at < layer[edge.to]; at++) {
      const id = parts.length + thin.length;
      thin.push(id); into[id] = [last]; out[id] = []; out[last] = [...out[last], id]; rows[at].push(id); edge.by.push(id);
      last = id;
    }
    if (edge.by.length) { into[edge.to] = [...into[edge.to], last]; out[last] = [...out[last], edge.to]; }
  }
  const order = [];
  rows.forEach((row) => row.forEach((i, at) => { order[i] = at / row.length; }));
  for (let pass = 0; pass < 8; pass++) {
    const near = pass % 2 ? out : into;
    for (const row of pass % 2 ? [...rows].reverse() : rows) {
      const middle = (i) => near[i].length ? near[i].reduce((sum, j) => sum + order[j], 0) / near[i].length : order[i];
      const wish = new Map(row.map((i) => [i, middle(i)]));
      row.sort((a, b) => wish.get(a) - wish.get(b) || a - b);
      row.forEach((i, at) => { order[i] = (at + 0.5) / row.length; });
    }
  }
  const across = upright ? WIDE : HIGH, along = upright ? HIGH : WIDE, gap = upright ? 40 : ALONG;
  const room = (i) => (i < parts.length ? across + ASIDE : THIN), length = (row) => row.reduce((sum, i) => sum + room(i), 0);
  const size = Math.max(...rows.map(length), 1), spots = [];
  rows.forEach((row, number) => {
    const a = 12 + number * (along + gap);
    let b = 8 + (size - length(row)) / 2;
    for (const i of row) {
      const middle = i < parts.length ? b : b + THIN / 2;
      spots[i] = upright ? { x: middle, y: a } : { x: a, y: middle };
      b += room(i);
    }
  });
  // A job that is starting has told of no parts yet.
  const long = 24 + Math.max(rows.length, 1) * (along + gap) - gap;
  kept = { key, edges, spots, width: upright ? size + 8 : long, height: upright ? long : size + 8 };
  return kept;
}

const cut = (text, most) => { const all = [...safe(text)]; return all.length > most ? all.slice(0, most - 1).join('') + '…' : all.join(''); };

/** Draws it. `facts(i)`: rows a second, share of work, and so on. */
export function draw(view, facts, link) {
  const upright = matchMedia('(max-width: 720px)').matches;
  const { parts } = view.graph, { edges, spots, width, height } = layout(parts, upright);
  const most = Math.max(1, ...parts.map((_, i) => facts(i).rate));
  const hot = view.diagnosis.bottleneck?.part, held = view.diagnosis.keeps_up === false;
  const line = ({ from, to, side, by }) => {
    const a = spots[from], b = spots[to];
    if (!a || !b) return null;
    // Points along the way: out of one, through the layers between, into the other.
    const points = [upright ? [a.x + WIDE / 2, a.y + HIGH] : [a.x + WIDE, a.y + HIGH / 2]];
    for (const id of by) points.push(...(upright ? [[spots[id].x, spots[id].y], [spots[id].x, spots[id].y + HIGH]] : [[spots[id].x, spots[id].y], [spots[id].x + WIDE, spots[id].y]]));
    points.push(upright ? [b.x + WIDE / 2, b.y] : [b.x, b.y + HIGH / 2]);
    const step = ([x, y], [u, v]) => upright ? `C${x} ${(y + v) / 2} ${u} ${(y + v) / 2} ${u} ${v}` : `C${(x + u) / 2} ${y} ${(x + u) / 2} ${v} ${u} ${v}`;
    const path = `M${points[0].join(' ')}` + points.slice(1).map((point, at) => step(points[at], point)).join('');
    const thick = side ? 1.3 : 1.3 + 5 * Math.sqrt(facts(from).rate / most);
    const stuck = held && parts[to].name === hot;
    return s('path', { d: path, class: 'edge' + (side ? ' side' : '') + (stuck ? ' held' : ''), 'stroke-width': thick.toFixed(1) },
      s('title', {}, `${safe(parts[from].name)} → ${safe(parts[to].name)}: ${short(facts(from).rate)} rows a second`));
  };
  const node = (part, i) => {
    const at = spots[i];
    if (!at) return null;
    const told = facts(i), is = part.name === hot && told.busy >= 0.25;
    const text = (x, y, kind, words) => s('text', { x, y, class: kind }, words);
    let more = part.role === 'sink' ? '' : told.state ? `state ${bytes(told.state)}` : '';
    if (part.role === 'source') more = told.behind !== null ? `${short(told.behind)} behind` : `inbox ${percent(told.fill)}`;
    if (told.rejected) more = `${short(told.rejected)} rejected`;
    if (told.lag !== null) more = `watermark −${told.lag}`;
    const label = `${part.role} ${safe(part.name)}, ${part.kind}: ${short(told.rate)} rows a second, at work ${percent(told.busy)}${is ? '; the bottleneck' : ''}`;
    return s('a', { href: link(part), class: `node ${part.role}${is ? ' hot' : ''}`, transform: `translate(${at.x},${at.y})` },
      s('title', {}, label),
      s('rect', { class: 'box', width: WIDE, height: HIGH, rx: 9 }), s('rect', { class: 'role', x: 0, y: 12, width: 3.5, height: HIGH - 24, rx: 1.7 }),
      text(13, 21, 'name', cut(part.name, 20)), text(13, 38, 'kind', cut(part.kind, 12)),
      s('text', { x: WIDE - 12, y: 38, class: 'facts', 'text-anchor': 'end' }, short(told.rate) + '/s'),
      text(13, 55, is ? 'facts why' : 'facts', is ? `bottleneck: ${percent(told.busy)} busy` : more),
      s('rect', { class: 'track', x: 13, y: 62, width: WIDE - 26, height: 4, rx: 2 }),
      s('rect', { class: 'busy', x: 13, y: 62, width: ((WIDE - 26) * Math.min(told.busy, 1)).toFixed(1), height: 4, rx: 2 }));
  };
  // A little too wide is made narrower; much too wide is scrolled.
  const space = (document.getElementById('content')?.clientWidth ?? width) - 44, scale = width > space && width < space * 1.3 ? space / width : 1;
  return s('svg', { width: width * scale, height: height * scale, viewBox: `0 0 ${width} ${height}`, role: 'group', 'aria-label': 'The graph of the job' }, edges.map(line), parts.map(node));
}
