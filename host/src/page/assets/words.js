// Formats numbers and times for people.
const units = (value, steps, last) => {
  for (const [below, by, unit] of steps) if (value < below) return round(value / by) + unit;
  return round(value / last[0]) + last[1];
};
// Written by hand: creating the browser's own formats takes tens of milliseconds.
const whole = (value) => String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ',');
const two = (value) => String(value).padStart(2, '0');
const round = (value) => value >= 100 || Number.isInteger(value) ? whole(value) : value >= 10 ? value.toFixed(1) : value.toFixed(2).replace(/0$/, '');

export const number = (value) => whole(value ?? 0);
export const short = (value) => units(value ?? 0, [[10000, 1, ''], [1e6, 1e3, ' k'], [1e9, 1e6, ' M']], [1e9, ' G']);
export const bytes = (value) => units(value ?? 0, [[1024, 1, ' B'], [2 ** 20, 2 ** 10, ' KiB'], [2 ** 30, 2 ** 20, ' MiB']], [2 ** 30, ' GiB']);
/** Formats microseconds. */
export const time = (us) => units(Math.max(us ?? 0, 0), [[1e3, 1, ' µs'], [1e6, 1e3, ' ms'], [12e7, 1e6, ' s'], [72e8, 6e7, ' min'], [1728e8, 36e8, ' h']], [864e8, ' days']);
export const clock = (us) => { const at = new Date(us / 1000); return [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(':'); };
export const date = (us) => { const at = new Date(us / 1000); return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${clock(us)}`; };
export const percent = (share) => Math.round(Math.min(Math.max(share || 0, 0), 1) * 100) + ' %';
export const plural = (count, word, more = word + 's') => `${number(count)} ${count === 1 ? word : more}`;
