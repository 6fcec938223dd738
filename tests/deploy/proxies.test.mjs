// Two servers behind a proxy, as examples/deploy sets it up; and one behind nginx that nobody has set up for it.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { STREAMING, byPolling, bySockJs, byStreaming, byWebSocket } from './clients.mjs';
import { isInstalled, startProxy, startServer, startUsualNginx } from './processes.mjs';

/** A client at another address than the proxy's, which claims to be at a third one. */
const LIAR = { localAddress: '127.0.0.5', headers: { 'X-Forwarded-For': '203.0.113.9' } };
const TRANSPORTS = [['WebSocket', byWebSocket], ['polling', byPolling]];
const SESSIONS = 16;

/** Sends a message, and looks at the document that it became. */
async function roundTrip(session, text) {
  await session.subscribe('messages');
  const id = await session.call('messages.send', text);
  const document = session.documents.get(id);
  assert.equal(document?.text, text);
  return document;
}

const missing = (name) => !isInstalled(name) && `${name} is not installed (apt-get install ${name})`;

for (const name of ['nginx', 'caddy']) {
  const skip = missing(name);
  describe(`two servers behind ${name}`, { skip }, () => {
    const servers = [];
    let proxy;

    before(async () => {
      servers.push(await startServer(), await startServer());
      proxy = await startProxy(name, servers);
    });
    after(async () => {
      await proxy?.stop();
      await Promise.all(servers.map((server) => server.stop()));
    });

    for (const [transport, connect] of TRANSPORTS) {
      it(`tells the server the client's address, by ${transport}`, async () => {
        const session = await connect(proxy.host, LIAR);
        assert.equal((await roundTrip(session, 'Where am I?')).from, '127.0.0.5');
        session.close();
      });
    }

    for (const transport of ['websocket', 'xhr-streaming', 'eventsource', 'xhr-polling']) {
      it(`carries sockjs-client's ${transport}`, async () => {
        const session = await bySockJs(proxy.host, transport);
        await roundTrip(session, transport);
        session.close();
      });
    }

    it('sends all requests of a session to one server, and sessions to both', async () => {
      const names = Array.from({ length: SESSIONS }, (_, index) => `session ${index}`);
      const sessions = await Promise.all(names.map(() => byPolling(proxy.host)));
      await Promise.all(sessions.map((session, index) => roundTrip(session, names[index])));
      sessions.forEach((session) => session.close());

      const found = await Promise.all(servers.map(async ({ address }) => {
        const session = await byWebSocket(address);
        await session.subscribe('messages');
        const texts = [...session.documents.values()].map(({ text }) => text);
        session.close();
        return texts.filter((text) => names.includes(text));
      }));
      assert.deepEqual(found.flat().sort(), names.sort());
      assert.ok(found.every((texts) => texts.length > 0), `one server has all: ${found.map((texts) => texts.length)}`);
    });

    for (const [transport, connect] of TRANSPORTS) {
      it(`carries a message of 3 MB, by ${transport}`, async () => {
        const session = await connect(proxy.host);
        await roundTrip(session, 'x'.repeat(3_000_000));
        session.close();
      });
    }

    it('goes on with one of the servers', async () => {
      await servers[0].stop();
      for (const [, connect] of TRANSPORTS) {
        for (let session = 0; session < 4; session += 1) {
          const client = await connect(proxy.host);
          await roundTrip(client, 'Still there');
          client.close();
        }
      }
    });
  });
}

const GZIP = 'gzip on; gzip_types *;';
for (const [name, settings, encoding] of [
  ['that buffers and speaks HTTP/1.0', '', 'identity'],
  ['with gzip, buffers and HTTP/1.0', GZIP, 'gzip'],
  ['with gzip, buffers and HTTP/1.1', `${GZIP} proxy_http_version 1.1;`, 'gzip'],
]) {
  describe(`a server behind nginx ${name}`, { skip: missing('nginx') }, () => {
    let server;
    let proxy;

    before(async () => {
      server = await startServer();
      proxy = await startUsualNginx(server, settings);
    });
    after(async () => {
      await proxy?.stop();
      await server?.stop();
    });

    for (const transport of STREAMING) {
      // In a buffer, the first messages would wait for more than there is to come.
      it(`is heard at once by ${transport}`, async (test) => {
        const start = performance.now();
        const session = await byStreaming(proxy.host, transport);
        await roundTrip(session, transport);
        test.diagnostic(`${(performance.now() - start).toFixed()} ms to a document, in ${session.encoding}`);
        assert.equal(session.encoding, encoding);
        session.close();
      });
    }
  });
}
