// Numbers and times as people read them.
const units = (value, steps, last) => {
  for (const [below, by, unit] of steps) if (value < below) return round(value / by) + unit;
  return round(value / last[0]) + last[1];
};
const round = (value) => value >= 100 || Number.isInteger(value) ? Math.round(value).toLocaleString('en') : value >= 10 ? value.toFixed(1) : value.toFixed(2).replace(/0$/, '');

export const number = (value) => Math.round(value ?? 0).toLocaleString('en');
export const short = (value) => units(value ?? 0, [[10000, 1, ''], [1e6, 1e3, ' k'], [1e9, 1e6, ' M']], [1e9, ' G']);
export const bytes = (value) => units(value ?? 0, [[1024, 1, ' B'], [2 ** 20, 2 ** 10, ' KiB'], [2 ** 30, 2 ** 20, ' MiB']], [2 ** 30, ' GiB']);
/** From microseconds. */
export const time = (us) => units(Math.max(us ?? 0, 0), [[1e3, 1, ' µs'], [1e6, 1e3, ' ms'], [12e7, 1e6, ' s'], [72e8, 6e7, ' min'], [1728e8, 36e8, ' h']], [864e8, ' days']);
export const clock = (us) => new Date(us / 1000).toLocaleTimeString('en-GB');
export const date = (us) => new Date(us / 1000).toLocaleString('en-GB');
export const percent = (share) => Math.round(Math.min(Math.max(share || 0, 0), 1) * 100) + ' %';
export const plural = (count, word, more = word + 's') => `${number(count)} ${count === 1 ? word : more}`;
