// npm @meteorrn/core, the Meteor client for React Native, bundled with stubs for React Native.
// It reconnects and resubscribes by itself, first sending `unsub` for every id that it ever had.

import { createRequire } from 'node:module';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import WebSocket from 'ws';

const require = createRequire(import.meta.url);

globalThis.WebSocket = WebSocket; // Every React Native application has it.

const REACT = /^(react|react-native|@react-native-(async-storage|community)\/.*)(\/.*)?$/;

const stubs = {
  name: 'react native stubs',
  setup(plugins) {
    plugins.onResolve({ filter: REACT }, ({ path }) => ({ path, namespace: 'stub' }));
    plugins.onLoad({ filter: /.*/, namespace: 'stub' }, () => ({ contents: 'module.exports = {};' }));
  },
};

async function bundle() {
  const folder = mkdtempSync(join(tmpdir(), 'meteorrn-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  const outfile = join(folder, 'meteorrn.cjs');
  await build({
    stdin: { contents: `export { default } from '@meteorrn/core';`, resolveDir: fileURLToPath(new URL('.', import.meta.url)) },
    // The client replaces process.nextTick: let it do so to a copy.
    banner: { js: `var process = Object.create(globalThis.process);` },
    bundle: true,
    format: 'cjs',
    platform: 'node',
    outfile,
    plugins: [stubs],
    logLevel: 'error',
  });
  return outfile;
}

let bundled;

/** The client is one object per process, so each connection loads the bundle anew. */
async function load() {
  const path = await (bundled ??= bundle());
  delete require.cache[path];
  return require(path).default;
}

export async function connect(server) {
  const Meteor = await load();
  const memory = new Map();
  const AsyncStorage = {
    getItem: async (key) => memory.get(key) ?? null,
    setItem: async (key, value) => void memory.set(key, value),
    removeItem: async (key) => void memory.delete(key),
  };
  Meteor.connect(server.websocketUrl, { AsyncStorage, NetInfo: null, reconnectInterval: 200 });
  Meteor.ddp.on('error', () => {}); // A refused connection: it tries again.
  const connections = new Set([Meteor.ddp]);
  const { db } = Meteor.getData();
  await new Promise((resolve) => Meteor.waitDdpConnected(resolve));

  return {
    subscribe: (name, ...params) =>
      new Promise((resolve, reject) => {
        let subscription;
        // `nosub` reaches no callback of `subscribe`, only this event.
        const refused = ({ id, error }) => {
          if (!error || id !== Meteor.getData().subscriptions[subscription.subscriptionId]?.subIdRemember) return;
          Meteor.ddp.off('nosub', refused);
          subscription.stop();
          reject(error);
        };
        const ready = () => {
          Meteor.ddp.off('nosub', refused);
          resolve({ stop: () => subscription.stop() });
        };
        Meteor.ddp.on('nosub', refused);
        subscription = Meteor.subscribe(name, ...params, ready);
      }),
    docs(collection) {
      const documents = db[collection]?.find({}) ?? [];
      return new Map(documents.map(({ _version, ...document }) => [document._id, document]));
    },
    call: (name, ...params) =>
      new Promise((resolve, reject) => {
        Meteor.call(name, ...params, (error, result) => (error ? reject(error) : resolve(result)));
      }),
    connected: () => Meteor.status().connected,
    login: (name, password) =>
      new Promise((resolve, reject) => {
        Meteor.loginWithPassword(name, password, (error) => (error ? reject(error) : resolve()));
      }),
    /** A logout opens another connection, and keeps the one before. */
    async logout() {
      await new Promise((resolve, reject) => Meteor.logout((error) => (error ? reject(error) : resolve())));
      connections.add(Meteor.ddp);
    },
    close() {
      for (const connection of connections) connection.autoReconnect = false;
      for (const connection of connections) connection.disconnect();
    },
  };
}
