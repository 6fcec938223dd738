// Notes what each client has been seen doing. From these notes tests/run makes the table in tests/README.md.
//
// INTEROP  the folder for the notes, if they are wanted

import { appendFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Raw DDP at /websocket. */
export const RAW = 'WebSocket (raw)';

/** SockJS with one of its transports. */
export const sockjs = (transport) => `SockJS ${transport}`;

/** A client from npm, installed beside the module with this URL. */
export function fromNpm(client, runtime, moduleUrl) {
  const { version } = JSON.parse(readFileSync(new URL(`node_modules/${client}/package.json`, moduleUrl), 'utf8'));
  return { client, version, runtime };
}

/** A client whose version is pinned in a file, as the pattern's first group. */
export function pinned(client, runtime, fileUrl, pattern) {
  const found = readFileSync(fileUrl, 'utf8').match(pattern);
  if (!found) throw new Error(`${fileUrl} does not say the version of ${client}`);
  return { client, version: found[1], runtime };
}

/** Notes that this client has managed this over this transport. */
export function note({ client, version, runtime }, transport, exercised) {
  if (!process.env.INTEROP) return;
  const line = JSON.stringify({ client, version, runtime, transport, exercised });
  appendFileSync(join(process.env.INTEROP, `${process.pid}.jsonl`), `${line}\n`);
}
