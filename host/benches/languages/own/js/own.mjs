// The benchmark functions in Node. See languages/README.md.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const split = (line) => line.value.split(" ").map((word) => ({ word }));
const scaled = (pair) => ({ out: pair.a * 2.5 + pair.b });

function total(payments, old) {
  let total = old?.total ?? 0n;
  for (const payment of payments) total += payment.amount;
  return { total };
}

// Each entry returns the function to measure, whose output is kept until the next call.
const works = {
  split: {
    rows(lines) {
      const rows = lines.map((value) => ({ value }));
      return () => {
        const out = [];
        for (const row of rows) for (const word of split(row)) out.push(word);
        return out;
      };
    },
    columns(lines) {
      return () => {
        const out = [];
        for (const line of lines) for (const word of line.split(" ")) out.push(word);
        return out;
      };
    },
  },
  numeric: {
    rows(lines) {
      const rows = lines.map((line) => {
        const [a, b] = line.split(" ").map(Number);
        return { a, b };
      });
      return () => rows.map(scaled);
    },
    columns(lines) {
      const a = Float64Array.from(lines, (line) => Number(line.split(" ")[0]));
      const b = Float64Array.from(lines, (line) => Number(line.split(" ")[1]));
      return () => {
        const out = new Float64Array(a.length);
        for (let i = 0; i < a.length; i++) out[i] = a[i] * 2.5 + b[i];
        return out;
      };
    },
  },
  total: {
    rows(lines) {
      const groups = lines.map((line) => {
        const [key, old, ...amounts] = line.split(" ");
        return { key, old: { total: BigInt(old) }, payments: amounts.map((amount) => ({ amount: BigInt(amount) })) };
      });
      return () => {
        const [out, states] = [[], []];
        for (const { key, old, payments } of groups) {
          const state = total(payments, old);
          states.push(state);
          out.push({ key, total: state.total });
        }
        return out;
      };
    },
    columns(lines) {
      const fields = lines.map((line) => line.split(" "));
      const keys = fields.map(([key]) => key);
      const olds = BigInt64Array.from(fields, ([, old]) => BigInt(old));
      const amounts = BigInt64Array.from(fields.flatMap(([, , ...amounts]) => amounts.map(BigInt)));
      let end = 0;
      const ends = Uint32Array.from(fields, ([, , ...amounts]) => (end += amounts.length));
      return () => {
        const totals = new BigInt64Array(olds.length);
        let row = 0;
        for (let group = 0; group < totals.length; group++) {
          let total = olds[group];
          for (; row < ends[group]; row++) total += amounts[row];
          totals[group] = total;
        }
        return keys.map((key, group) => ({ key, total: totals[group] }));
      };
    },
  },
};

// The number of a row that the check sums.
const number = (row) => Number(row.word?.length ?? row.out ?? row.total ?? row.length ?? row);

const [work, style, path, rows] = process.argv.slice(2);
const run = works[work][style](readFileSync(path, "utf8").trimEnd().split("\n"));
let kept;
for await (const command of createInterface({ input: process.stdin })) {
  if (command === "check") {
    const output = Array.from(run());
    console.log(output.length, output.reduce((sum, row, i) => sum + number(row) * (i % 1000), 0));
    continue;
  }
  const calls = Number(command);
  const start = process.hrtime.bigint();
  for (let call = 0; call < calls; call++) kept = run();
  console.log(Number(process.hrtime.bigint() - start) / calls / Number(rows));
}
