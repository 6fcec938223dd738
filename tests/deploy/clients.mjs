// DDP over a WebSocket, over SockJS's own client, and over requests of our own that poll or stream.

import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { createRequire } from 'node:module';
import { randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import { createGunzip } from 'node:zlib';

import { within } from './processes.mjs';

const require = createRequire(new URL('../clients/package.json', import.meta.url));
const SockJS = require('sockjs-client');
const WebSocket = require('ws');

/** A session over something with `send(text)` and `close()`, which hands what it gets to `handle`. */
class Session {
  documents = new Map();
  #answers = new Map();
  #lastId = 0;

  constructor(transport) {
    this.transport = transport;
    this.connected = new Promise((resolve) => this.#answers.set('connected', resolve));
    // Whoever waits is told; nobody may be waiting.
    this.lost = new Promise((_, reject) => (this.fail = reject));
    this.lost.catch(() => {});
  }

  async open() {
    this.transport.send(JSON.stringify({ msg: 'connect', version: '1', support: ['1'] }));
    await this.#wait(this.connected, 'connected');
    return this;
  }

  handle(text) {
    const message = JSON.parse(text);
    const answer = (key) => {
      this.#answers.get(key)?.(message);
      this.#answers.delete(key);
    };
    switch (message.msg) {
      case 'connected': return answer('connected');
      case 'ping': return this.transport.send(JSON.stringify({ ...message, msg: 'pong' }));
      case 'added': return void this.documents.set(message.id, message.fields);
      case 'result': return answer(message.id);
      case 'ready': return message.subs.forEach(answer);
    }
  }

  /** Calls a method; the answer is its result. */
  async call(method, ...params) {
    const { result, error } = await this.#ask({ msg: 'method', method, params });
    if (error) throw new Error(JSON.stringify(error));
    return result;
  }

  /** Subscribes, and waits until the subscription is ready. */
  subscribe(name) {
    return this.#ask({ msg: 'sub', name, params: [] });
  }

  close() {
    this.transport.close();
  }

  #ask(message) {
    const id = String((this.#lastId += 1));
    const answer = new Promise((resolve) => this.#answers.set(id, resolve));
    this.transport.send(JSON.stringify({ ...message, id }));
    return this.#wait(answer, `the answer to ${message.method ?? message.name}`);
  }

  #wait(answer, what) {
    return within(Promise.race([answer, this.lost]), what);
  }
}

/** By plain WebSocket. `options` are those of the request. */
export async function byWebSocket(host, options = {}) {
  const socket = new WebSocket(`ws://${host}/websocket`, options);
  const session = new Session({ send: (text) => socket.send(text), close: () => socket.close() });
  socket.on('message', (text) => session.handle(text));
  socket.on('error', session.fail);
  socket.on('close', (code) => session.fail(new Error(`closed with ${code}`)));
  await within(once(socket, 'open'), 'the WebSocket');
  return session.open();
}

/** By sockjs-client, held to one of its transports. */
export async function bySockJs(host, transport) {
  const socket = new SockJS(`http://${host}/sockjs`, null, { transports: [transport] });
  const session = new Session({ send: (text) => socket.send(text), close: () => socket.close() });
  const opened = new Promise((resolve) => (socket.onopen = resolve));
  socket.onmessage = ({ data }) => session.handle(data);
  socket.onclose = ({ code, reason }) => session.fail(new Error(`closed with ${code} ${reason}`));
  await within(Promise.race([opened, session.lost]), transport);
  if (socket.transport !== transport) throw new Error(`${socket.transport} instead of ${transport}`);
  return session.open();
}

/** By requests that poll, each with these `options`. */
export async function byPolling(host, options = {}) {
  const agent = new Agent({ keepAlive: true });
  const base = `http://${host}/sockjs/000/${randomBytes(8).toString('hex')}`;
  const post = async (path, body = '') => {
    const sent = request(`${base}/${path}`, { ...options, agent, method: 'POST' }).end(body);
    const [answer] = await once(sent, 'response');
    let text = '';
    for await (const part of answer.setEncoding('utf8')) text += part;
    if (answer.statusCode >= 300) throw new Error(`${path}: ${answer.statusCode} ${text}`);
    return text;
  };
  let isOpen = true;
  let sending = Promise.resolve();
  const session = new Session({
    send: (text) => {
      sending = sending.then(() => post('xhr_send', JSON.stringify([text]))).catch(session.fail);
    },
    close: () => {
      isOpen = false;
      agent.destroy();
    },
  });
  const opened = await within(post('xhr'), 'a SockJS session');
  if (opened !== 'o\n') throw new Error(`not opened: ${opened}`);
  const poll = async () => {
    while (isOpen) {
      const frame = await post('xhr');
      if (frame[0] === 'a') JSON.parse(frame.slice(1)).forEach((text) => session.handle(text));
      else if (frame[0] !== 'h') throw new Error(`closed: ${frame}`);
    }
  };
  // Once closed here, the poll that is under way may fail.
  poll().catch((error) => isOpen && session.fail(error));
  return session.open();
}

/** The streaming transports: how to ask for each, and what a line has of a frame. */
const STREAMS = {
  xhr_streaming: { method: 'POST', frame: (line) => line },
  eventsource: { method: 'GET', frame: (line) => line.match(/^data: (.*)$/)?.[1].replaceAll('%25', '%') },
  'htmlfile?c=c': { method: 'GET', frame: (line) => JSON.parse(line.match(/^p\((".*")\);$/)?.[1] ?? '""') },
};
export const STREAMING = Object.keys(STREAMS);

/** By a response that streams, in gzip if the proxy likes to compress it, and by requests that send. */
export async function byStreaming(host, transport) {
  const { method, frame } = STREAMS[transport];
  const agent = new Agent({ keepAlive: true });
  const base = `http://${host}/sockjs/000/${randomBytes(8).toString('hex')}`;
  const streaming = request(`${base}/${transport}`, { method, headers: { 'Accept-Encoding': 'gzip' } }).end();
  let sending = Promise.resolve();
  const session = new Session({
    send: (text) => {
      sending = sending.then(async () => {
        const sent = request(`${base}/xhr_send`, { agent, method: 'POST' }).end(JSON.stringify([text]));
        const [answer] = await once(sent, 'response');
        answer.resume();
        if (answer.statusCode !== 204) throw new Error(`xhr_send: ${answer.statusCode}`);
      }).catch(session.fail);
    },
    close: () => {
      streaming.destroy();
      agent.destroy();
    },
  });
  streaming.on('error', session.fail);
  const [answer] = await within(once(streaming, 'response'), `the head of ${transport}`);
  const isGzip = answer.headers['content-encoding'] === 'gzip';
  session.encoding = isGzip ? 'gzip' : 'identity';
  // It also breaks off when it is closed here, with nobody waiting any more.
  answer.on('error', session.fail);
  const input = isGzip ? answer.pipe(createGunzip()).on('error', session.fail) : answer;
  const opened = new Promise((resolve) => {
    const lines = createInterface({ input }).on('error', session.fail);
    lines.on('line', (line) => {
      const text = frame(line) ?? '';
      if (text === 'o') resolve();
      if (text[0] === 'a') JSON.parse(text.slice(1)).forEach((message) => session.handle(message));
    });
  });
  await within(Promise.race([opened, session.lost]), `the first frame of ${transport}`);
  return session.open();
}
