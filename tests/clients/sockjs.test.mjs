// sockjs-client against sockjs-echo, over every transport that it has in Node.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import SockJS from 'sockjs-client';
import { conversations, startEcho } from './echo.mjs';
import { fromNpm } from './interop.mjs';
import { TEST_TIMEOUT_MS } from './scenario.mjs';

const WHO = fromNpm('sockjs-client', 'Node', import.meta.url);

describe('sockjs-client in Node', () => {
  let echo;
  before(async () => (echo = await startEcho()));
  after(() => echo?.stop());

  for (const transport of ['websocket', 'xhr-streaming', 'xhr-polling', 'eventsource']) {
    const run = (body, args) => body(SockJS, args);
    const check = (title, body) => it(title, { timeout: TEST_TIMEOUT_MS }, () => body(run));
    conversations(WHO, () => echo, transport, check);
  }

  it('without WebSocket the client falls back', { timeout: TEST_TIMEOUT_MS }, async () => {
    const socket = new SockJS(`${echo.url}/disabled_websocket_echo`);
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onclose = ({ code, reason }) => reject(new Error(`closed with ${code} ${reason}`));
    });
    assert.equal(socket.transport, 'xhr-streaming');
    socket.close();
  });
});
