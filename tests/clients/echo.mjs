// The sockjs-echo server under test, and the texts that its clients exchange with it.
//
// SOCKJS_ECHO_BIN  the sockjs-echo binary

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { note, sockjs } from './interop.mjs';

/** Starts the server. `sockjsUrl` is where its iframe page finds the client library. */
export async function startEcho(sockjsUrl) {
  const binary = process.env.SOCKJS_ECHO_BIN;
  if (!binary) throw new Error('SOCKJS_ECHO_BIN is not set: it must be the path of the sockjs-echo binary');
  const env = { ...process.env, PORT: '0', BIND: '127.0.0.1' };
  if (sockjsUrl) env.SOCKJS_URL = sockjsUrl;
  const child = spawn(binary, [], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  process.once('exit', () => child.kill('SIGKILL'));
  const failed = new Promise((_, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => reject(new Error(`sockjs-echo ended (${code ?? signal})`)));
  });
  failed.catch(() => {});
  const [line] = await Promise.race([once(createInterface({ input: child.stdout }), 'line'), failed]);
  const [url] = line.match(/http:\S+/);
  return { url, stop: () => child.kill('SIGKILL') };
}

/** Characters that browsers and proxies are known to change, and everything that frames give a meaning. */
const TEXTS = [
  '', 'plain', '"\\\n\r\t\0', '</script> 100% a+b&c=d', '\u200c\u2028\ufff0', 'h\u00e9llo \u{1f600}', 'x'.repeat(100_000),
];

/** Every character of the basic plane, 4,096 to a text, and some beyond it. */
const CHARACTERS = [
  ...Array.from({ length: 16 }, (_, row) =>
    Array.from({ length: 4_096 }, (_, column) => row * 4_096 + column)
      .filter((code) => code < 0xd800 || code > 0xdfff)
      .map((code) => String.fromCharCode(code))
      .join(''),
  ),
  '\u{10000}\u{1f600}\u{1f468}\u200d\u{1f469}\u{e0001}\u{10ffff}',
];

const NUMBERED = Array.from({ length: 1_000 }, (_, number) => `message ${number}`);

/**
 * One conversation: sends the texts, waits for as many, closes.
 * It runs in pages, too, so it uses nothing from around it.
 */
function converse(SockJS, { url, transport, texts }) {
  return new Promise((resolve, reject) => {
    const socket = new SockJS(url, null, { transports: [transport] });
    const heard = [];
    let used;
    socket.onclose = ({ code, reason }) => reject(new Error(`closed with ${code} ${reason} after ${heard.length} messages`));
    socket.onopen = () => {
      used = socket.transport;
      for (const text of texts) socket.send(text);
    };
    socket.onmessage = ({ data }) => {
      heard.push(data);
      if (heard.length !== texts.length) return;
      socket.onclose = ({ code, reason, wasClean }) => resolve({ used, heard, closed: { code, reason, wasClean } });
      socket.close(3210, 'enough');
    };
  });
}

/** How a session ends that the server closes at once. It runs in pages, too. */
function ending(SockJS, { url, transport }) {
  return new Promise((resolve) => {
    const socket = new SockJS(url, null, { transports: [transport] });
    let used;
    socket.onopen = () => (used = socket.transport);
    socket.onclose = ({ code, reason, wasClean }) => resolve({ used, closed: { code, reason, wasClean } });
  });
}

/**
 * What every transport must manage: calls `check(title, body)` for each. A body takes `run(function, arguments)`,
 * which calls one of the functions above where the client is.
 */
export function conversations(who, echo, transport, check) {
  const each = (exercised, title, body) =>
    check(`${transport}: ${title}`, async (run) => {
      await body(run);
      note(who, sockjs(transport), exercised);
    });

  const exchange = (texts) => async (run) => {
    const { used, heard, closed } = await run(converse, { url: `${echo().url}/echo`, transport, texts });
    assert.equal(used, transport);
    assert.equal(heard.length, texts.length);
    heard.forEach((text, index) => assert.ok(text === texts[index], `text ${index} came back as another`));
    assert.deepEqual(closed, { code: 3210, reason: 'enough', wasClean: true });
  };

  each('100 KB messages', 'texts of every sort, one of 100 KB', exchange(TEXTS));
  each('every character', 'every character', exchange(CHARACTERS));
  each('1000 messages in order', '1,000 messages in order', exchange(NUMBERED));
  each('close codes', "the server's end has its code and reason", async (run) => {
    const { used, closed } = await run(ending, { url: `${echo().url}/close`, transport });
    assert.equal(used, transport);
    assert.deepEqual(closed, { code: 3000, reason: 'Go away!', wasClean: true });
  });
}
