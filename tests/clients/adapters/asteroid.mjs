// npm asteroid: reconnects and resubscribes with the same ids. It keeps no collections, so its users
// build them from the messages, and it knows no EJSON, so an instant stays { $date }. It keeps a login's
// token for all clients of the process that have the same endpoint.

import { createClass } from 'asteroid';
import WebSocket from 'ws';

const Asteroid = createClass();

export async function connect(server) {
  const client = new Asteroid({
    endpoint: server.websocketUrl,
    SocketConstructor: WebSocket,
    reconnectInterval: 200,
  });
  const collections = new Map();
  const documents = (name) => collections.get(name) ?? collections.set(name, new Map()).get(name);
  let connected = false;

  client.on('disconnected', () => {
    connected = false;
  });
  client.ddp.on('added', ({ collection, id, fields }) => {
    documents(collection).set(id, { _id: id, ...fields });
  });
  client.ddp.on('changed', ({ collection, id, fields, cleared = [] }) => {
    const document = Object.assign(documents(collection).get(id), fields);
    for (const field of cleared) delete document[field];
  });
  client.ddp.on('removed', ({ collection, id }) => {
    documents(collection).delete(id); // A listener that returned true would be called no more.
  });
  await new Promise((resolve) => {
    client.on('connected', () => {
      connected = true;
      collections.clear();
      resolve();
    });
  });

  return {
    subscribe: (name, ...params) =>
      new Promise((resolve, reject) => {
        const subscription = client.subscribe(name, ...params);
        subscription.on('ready', () => resolve({ stop: () => client.unsubscribe(subscription.id) }));
        subscription.on('error', reject);
      }),
    docs: (collection) => new Map(documents(collection)),
    date: (ms) => ({ $date: ms }),
    call: (name, ...params) => client.call(name, ...params),
    connected: () => connected,
    login: (username, password) => client.loginWithPassword({ username, password }),
    logout: () => client.logout(),
    async close() {
      if (client.loggedIn) await client.logout();
      client.disconnect();
    },
  };
}
