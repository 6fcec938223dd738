// PyPI python-meteor, in a process of its own that python/client.py drives.
//
// PYTHON  the interpreter of an environment with python/requirements.txt

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const PROGRAM = fileURLToPath(new URL('../python/client.py', import.meta.url));

const children = new Set();
process.once('exit', () => children.forEach((child) => child.kill('SIGKILL')));

export async function connect(server) {
  const python = process.env.PYTHON;
  if (!python) throw new Error('PYTHON is not set: it must have python/requirements.txt (./tests/run clients sets it)');
  const child = spawn(python, ['-u', PROGRAM, server.websocketUrl], { stdio: ['pipe', 'pipe', 'pipe'] });
  children.add(child);
  const waiting = new Map();
  let last = 0;
  let errors = '';
  child.stdin.on('error', () => {}); // The process has ended, which 'close' tells.
  child.stderr.setEncoding('utf8').on('data', (text) => (errors += text));
  createInterface({ input: child.stdout }).on('line', (line) => {
    const { id, error, result } = JSON.parse(line);
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error) reject(Object.assign(new Error(error.message), error));
    else resolve(result);
  });
  const ended = once(child, 'close').then(([code]) => {
    children.delete(child);
    for (const { reject } of waiting.values()) reject(new Error(`python ended with ${code}: ${errors}`));
    waiting.clear();
    if (errors) throw new Error(`python complained: ${errors}`);
  });
  ended.catch(() => {});

  const ask = (what, ...params) =>
    new Promise((resolve, reject) => {
      const id = (last += 1);
      waiting.set(id, { resolve, reject });
      child.stdin.write(`${JSON.stringify({ id, do: what, params })}\n`);
    });

  await ask('connect');
  return {
    async subscribe(name, ...params) {
      await ask('subscribe', name, params);
      return { stop: () => ask('unsubscribe', name) };
    },
    async docs(collection) {
      const documents = await ask('docs', collection);
      return new Map(documents.map((document) => [document._id, document]));
    },
    date: (ms) => ({ $date: ms }),
    call: (name, ...params) => ask('call', name, params),
    connected: () => ask('connected'),
    async close(code = null) {
      await ask('close', code);
      child.stdin.end();
      await ended;
    },
  };
}
