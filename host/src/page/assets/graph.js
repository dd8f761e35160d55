// Draws the graph of a job: each part is downstream of its inputs.
import { s, safe } from './dom.js';
import { bytes, percent, short } from './words.js';

const WIDE = 170, HIGH = 74, ALONG = 44, ASIDE = 18, THIN = 22;
/** The share of the window's height for the graph, as in page.css. */
const SHOWN = 0.72;
const SHADES = [0.15, 0.32, 0.49, 0.66, 0.83, 1];
let kept = { key: null };

/** Returns the positions of parts. They are computed once, and cached until the graph changes. */
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
  // An edge over several layers has its own position in the layers between.
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
      const target = new Map(row.map((i) => [i, middle(i)]));
      row.sort((a, b) => target.get(a) - target.get(b) || a - b);
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
  // A starting job has not reported its parts yet.
  const long = 24 + Math.max(rows.length, 1) * (along + gap) - gap;
  kept = { key, edges, spots, upright, width: upright ? size + 8 : long, height: upright ? long : size + 8 };
  return kept;
}

const cut = (text, max) => { const all = [...safe(text)]; return all.length > max ? all.slice(0, max - 1).join('') + '…' : all.join(''); };

const set = (element, name, value) => { if (element.getAttribute(name) !== value) element.setAttribute(name, value); };
const put = (element, x, y) => { element.setAttribute('x', x); element.setAttribute('y', y); };
const text = (kind, more) => s('text', { class: kind, ...more }, ' ');
/** Returns a function that sets the text of an element if it has changed. */
const writer = (element) => { let last = ' '; return (words) => { if (words !== last) element.firstChild.data = last = words; }; };
let pattern = null;

/**
 * Creates one part, whose numbers `update` sets. Elements are cloned once, as creating those of a large job takes most of a second. Each
 * has absolute coordinates, since a transform per element costs a browser much memory.
 */
function node(part, at, link) {
  pattern ??= s('a', {}, s('title', {}, ' '), s('rect', { class: 'box', width: WIDE, height: HIGH, rx: 9 }), text('name'), text('kind'), text('facts', { 'text-anchor': 'end' }), text('facts'));
  const element = pattern.cloneNode(true), [title, box, ...texts] = element.childNodes;
  element.setAttribute('href', safe(link(part)));
  put(box, at.x, at.y);
  [[13, 21], [13, 38], [WIDE - 12, 38], [13, 55]].forEach(([x, y], i) => put(texts[i], at.x + x, at.y + y));
  const [called, named, kind, rate, facts] = [title, ...texts].map(writer), own = safe(part.name);
  named(cut(part.name, 20)); kind(cut(part.kind, 12));
  const update = (values, is) => {
    let more = part.role === 'sink' ? '' : values.state ? `state ${bytes(values.state)}` : '';
    if (part.role === 'source') more = values.behind !== null ? `lag ${short(values.behind)}` : `inbox ${percent(values.fill)}`;
    if (values.rejected) more = `${short(values.rejected)} rejected`;
    if (values.lag !== null) more = `watermark −${values.lag}`;
    called(`${part.role} ${own}, ${safe(part.kind)}: ${short(values.rate)} rows/s, busy ${percent(values.busy)}${is ? '; the bottleneck' : ''}`);
    rate(short(values.rate) + '/s');
    facts(is ? `bottleneck: ${percent(values.busy)} busy` : more);
    set(texts[3], 'class', is ? 'facts why' : 'facts');
    set(element, 'class', is ? 'node hot' : 'node');
  };
  return { element, update };
}

/** Decorations of all parts are drawn by one element per kind: the signs of their roles, and their busy bars. */
const SIGNS = ['role source', 'role stage', 'role sink', 'track', 'busy', 'busy hot'];
const bar = ({ x, y }, width) => `M${x + 15} ${y + 64}h${width.toFixed(1)}`;
const strip = ({ x, y }) => `M${x + 1.75} ${y + 13.75}v${HIGH - 27.5}`;

/** Creates an edge from one part to another. */
function line({ from, to, side, by }, parts, spots, upright) {
  const a = spots[from], b = spots[to];
  if (!a || !b) return null;
  // Points along the path: from one part, through the layers between, to the other.
  const points = [upright ? [a.x + WIDE / 2, a.y + HIGH] : [a.x + WIDE, a.y + HIGH / 2]];
  for (const id of by) points.push(...(upright ? [[spots[id].x, spots[id].y], [spots[id].x, spots[id].y + HIGH]] : [[spots[id].x, spots[id].y], [spots[id].x + WIDE, spots[id].y]]));
  points.push(upright ? [b.x + WIDE / 2, b.y] : [b.x, b.y + HIGH / 2]);
  const step = ([x, y], [u, v]) => upright ? `C${x} ${(y + v) / 2} ${u} ${(y + v) / 2} ${u} ${v}` : `C${(x + u) / 2} ${y} ${(x + u) / 2} ${v} ${u} ${v}`;
  const title = s('title', {}, ' '), element = s('path', { d: `M${points[0].join(' ')}` + points.slice(1).map((point, at) => step(points[at], point)).join('') }, title);
  const names = `${safe(parts[from].name)} → ${safe(parts[to].name)}`, called = writer(title);
  const update = (values, max, stuck) => {
    set(element, 'class', 'edge' + (side ? ' side' : '') + (stuck ? ' held' : ''));
    set(element, 'stroke-width', (side ? 1.3 : 1.3 + 5 * Math.sqrt(values.rate / max)).toFixed(1));
    called(`${names}: ${short(values.rate)} rows/s`);
  };
  return { element, update, from, to };
}

/**
 * Draws the graph into an element. `facts(i)`: rows/s, busy share, and so on. `room`: the size of the window, measured before any change, as
 * measuring forces a new layout. `whole`: also draws parts that are not visible, which a new page omits.
 */
export function draw(element, view, facts, link, room, whole) {
  const { parts } = view.graph, found = layout(parts, room.upright), { edges, spots, width, height, upright } = found;
  const hot = view.diagnosis.bottleneck?.part, held = view.diagnosis.keeps_up === false;
  // A slightly too wide graph is scaled down. A much wider one scrolls.
  const scale = width > room.width && width < room.width * 1.3 ? room.width / width : 1;
  if (element.drawn?.found !== found) {
    const svg = s('svg', { viewBox: `0 0 ${width} ${height}`, width: width * scale, height: height * scale, role: 'group', 'aria-label': 'Graph of the job' });
    // Show the bottleneck first, or else the sources.
    const first = spots[Math.max(held ? parts.findIndex((part) => part.name === hot) : 0, 0)], high = Math.min(height * scale, room.height * SHOWN);
    const within = (want, all, seen) => Math.max(Math.min(want, all - seen), 0);
    const at = first && scale === 1 ? { left: within(first.x - (room.width - WIDE) / 2, width, room.width), top: within(first.y - (high - HIGH) / 2, height, high) } : { left: 0, top: 0 };
    element.replaceChildren(svg);
    element.drawn = { found, nodes: [], lines: [], signs: SIGNS.map((kind) => s('path', { class: kind })), svg, at };
    // After all other changes: scrolling forces a layout.
    if (at.left || at.top) queueMicrotask(() => element.scrollTo(at));
  }
  const { drawn } = element, { nodes, lines, signs, svg, at } = drawn;
  const seen = ({ x, y } = {}) => whole || (x > at.left - WIDE && x < at.left + room.width && y > at.top - HIGH && y < at.top + room.height);
  if (!drawn.whole) {
    parts.forEach((part, i) => { if (spots[i] && seen(spots[i])) nodes[i] ??= node(part, spots[i], link); });
    edges.forEach((edge, i) => { if (seen(spots[edge.from]) || seen(spots[edge.to])) lines[i] ??= line(edge, parts, spots, upright); });
    // In order, as for keyboard navigation.
    svg.replaceChildren(...[...lines, ...nodes].filter(Boolean).map((one) => one.element), ...signs);
    drawn.whole = whole;
    const drawnSpots = spots.slice(0, parts.length).filter((spot, i) => nodes[i]);
    ['source', 'stage', 'sink'].forEach((role, i) => set(signs[i], 'd', spots.filter((_, i) => nodes[i] && parts[i].role === role).map(strip).join('')));
    set(signs[3], 'd', drawnSpots.map((spot) => bar(spot, WIDE - 30)).join(''));
  }
  const max = parts.reduce((max, _, i) => Math.max(max, facts(i).rate), 1), work = ['', ''];
  lines.forEach((one) => one?.update(facts(one.from), max, held && parts[one.to].name === hot));
  nodes.forEach((one, i) => {
    const values = facts(i), is = parts[i].name === hot && values.busy >= 0.25, width = (WIDE - 30) * Math.min(values.busy, 1);
    one.update(values, is);
    if (width >= 0.05) work[is ? 1 : 0] += bar(spots[i], width);
  });
  work.forEach((d, i) => set(signs[4 + i], 'd', d));
  set(svg, 'width', String(width * scale)); set(svg, 'height', String(height * scale));
}

/** Draws an outline of a graph that is much larger than the window. It shows busy parts, and scrolls to a clicked position. */
export function outline(element, view, facts, room) {
  const { parts } = view.graph, found = layout(parts, room.upright), { spots, width, height } = found;
  const small = width < room.width * 1.3 && height < room.height;
  element.hidden = small;
  if (small) return element.replaceChildren();
  if (element.drawn?.found !== found) {
    // Parts with about the same busy share are one element.
    const boxes = SHADES.map((shade) => s('path', { class: 'part', 'fill-opacity': shade })).concat(s('path', { class: 'hot' }));
    const go = (event) => {
      const graph = document.querySelector('.graph'), area = svg.getBoundingClientRect(), drawn = graph.firstChild.getBoundingClientRect();
      graph.scrollTo({ left: (event.clientX - area.left) / area.width * drawn.width - graph.clientWidth / 2, top: (event.clientY - area.top) / area.height * drawn.height - graph.clientHeight / 2 });
    };
    const svg = s('svg', { viewBox: `0 0 ${width} ${height}`, 'aria-hidden': 'true', on: { click: go } }, boxes);
    element.replaceChildren(svg);
    element.drawn = { found, boxes };
  }
  const hot = view.diagnosis.bottleneck?.part, paths = element.drawn.boxes.map(() => '');
  parts.forEach((part, i) => {
    if (!spots[i]) return;
    const busy = facts(i).busy, is = part.name === hot && busy >= 0.25, { x, y } = spots[i];
    paths[is ? SHADES.length : Math.round(Math.min(busy, 1) * (SHADES.length - 1))] += `M${x} ${y}h${WIDE}v${HIGH}h${-WIDE}z`;
  });
  element.drawn.boxes.forEach((box, i) => set(box, 'd', paths[i]));
}
