// Makes the table of clients in a README.md from what the tests have noted (interop.mjs).
//
//   node table.mjs <folder of notes> <README.md>           fails if the README says something else
//   node table.mjs <folder of notes> <README.md> --update  writes the table into it

import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';

const BEGIN = '<!-- interop: written by `./tests/run clients --update` -->';
const END = '<!-- /interop -->';

/** Without regard to case or locale: the same on every machine. */
const order = (a, b) => {
  const [first, second] = [a.toLowerCase(), b.toLowerCase()];
  return first < second ? -1 : first > second ? 1 : 0;
};

const unique = (values) => [...new Set(values)].sort(order);

/** Joins the rows that differ in this column only, and gives them all that the column says. */
function join(rows, column) {
  const groups = new Map();
  for (const row of rows) {
    const key = JSON.stringify({ ...row, [column]: [] });
    const group = groups.get(key) ?? { ...row, [column]: [] };
    groups.set(key, { ...group, [column]: unique([...group[column], ...row[column]]) });
  }
  return [...groups.values()];
}

function table(notes) {
  const rows = notes.map(({ client, version, runtime, transport, exercised }) => ({
    clients: [`${client} ${version}`],
    runtime,
    transports: [transport],
    exercised: [exercised],
  }));
  const joined = ['exercised', 'transports', 'clients'].reduce(join, rows);
  const lines = joined.map(({ clients, runtime, transports, exercised }) => {
    const over = transports.join(', ').replaceAll(', SockJS ', ', ');
    return `| ${clients.join(', ')} | ${runtime} | ${over} | ${exercised.join(', ')} |`;
  });
  return ['| clients | in | over | exercised |', '|---|---|---|---|', ...lines.sort(order)].join('\n');
}

/** All notes of a folder, which has a file for each process that made any. */
function read(folder) {
  const texts = readdirSync(folder).map((name) => readFileSync(resolve(folder, name), 'utf8'));
  return texts.flatMap((text) => text.split('\n').filter(Boolean).map((line) => JSON.parse(line)));
}

function main([folder, readme, flag]) {
  const notes = read(folder);
  const text = readFileSync(readme, 'utf8');
  const [begin, end] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`${readme} has no section between ${BEGIN} and ${END}`);
  const made = table(notes);
  const there = text.slice(begin + BEGIN.length, end).trim();
  if (made === there) return console.log(`${readme} says what ${notes.length} notes say`);
  if (flag === '--update') {
    writeFileSync(readme, `${text.slice(0, begin)}${BEGIN}\n${made}\n${text.slice(end)}`);
    return console.log(`${readme} has a new table of clients`);
  }
  const [before, after] = [there.split('\n'), made.split('\n')];
  for (const line of before) if (!after.includes(line)) console.error(`- ${line}`);
  for (const line of after) if (!before.includes(line)) console.error(`+ ${line}`);
  console.error(`The table of clients in ${readme} is not what the tests have just seen.`);
  console.error('Write it anew with ./tests/run clients --update');
  process.exitCode = 1;
}

main(process.argv.slice(2));
