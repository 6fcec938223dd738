// Two servers, and a proxy in front of them with the configuration of examples/deploy.

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const DEADLINE_MS = 20_000;
const POLL_MS = 20;

// A test that fails may leave some running.
const children = new Set();
process.once('exit', () => children.forEach((child) => child.kill('SIGKILL')));

function start(...command) {
  const child = spawn(...command);
  children.add(child);
  child.once('exit', () => children.delete(child));
  return child;
}

/** Rejects after the deadline, so that what never comes is told by what was waited for. */
export function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), DEADLINE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export const isInstalled = (program) => !spawnSync(program, ['-h']).error;

/** Starts the example `in_memory` behind one proxy. */
export async function startServer() {
  const child = start(process.env.IN_MEMORY_BIN, [], {
    env: { ...process.env, BIND: '127.0.0.1', PORT: '0', HTTP_FORWARDED_COUNT: '1' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = await within(once(createInterface({ input: child.stdout }), 'line'), 'a server');
  return { address: line.replace('listening on ', ''), stop: () => stop(child) };
}

async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  probe.close();
  await once(probe, 'close');
  return port;
}

/** What each proxy is given: its configuration with other addresses, and what a test adds to it. */
const PROXIES = {
  nginx: {
    file: 'nginx.conf',
    listen: ['listen 80;', (port) => `listen 127.0.0.1:${port};`],
    // nginx runs as it does in Debian, but in the foreground, with all files in one folder.
    configuration: (text, folder) => `
      daemon off;
      pid ${folder}/pid;
      error_log stderr warn;
      events {}
      http {
        access_log off;
        client_body_temp_path ${folder}/body;
        proxy_temp_path ${folder}/proxy;
        fastcgi_temp_path ${folder}/fastcgi;
        uwsgi_temp_path ${folder}/uwsgi;
        scgi_temp_path ${folder}/scgi;
        ${text}
      }`,
    args: (file) => ['-c', file, '-e', 'stderr'],
  },
  caddy: {
    file: 'Caddyfile',
    listen: ['example.com {', (port) => `http://127.0.0.1:${port} {`],
    configuration: (text) => `{\n\tadmin off\n}\n${text}`,
    args: (file) => ['run', '--adapter', 'caddyfile', '--config', file],
  },
};

/** Starts a proxy in front of two servers, as examples/deploy has it. */
export async function startProxy(name, servers) {
  const proxy = PROXIES[name];
  const port = await freePort();
  let text = readFileSync(new URL(`../../examples/deploy/${proxy.file}`, import.meta.url), 'utf8');
  const replace = (from, to) => {
    if (!text.includes(from)) throw new Error(`${proxy.file} has no ${from}`);
    text = text.replaceAll(from, to);
  };
  replace(proxy.listen[0], proxy.listen[1](port));
  replace('127.0.0.1:3000', servers[0].address);
  replace('127.0.0.1:3001', servers[1].address);
  return run(name, port, text);
}

/** Starts nginx in front of one server as it comes: with buffers, and with HTTP/1.0 to the server. */
export async function startUsualNginx(server, settings) {
  const port = await freePort();
  return run('nginx', port, `
    server {
      listen 127.0.0.1:${port};
      ${settings}
      location / { proxy_pass http://${server.address}; }
    }`);
}

/** Runs a proxy until it accepts connections. */
async function run(name, port, text) {
  const proxy = PROXIES[name];
  const folder = mkdtempSync(join(tmpdir(), `ddp-${name}-`));
  chmodSync(folder, 0o755); // Workers are of another account if this one is root.
  const file = join(folder, proxy.file);
  writeFileSync(file, proxy.configuration(text, folder));
  const child = start(name, proxy.args(file), {
    env: { ...process.env, HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (lines) => (log += lines));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  if (!(await accepts(port, child))) {
    await stop(child);
    remove();
    throw new Error(`${name} does not start:\n${log}`);
  }
  return { host: `127.0.0.1:${port}`, stop: () => stop(child).then(remove) };
}

/** Whether something listens at the port before the process ends, and in time. */
async function accepts(port, child) {
  const end = Date.now() + DEADLINE_MS;
  while (child.exitCode === null && Date.now() < end) {
    const socket = connect(port, '127.0.0.1');
    const isOpen = await once(socket, 'connect').then(() => true, () => false);
    socket.destroy();
    if (isOpen) return true;
    await new Promise((done) => setTimeout(done, POLL_MS));
  }
  return false;
}

async function stop(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  await within(ended, `the end of process ${child.pid}`);
}
