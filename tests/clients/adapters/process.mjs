// A client in another language: a process that is driven by lines of JSON. A request is { id, do, params },
// and its answer { id, result } or { id, error }. An instant is { $date: ms }.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

const children = new Set();
process.once('exit', () => children.forEach((child) => child.kill('SIGKILL')));

export async function connectProcess(command, args) {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  children.add(child);
  const waiting = new Map();
  let last = 0;
  let errors = '';
  child.on('error', (error) => (errors += error));
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
    for (const { reject } of waiting.values()) reject(new Error(`${command} ended with ${code}: ${errors}`));
    waiting.clear();
    if (code !== 0 || errors) throw new Error(`${command} ended with ${code}: ${errors}`);
  });
  ended.catch(() => {});

  const ask = (what, ...params) =>
    new Promise((resolve, reject) => {
      const id = (last += 1);
      waiting.set(id, { resolve, reject });
      child.stdin.write(`${JSON.stringify({ id, do: what, params })}\n`);
    });

  try {
    await ask('connect');
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
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
    login: (name, password) => ask('login', name, password),
    logout: () => ask('logout'),
    async close(code = null) {
      await ask('close', code);
      child.stdin.end();
      await ended;
    },
  };
}
