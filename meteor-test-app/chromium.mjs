// Meteor's own client in Chromium, on a page from another origin than the server.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { launchBrowser, servePage } from '../tests/clients/browser.mjs';
import { note, sockjs } from '../tests/clients/interop.mjs';
import { TEST_TIMEOUT_MS, converges, scenario } from '../tests/clients/scenario.mjs';
import { TodosServer } from '../tests/clients/server.mjs';
import { METEOR, inRuntime } from './client.mjs';

const HTML = '<!doctype html><meta charset="utf-8"><title>todos</title><script src="/meteor.js"></script><body></body>';

/** What Chromium itself says of a server that is down. */
const CONNECTION_FAILED = /^Failed to load resource: net::ERR_|^WebSocket connection to '[^']*' failed/;

/** What the adapter calls in the page. */
function helpers() {
  const { Meteor, Mongo } = window;
  const subscriptions = new Map();
  const plain = ({ error, reason, message }) => ({ error: { error, reason, message } });
  window.Tasks = new Mongo.Collection('tasks');
  window.app = {
    status: () => ({ ...Meteor.status(), transport: Meteor.connection._stream.socket?.protocol }),
    docs: () => window.Tasks.find().fetch(),
    subscribe: ([id, name, params]) =>
      new Promise((resolve) => {
        const callbacks = { onReady: () => resolve({}), onStop: (error) => error && resolve(plain(error)) };
        subscriptions.set(id, Meteor.subscribe(name, ...params, callbacks));
      }),
    stop: (id) => subscriptions.get(id).stop(),
    call: ([name, params]) =>
      new Promise((resolve) => {
        Meteor.call(name, ...params, (error, result) => resolve(error ? plain(error) : { result }));
      }),
  };
}

/** A browser for all connections of a test file. Without `websocket` its pages have no WebSocket. */
class MeteorInChromium {
  #browser;
  #pages;
  #websocket;
  #transport;

  static async launch({ websocket }) {
    const self = new MeteorInChromium();
    self.#websocket = websocket;
    self.#transport = websocket ? 'websocket' : 'xhr-polling';
    self.#pages = await servePage(HTML, { 'meteor.js': METEOR });
    self.#browser = await launchBrowser();
    return self;
  }

  async close() {
    await this.#browser?.close();
    await this.#pages?.close();
  }

  /** The adapter of the scenario that all clients share. */
  async connect(server) {
    const page = await this.#browser.newPage();
    const complaints = [];
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('console', (message) => {
      if (!CONNECTION_FAILED.test(message.text())) complaints.push(message.text());
    });
    await page.addInitScript(
      ([url, websocket]) => {
        window.__meteor_runtime_config__ = { DDP_DEFAULT_CONNECTION_URL: url };
        if (!websocket) delete window.WebSocket;
      },
      [server.url, this.#websocket],
    );
    await page.goto(this.#pages.url);
    await page.evaluate(helpers);
    await page.waitForFunction(() => window.app.status().connected);

    const transport = this.#transport;
    const answer = async (promise) => {
      const { error, result } = await promise;
      if (error) throw Object.assign(new Error(error.message), error);
      return result;
    };
    let subscriptions = 0;
    return {
      page,
      async subscribe(name, ...params) {
        const id = (subscriptions += 1);
        await answer(page.evaluate((given) => window.app.subscribe(given), [id, name, params]));
        return { stop: () => page.evaluate((given) => window.app.stop(given), id) };
      },
      async docs() {
        const documents = await page.evaluate(() => window.app.docs());
        return new Map(documents.map((document) => [document._id, document]));
      },
      call: (name, ...params) => answer(page.evaluate((given) => window.app.call(given), [name, params])),
      connected: () => page.evaluate(() => window.app.status().connected),
      transport: async () => sockjs(await page.evaluate(() => window.app.status().transport)),
      async close() {
        const status = await page.evaluate(() => window.app.status());
        await page.close();
        assert.equal(status.transport, transport, 'another transport was in use');
        assert.deepEqual(complaints, [], 'the application complained');
      },
    };
  }
}

/** Inserts by stubs, in the page; returns the ids that stubs and server chose, and what an interface would be told. */
async function insertByStubs(texts) {
  const { Meteor, Tasks } = window;
  Meteor.methods({ 'tasks.insert': ({ listId, text }) => Tasks.insert({ listId, text, checked: false, createdAt: new Date() }) });
  const events = [];
  Tasks.find().observeChanges({
    added: (id) => events.push(['added', id]),
    changed: (id) => events.push(['changed', id]),
    removed: (id) => events.push(['removed', id]),
  });
  const calls = texts.map((text) => {
    let stub;
    const server = new Promise((resolve, reject) => {
      const callback = (error, id) => (error ? reject(error) : resolve(id));
      stub = Meteor.apply('tasks.insert', [{ listId: 'home', text }], { returnStubValue: true }, callback);
    });
    return { stub, server };
  });
  const stubs = calls.map(({ stub }) => stub);
  return { stubs, ids: await Promise.all(calls.map(({ server }) => server)), events };
}

/** All that Meteor's client must do in Chromium. */
export function inChromium({ websocket }) {
  const who = inRuntime('Chromium');
  const how = websocket ? 'with WebSocket' : 'without WebSocket';
  let chromium;
  before(async () => (chromium = await MeteorInChromium.launch({ websocket })));
  after(() => chromium?.close());

  scenario(who, (server) => chromium.connect(server), how);

  describe(`stubs in Chromium ${how}`, () => {
    let server;
    let app;
    before(async () => (server = await TodosServer.start()));
    afterEach(() => app?.close());
    after(() => server?.stop());

    it('inserts under the ids that the stubs chose, without flicker', { timeout: TEST_TIMEOUT_MS }, async () => {
      app = await chromium.connect(server);
      await app.subscribe('tasks');
      const { stubs, ids, events } = await app.page.evaluate(insertByStubs, ['one', 'two', 'three']);
      assert.deepEqual(ids, stubs, 'the server chose other ids than the stubs');
      await converges(app, server);
      assert.deepEqual([...(await server.tasks()).keys()].sort(), [...ids].sort());
      assert.deepEqual(events.filter(([kind]) => kind === 'removed'), [], 'flicker');
      assert.deepEqual(events.filter(([kind]) => kind === 'added').map(([, id]) => id), ids);
      note(who, await app.transport(), 'stubs');
    });
  });
}
