// npm simpleddp: reconnects, empties its collections and resubscribes by itself.
// It stops each old subscription first and waits for that `nosub`, on a session that never had it.

import simpleDDP from 'simpleddp';
import { ddpSubscription } from 'simpleddp/lib/classes/ddpSubscription.js';
import WebSocket from 'ws';

// A subscription starts in its constructor, which drops the promise: a refusal would end the process.
const { start } = ddpSubscription.prototype;
ddpSubscription.prototype.start = function startQuietly(...params) {
  const ready = start.apply(this, params);
  ready.catch(() => {});
  return ready;
};

export async function connect(server) {
  const client = new simpleDDP({
    endpoint: server.websocketUrl,
    SocketConstructor: WebSocket,
    reconnectInterval: 200,
  });
  await client.connect();
  return {
    async subscribe(name, ...params) {
      const subscription = client.subscribe(name, ...params);
      await subscription.ready();
      return { stop: () => subscription.stop() };
    },
    docs(collection) {
      const documents = client.collections[collection] ?? [];
      return new Map(documents.map(({ id, ...fields }) => [id, { _id: id, ...fields }]));
    },
    call: (name, ...params) => client.call(name, ...params),
    connected: () => client.connected,
    close: () => client.disconnect(),
  };
}
