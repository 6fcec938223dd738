// sockjs-client against sockjs-echo, over every transport that it has in Node.
//
// SOCKJS_ECHO_BIN  the sockjs-echo binary

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';

import SockJS from 'sockjs-client';

import { DEADLINE_MS } from './server.mjs';

let child;
let url;

before(async () => {
  const binary = process.env.SOCKJS_ECHO_BIN;
  if (!binary) throw new Error('SOCKJS_ECHO_BIN is not set: it must be the path of the sockjs-echo binary');
  child = spawn(binary, [], { env: { ...process.env, PORT: '0', BIND: '127.0.0.1' }, stdio: ['ignore', 'pipe', 'inherit'] });
  process.once('exit', () => child.kill('SIGKILL'));
  const [line] = await once(createInterface({ input: child.stdout }), 'line');
  [url] = line.match(/http:\S+/);
});

after(() => child?.kill('SIGKILL'));

const opened = (socket) =>
  new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onclose = (event) => reject(new Error(`closed with ${event.code} ${event.reason}`));
  });

/** Characters that browsers and proxies are known to change, and everything that frames give a meaning. */
const TEXTS = ['', 'plain', '"\\\n\r\t\0', '</script> 100% a+b&c=d', '\u200c\u2028\ufff0', 'h\u00e9llo \u{1f600}', 'x'.repeat(100_000)];

for (const transport of ['websocket', 'xhr-streaming', 'xhr-polling', 'eventsource']) {
  test(`${transport}: messages come back in order`, { timeout: DEADLINE_MS }, async () => {
    const socket = new SockJS(`${url}/echo`, null, { transports: [transport] });
    await opened(socket);
    assert.equal(socket.transport, transport);
    const expected = [...TEXTS, ...Array.from({ length: 500 }, (_, number) => `message ${number}`)];
    const heard = [];
    const done = new Promise((resolve, reject) => {
      socket.onclose = (event) => reject(new Error(`closed with ${event.code} ${event.reason}`));
      socket.onmessage = (event) => {
        heard.push(event.data);
        if (heard.length === expected.length) resolve();
      };
    });
    for (const text of expected) socket.send(text);
    await done;
    assert.deepEqual(heard, expected);
    const closed = new Promise((resolve) => (socket.onclose = resolve));
    socket.close();
    assert.equal((await closed).code, 1000);
  });

  test(`${transport}: the server's end has its code and reason`, { timeout: DEADLINE_MS }, async () => {
    const socket = new SockJS(`${url}/close`, null, { transports: [transport] });
    const { code, reason } = await new Promise((resolve) => (socket.onclose = resolve));
    assert.deepEqual({ code, reason }, { code: 3000, reason: 'Go away!' });
  });
}

test('without WebSocket the client falls back', { timeout: DEADLINE_MS }, async () => {
  const socket = new SockJS(`${url}/disabled_websocket_echo`);
  await opened(socket);
  assert.equal(socket.transport, 'xhr-streaming');
  socket.close();
});
