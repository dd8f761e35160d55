/** Times as access logs have them. */

import type { Timestamp } from "millstream-sdk";

const TIME = /^(\d\d)\/([A-Z][a-z][a-z])\/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)$/;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** The last time: lines of the same second follow each other. */
let last: { readonly text: string; readonly time: Timestamp | null } = { text: "", time: null };

/** The point in time of `10/Oct/2000:13:55:36 -0700`; `null` if it is invalid. */
export function parseTime(text: string): Timestamp | null {
  if (text !== last.text) last = { text, time: parse(text) };
  return last.time;
}

function parse(text: string): Timestamp | null {
  const parts = TIME.exec(text);
  if (parts === null) return null;
  const month = MONTHS.indexOf(parts[2]!);
  const [day, year, hour, minute, second, zoneHours, zoneMinutes] = [1, 3, 4, 5, 6, 8, 9].map((i) => Number(parts[i]));
  const date = new Date(0);
  date.setUTCFullYear(year!, month, day);
  date.setUTCHours(hour!, minute, second);
  // `Date` turns a day or an hour that does not exist into one that does.
  const isReal = date.getUTCMonth() === month && date.getUTCHours() === hour && minute! < 60 && second! < 60;
  if (!isReal || zoneHours! > 14 || zoneMinutes! > 59) return null;
  const zone = (zoneHours! * 60 + zoneMinutes!) * (parts[7] === "-" ? -1 : 1);
  return (BigInt(date.getTime()) - BigInt(zone) * 60_000n) * 1000n;
}
