// sockjs-client in Chromium against sockjs-echo, over every transport that it has there.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, before, describe, it } from 'node:test';
import { launchBrowser, servePage } from './browser.mjs';
import { conversations, startEcho } from './echo.mjs';
import { fromNpm } from './interop.mjs';
import { TEST_TIMEOUT_MS } from './scenario.mjs';

const SCRIPT = createRequire(import.meta.url).resolve('sockjs-client/dist/sockjs.js');

/** The transports by name, and the last part of the URL at which each of them receives. */
const TRANSPORTS = {
  websocket: 'websocket',
  'xhr-streaming': 'xhr_streaming',
  'xhr-polling': 'xhr',
  eventsource: 'eventsource',
  htmlfile: 'htmlfile',
  'jsonp-polling': 'jsonp',
  'iframe-eventsource': 'eventsource',
  'iframe-htmlfile': 'htmlfile',
  'iframe-xhr-polling': 'xhr',
};

/** Transports that the client uses only if the page comes from the server's own origin. */
const SAME_ORIGIN = ['htmlfile'];

const WHO = fromNpm('sockjs-client', 'Chromium', import.meta.url);

describe('sockjs-client in Chromium', () => {
  let browser;
  let pages;
  let echo;

  before(async () => {
    pages = await servePage('<!doctype html><meta charset="utf-8"><script src="/sockjs.js"></script>', { 'sockjs.js': SCRIPT });
    echo = await startEcho(`${pages.url}/sockjs.js`);
    browser = await launchBrowser();
  });

  after(async () => {
    await browser?.close();
    echo?.stop();
    await pages?.close();
  });

  /** A page with the client library, and the URLs that it asks for. */
  async function open(sameOrigin) {
    const page = await browser.newPage();
    const asked = [];
    // The server has no page of its own but its greeting, which is text: the library is put into it.
    await page.goto(sameOrigin ? `${echo.url}/echo` : pages.url);
    if (sameOrigin) await page.addScriptTag({ path: SCRIPT });
    page.on('request', (request) => asked.push(request.url()));
    page.on('websocket', (socket) => asked.push(socket.url()));
    return { page, asked };
  }

  /** How the session received: the last parts of the URLs below `/echo/<server>/<session>/`. */
  const received = (asked) => {
    const parts = asked.map((url) => new URL(url).pathname.match(/^\/\w+\/\d{3}\/\w{8}\/(\w+)$/)?.[1]);
    return new Set(parts.filter((part) => part && !part.endsWith('_send')));
  };

  for (const [transport, path] of Object.entries(TRANSPORTS)) {
    const check = (title, body) =>
      it(title, { timeout: TEST_TIMEOUT_MS }, async () => {
        const { page, asked } = await open(SAME_ORIGIN.includes(transport));
        const run = (body, args) =>
          page.evaluate(([source, given]) => new Function(`return (${source})`)()(window.SockJS, given), [String(body), args]);
        try {
          await body(run);
          assert.deepEqual([...received(asked)], [path], 'another transport was in use');
        } finally {
          await page.close();
        }
      });
    conversations(WHO, () => echo, transport, check);
  }
});
