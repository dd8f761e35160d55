// Creates elements from names and text only: data of a job, row or plugin is never parsed as markup.
const SVG = 'http://www.w3.org/2000/svg';
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** Makes text safe to show: invisible characters, and those that change the direction of adjacent text, are escaped. */
export function safe(text) {
  return String(text ?? '').replace(HIDDEN, (c) => '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0'));
}

function make(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === false || value === null || value === undefined) continue;
    if (name === 'on') Object.entries(value).forEach(([event, call]) => { element['on' + event] = call; });
    else if (name === 'value') element.value = value;
    // The content is drawn by a function, into the element that is shown.
    else if (name === 'live') element.live = value;
    else element.setAttribute(name, value === true ? '' : safe(value));
  }
  // Scrollable elements must be reachable by keyboard.
  if (element.classList.contains('scroll')) element.tabIndex = 0;
  element.append(...children.flat(9).filter((c) => c !== null && c !== undefined && c !== false).map((c) => c instanceof Node ? c : safe(c)));
  return element;
}
export const h = (tag, attributes, ...children) => make(document.createElement(tag), attributes, children);
export const s = (tag, attributes, ...children) => make(document.createElementNS(SVG, tag), attributes, children);
/** Isolates an external name, so that it does not change the direction of the surrounding text. */
export const name = (text) => h('bdi', {}, text);

/** Formats a sentence. Text in backquotes is a name. */
export const sentence = (text) => String(text ?? '').split('`').map((part, at) => at % 2 ? h('code', {}, name(part)) : part);

const CALLS = ['onclick', 'onsubmit', 'oninput', 'onkeydown'];

/** Changes `old` to match `next`, without touching equal parts: this avoids flicker, and keeps input and selection. */
export function morph(old, next) {
  if (old.nodeType !== next.nodeType || old.nodeName !== next.nodeName || old.id !== next.id) {
    old.replaceWith(next);
    next.live?.(next);
    return;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== next.data) old.data = next.data;
    return;
  }
  for (const { name } of [...old.attributes]) if (!next.hasAttribute(name) && name !== 'open') old.removeAttribute(name);
  for (const { name, value } of next.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  CALLS.forEach((call) => { if (old[call] !== next[call]) old[call] = next[call]; });
  if (next.live) next.live(old); else children(old, [...next.childNodes]);
}

/** Does the same for the children of an element. */
export function children(element, next) {
  next.forEach((child, index) => {
    const existing = element.childNodes[index];
    if (existing) morph(existing, child); else { element.append(child); child.live?.(child); }
  });
  while (element.childNodes.length > next.length) element.lastChild.remove();
}
