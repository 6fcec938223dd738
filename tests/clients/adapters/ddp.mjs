// npm ddp: reconnects by itself, but neither empties its collections nor resubscribes.
// Its users do that in the callback of `connect`, and so does this adapter.

import DDPClient from 'ddp';

export async function connect(server) {
  const client = new DDPClient({ url: server.websocketUrl, autoReconnectTimer: 200 });
  const subscriptions = new Set();
  let connected = false;

  const start = (subscription) =>
    new Promise((resolve, reject) => {
      subscription.id = client.subscribe(subscription.name, subscription.params, (error) =>
        error ? reject(error) : resolve(),
      );
    });

  client.on('socket-close', () => (connected = false));
  await new Promise((resolve, reject) => {
    client.connect((error, reconnected) => {
      connected = !error;
      if (error) return reject(error);
      if (!reconnected) return resolve();
      for (const documents of Object.values(client.collections)) {
        for (const id of Object.keys(documents)) delete documents[id];
      }
      for (const subscription of subscriptions) start(subscription);
    });
  });

  return {
    async subscribe(name, ...params) {
      const subscription = { name, params };
      await start(subscription);
      subscriptions.add(subscription);
      return {
        stop() {
          subscriptions.delete(subscription);
          client.unsubscribe(subscription.id);
        },
      };
    },
    docs: (collection) => new Map(Object.entries(client.collections[collection] ?? {})),
    call: (name, ...params) =>
      new Promise((resolve, reject) => {
        client.call(name, params, (error, result) => (error ? reject(error) : resolve(result)));
      }),
    connected: () => connected,
    close: () => client.close(),
  };
}
