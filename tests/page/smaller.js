// Reduces the size of a screenshot: a browser writes PNG files fast and with all colors, but pages have few.
import { crc32 as crcOf, deflateSync, inflateSync } from 'node:zlib';

const SIGN = Buffer.from('89504e470d0a1a0a', 'hex'), COLOURS = 128;

/** Returns the pixels of a browser's PNG: 8 bits per channel, not interlaced; red, green, blue, and optional alpha. */
function pixels(png) {
  const header = png.subarray(16, 29), wide = header.readUInt32BE(0), high = header.readUInt32BE(4), channels = { 2: 3, 6: 4 }[header[9]];
  if (header[8] !== 8 || !channels || header[12]) throw new Error('no picture of the kind that the browser makes');
  const data = [];
  for (let at = 8; at < png.length; at += 12 + png.readUInt32BE(at)) {
    if (png.toString('latin1', at + 4, at + 8) === 'IDAT') data.push(png.subarray(at + 8, at + 8 + png.readUInt32BE(at)));
  }
  const raw = inflateSync(Buffer.concat(data)), line = wide * channels, all = Buffer.alloc(high * line);
  for (let y = 0; y < high; y++) {
    const filter = raw[y * (line + 1)];
    for (let x = 0; x < line; x++) {
      const here = y * line + x, a = x >= channels ? all[here - channels] : 0, b = y ? all[here - line] : 0, c = y && x >= channels ? all[here - line - channels] : 0;
      const p = a + b - c, [pa, pb, pc] = [Math.abs(p - a), Math.abs(p - b), Math.abs(p - c)];
      const guess = [0, a, b, (a + b) >> 1, pa <= pb && pa <= pc ? a : pb <= pc ? b : c][filter];
      all[here] = raw[y * (line + 1) + 1 + x] + guess;
    }
  }
  return { wide, high, channels, all };
}

function chunk(name, data) {
  const body = Buffer.concat([Buffer.from(name, 'latin1'), data]), out = Buffer.alloc(body.length + 8);
  out.writeUInt32BE(data.length, 0);
  body.copy(out, 4);
  out.writeUInt32BE(crcOf(body), body.length + 4);
  return out;
}

/** Returns the picture with its most frequent colors. Other colors become the nearest of them. */
export function smaller(png) {
  const { wide, high, channels, all } = pixels(png), counts = new Map();
  const colour = (i) => all[i * channels] << 16 | all[i * channels + 1] << 8 | all[i * channels + 2];
  for (let i = 0; i < wide * high; i++) counts.set(colour(i), (counts.get(colour(i)) ?? 0) + 1);
  const kept = [...counts].sort((a, b) => b[1] - a[1]).slice(0, COLOURS).map(([value]) => value), places = new Map();
  const far = (a, b) => [16, 8, 0].reduce((sum, by) => sum + ((a >> by & 255) - (b >> by & 255)) ** 2, 0);
  for (const value of counts.keys()) places.set(value, kept.reduce((best, other, at) => far(value, other) < far(value, kept[best]) ? at : best, 0));
  const lines = Buffer.alloc(high * (wide + 1)), header = Buffer.alloc(13), palette = Buffer.alloc(kept.length * 3);
  for (let i = 0; i < wide * high; i++) lines[Math.floor(i / wide) * (wide + 1) + 1 + i % wide] = places.get(colour(i));
  kept.forEach((value, at) => palette.writeUIntBE(value, at * 3, 3));
  header.writeUInt32BE(wide, 0);
  header.writeUInt32BE(high, 4);
  header.set([8, 3, 0, 0, 0], 8);
  return Buffer.concat([SIGN, chunk('IHDR', header), chunk('PLTE', palette), chunk('IDAT', deflateSync(lines, { level: 9 })), chunk('IEND', Buffer.alloc(0))]);
}
