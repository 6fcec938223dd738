// Meteor's own client, as published in npm meteor-client-side, in a jsdom window per connection.
// The application is unmodified Meteor: only DDP_DEFAULT_CONNECTION_URL says where the server is,
// and the page comes from elsewhere, as in a real deployment.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { JSDOM, VirtualConsole } from 'jsdom';
import { fromNpm, sockjs } from '../tests/clients/interop.mjs';

const { resolve } = createRequire(import.meta.url);

export const inRuntime = (runtime) => fromNpm('meteor-client-side', runtime, import.meta.url);

/** The scripts of Meteor's packages, in the order in which a page loads them. */
export const METEOR = resolve('meteor-client-side/dist/meteor-client-side.bundle.js');
export const ACCOUNTS = ['base', 'password'].map((name) =>
  resolve(`accounts-${name}-client-side/dist/accounts-${name}-client-side.bundle.js`),
);

/**
 * Loads Meteor into a new window, whose localStorage has what `storage` says.
 * `complaints` collects what it writes to its console and what it throws: a test must end without any.
 */
export function load(url, { scripts = [], storage = {} } = {}) {
  const complaints = [];
  const virtualConsole = new VirtualConsole();
  virtualConsole.on('jsdomError', (error) => {
    // A refused connection while the server is down: Meteor tries again.
    const text = `${error.message} ${error.detail ?? ''}`;
    if (!/ECONNREFUSED|ECONNRESET|socket hang up/.test(text)) complaints.push(text);
  });
  for (const level of ['error', 'warn', 'log']) {
    virtualConsole.on(level, (...parts) => complaints.push(parts.map(String).join(' ')));
  }
  const { window } = new JSDOM('<!doctype html><title>todos</title>', {
    url: 'http://todos.example/',
    runScripts: 'outside-only',
    pretendToBeVisual: true,
    virtualConsole,
  });
  // Meteor defers by window.postMessage and checks its source, which jsdom leaves out.
  window.setImmediate = (callback) => window.setTimeout(callback, 0);
  window.__meteor_runtime_config__ = { DDP_DEFAULT_CONNECTION_URL: url };
  for (const [key, value] of Object.entries(storage)) window.localStorage.setItem(key, value);
  for (const script of [METEOR, ...scripts]) window.eval(readFileSync(script, 'utf8'));
  return { window, complaints };
}

/** Waits until a reactive condition holds, by Tracker. */
export function reactively(window, holds) {
  return new Promise((resolve) => {
    window.Tracker.autorun((computation) => {
      if (!holds()) return;
      computation.stop();
      resolve();
    });
  });
}

/** Over what Meteor is connected. */
export const transport = (Meteor) => sockjs(Meteor.connection._stream.socket.protocol);

/** Copies a document out of the window, so that its dates are dates of this realm. */
export const copy = (document) => structuredClone(document);

/** The adapter of the scenario that all clients share. */
export async function connect(server) {
  const { window, complaints } = load(server.url);
  const { Meteor, Mongo } = window;
  const collections = new Map([['tasks', new Mongo.Collection('tasks')]]);
  await reactively(window, () => Meteor.status().connected);
  return {
    window,
    complaints,
    Meteor,
    Tasks: collections.get('tasks'),
    subscribe: (name, ...params) =>
      new Promise((resolve, reject) => {
        const subscription = Meteor.subscribe(name, ...params, {
          onReady: () => resolve({ stop: () => subscription.stop() }),
          onStop: (error) => error && reject(error),
        });
      }),
    docs(collection) {
      const documents = collections.get(collection).find().fetch();
      return new Map(documents.map((document) => [document._id, copy(document)]));
    },
    call: (name, ...params) =>
      new Promise((resolve, reject) => {
        Meteor.call(name, ...params, (error, result) => (error ? reject(error) : resolve(result)));
      }),
    connected: () => Meteor.status().connected,
    transport: () => transport(Meteor),
    async close() {
      Meteor.disconnect();
      window.close();
    },
  };
}
