// What Node's `ws` can do: a server that speaks just enough DDP to be loaded. It prints its address.
// The method `change` sends one string, encoded once, to all subscribers; `echo` is answered as a DDP server
// answers it. With the argument `default` it compresses as `ws` does by default; with `like-ours` as this
// project's server does: the same level, and each message by itself.

import { createRequire } from 'node:module';

const require = createRequire(new URL('../../clients/package.json', import.meta.url));
const { WebSocketServer } = require('ws');

const text = 'The quick brown fox jumps over the lazy dog, while sphinx of black quartz judges my vow at half past seven';
const compression = {
  default: true,
  'like-ours': { threshold: 128, serverNoContextTakeover: true, zlibDeflateOptions: { level: 2 } },
};
const server = new WebSocketServer({
  host: '127.0.0.1',
  port: 0,
  backlog: 4096,
  perMessageDeflate: compression[process.argv[2]] ?? false,
});
const subscribers = new Set();

server.on('listening', () => console.log(`127.0.0.1:${server.address().port}`));
server.on('connection', (socket) => {
  socket.on('error', () => {});
  socket.on('close', () => subscribers.delete(socket));
  socket.on('message', (data) => {
    const message = JSON.parse(data);
    switch (message.msg) {
      case 'connect':
        socket.send('{"msg":"connected","session":"x"}');
        break;
      case 'sub':
        subscribers.add(socket);
        socket.send(JSON.stringify({ msg: 'ready', subs: [message.id] }));
        break;
      case 'method':
        if (message.method === 'change') {
          const changed = { msg: 'changed', collection: 'note', id: 'note', fields: { text: `${message.params[0]} ${text}` } };
          const encoded = Buffer.from(JSON.stringify(changed));
          for (const subscriber of subscribers) subscriber.send(encoded, { binary: false });
        }
        socket.send(JSON.stringify({ msg: 'result', id: message.id, result: message.params[0] }));
        socket.send(JSON.stringify({ msg: 'updated', methods: [message.id] }));
        break;
    }
  });
});
