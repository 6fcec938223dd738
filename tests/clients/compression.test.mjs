// permessage-deflate (RFC 7692) with the client of `ws`, on both WebSocket endpoints.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { WebSocket } from 'ws';
import { RAW, fromNpm, note, sockjs } from './interop.mjs';
import { TEST_TIMEOUT_MS } from './scenario.mjs';
import { TodosServer, eventually } from './server.mjs';

/** What `ws` keeps of the frame it has last read: whether RSV1 was set. */
const isCompressed = (socket) => Boolean(socket._receiver?._compressed);

/** A DDP session that keeps all it has heard. */
class Session {
  messages = [];
  compressed = 0;
  #sockjs;

  static async open(url, options, sockjs = false) {
    const session = new Session();
    session.#sockjs = sockjs;
    session.socket = new WebSocket(url, { perMessageDeflate: options });
    session.socket.on('error', (error) => (session.error = error));
    session.socket.on('close', (code) => (session.closeCode = code));
    session.socket.on('message', (data) => session.#receive(data.toString()));
    await session.until(() => session.socket.readyState === WebSocket.OPEN, 'an open socket');
    session.send({ msg: 'connect', version: '1', support: ['1'] });
    await session.heard((message) => message.msg === 'connected');
    return session;
  }

  #receive(text) {
    if (isCompressed(this.socket)) this.compressed += 1;
    if (!this.#sockjs) this.messages.push(JSON.parse(text));
    else if (text[0] === 'a') this.messages.push(...JSON.parse(text.slice(1)).map((inner) => JSON.parse(inner)));
  }

  send(message) {
    const text = JSON.stringify(message);
    this.socket.send(this.#sockjs ? JSON.stringify([text]) : text);
  }

  async until(holds, what) {
    return eventually(
      () => {
        if (this.error) throw this.error;
        return holds();
      },
      () => `no ${what}; closed with ${this.closeCode}; heard ${JSON.stringify(this.messages).slice(-2_000)}`,
    );
  }

  heard(matches) {
    return this.until(() => this.messages.find(matches), matches);
  }

  close() {
    this.socket.terminate();
  }
}

const WHO = fromNpm('ws', 'Node', import.meta.url);

const ENDPOINTS = [
  ['raw', '/websocket', false],
  ['SockJS', '/sockjs/123/abcdefgh/websocket', true],
];

describe('permessage-deflate', () => {
  let server;
  before(async () => (server = await TodosServer.start()));
  after(() => server?.stop());

  for (const [name, path, framed] of ENDPOINTS) {
    const open = (options) => Session.open(`ws://127.0.0.1:${server.port}${path}`, options, framed);

    const check = (exercised, title, body) =>
      it(`${name}: ${title}`, { timeout: TEST_TIMEOUT_MS }, async () => {
        await body();
        note(WHO, framed ? sockjs('websocket') : RAW, exercised);
      });

    check('compression', 'changes and large method calls pass compressed', async () => {
      const session = await open({ threshold: 0 });
      try {
        assert.match(session.socket.extensions, /^permessage-deflate/);
        const list = `compressed ${name}`;
        session.send({ msg: 'sub', id: 's1', name: 'tasks.byList', params: [list] });
        await session.heard((message) => message.msg === 'ready' && message.subs.includes('s1'));
        const long = 'Water the plants. '.repeat(5_000);
        const noise = randomBytes(100_000).toString('base64');
        for (const [index, text] of [long, noise, 'short'].entries()) {
          const id = `call${index}`;
          session.send({ msg: 'method', method: 'tasks.insert', params: [{ listId: list, text }], id });
          const result = await session.heard((message) => message.msg === 'result' && message.id === id);
          assert.equal(result.error, undefined, server.output);
          await session.heard((message) => message.msg === 'added' && message.fields.text === text);
        }
        const updated = 'From psql, again and again. '.repeat(400);
        await server.psql(`insert into tasks (id, list_id, text) values ('sql-${framed}', '${list}', 'x')`);
        await session.heard((message) => message.msg === 'added' && message.id === `sql-${framed}`);
        const before = session.compressed;
        await server.psql(`update tasks set text = '${updated}' where id = 'sql-${framed}'`);
        await session.heard((message) => message.msg === 'changed' && message.fields.text === updated);
        assert.ok(session.compressed > before, 'the change came compressed');
      } finally {
        session.close();
      }
    });

    check('compression options', 'all options of ws', async () => {
      for (const serverNoContextTakeover of [undefined, true])
        for (const clientNoContextTakeover of [undefined, true])
          for (const clientMaxWindowBits of [undefined, 9, 15])
            for (const serverMaxWindowBits of [undefined, 9, 15]) {
              const session = await open({
                threshold: 0,
                serverNoContextTakeover,
                clientNoContextTakeover,
                clientMaxWindowBits,
                serverMaxWindowBits,
              });
              try {
                // Frames for all sessions are made with the largest window.
                const taken = serverMaxWindowBits !== 9;
                assert.equal(session.socket.extensions !== '', taken, session.socket.extensions);
                for (let id = 0; id < 3; id += 1) {
                  session.send({ msg: 'ping', id: String(id).repeat(2_000) });
                  await session.heard((message) => message.msg === 'pong' && message.id === String(id).repeat(2_000));
                }
                assert.equal(session.compressed > 0, taken);
              } finally {
                session.close();
              }
            }
    });

    check('no compression', 'without the offer nothing is compressed', async () => {
      const session = await open(false);
      try {
        assert.equal(session.socket.extensions, '');
        session.send({ msg: 'ping', id: 'x'.repeat(5_000) });
        await session.heard((message) => message.msg === 'pong' && message.id.length === 5_000);
        assert.equal(session.compressed, 0);
      } finally {
        session.close();
      }
    });
  }
});
