// The servers under test, the database of todos, and psql as the separate writer.
//
// TODOS_BIN     the todos binary
// ACCOUNTS_BIN  the ddp-accounts binary
// FIRST_APP_BIN the ddp-first-app binary, the program of the first app guide
// DATABASE_URL  a cluster whose role may create databases; every test file gets a database of its own
// PSQL          psql, if it is not in PATH

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

/** How long anything may take before a test gives up on it. */
export const DEADLINE_MS = 20_000;

const POLL_MS = 10;

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/**
 * Waits until `holds` returns something true, and returns that.
 * After the deadline it throws `explain()`, so that a failure says what there was instead.
 */
export async function eventually(holds, explain, deadlineMs = DEADLINE_MS) {
  const end = Date.now() + deadlineMs;
  for (;;) {
    const value = await holds();
    if (value) return value;
    if (Date.now() > end) throw new Error(`${await explain()}\n(waited ${deadlineMs / 1000} s)`);
    await sleep(POLL_MS);
  }
}

function environment(name, what) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: it must be ${what} (./tests/run clients sets it)`);
  return value;
}

async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  probe.close();
  await once(probe, 'close');
  return port;
}

/** Runs SQL in a psql process of its own, and returns what it printed. Statements commit one by one. */
async function psql(databaseUrl, sql) {
  const args = ['--no-psqlrc', '--quiet', '--tuples-only', '--no-align', '--set=ON_ERROR_STOP=1'];
  const child = spawn(process.env.PSQL || 'psql', [...args, `--dbname=${databaseUrl}`, '--file=-'], {
    env: { ...process.env, PGOPTIONS: '--client-min-messages=warning', PGCLIENTENCODING: 'UTF8' },
  });
  let output = '';
  let errors = '';
  child.stdout.setEncoding('utf8').on('data', (text) => (output += text));
  child.stderr.setEncoding('utf8').on('data', (text) => (errors += text));
  child.stdin.on('error', () => {}); // psql left early, and its exit code says so.
  child.stdin.end(sql);
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`psql exited with ${code}: ${errors}\n${sql}`);
  return output.trimEnd();
}

const inDatabase = (url, name) => url.replace(/^(\w+:\/\/[^/?]*)(\/[^?]*)?/, `$1/${name}`);

/** A server at a port of its own, which it keeps when it is killed and launched again. */
class ServerProcess {
  #binary;
  #settings;
  #child = null;
  output = '';

  async prepare(variable, settings = {}) {
    this.#binary = resolve(environment(variable, 'the path of that binary'));
    if (!existsSync(this.#binary)) throw new Error(`${variable}: there is no ${this.#binary}`);
    this.port = await freePort();
    this.#settings = settings;
    process.once('exit', () => this.#child?.kill('SIGKILL'));
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  get websocketUrl() {
    return `ws://127.0.0.1:${this.port}/websocket`;
  }

  /** Starts the process, and returns once it accepts connections. */
  async launch() {
    const env = { ...process.env, PORT: String(this.port), BIND: '127.0.0.1', ...this.#settings };
    const child = spawn(this.#binary, [], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    const keep = (text) => (this.output = (this.output + text).slice(-20_000));
    child.stdout.setEncoding('utf8').on('data', keep);
    child.stderr.setEncoding('utf8').on('data', keep);
    child.on('error', (error) => keep(`${error}\n`));
    await eventually(
      async () => {
        if (child.exitCode !== null || child.signalCode !== null) {
          throw new Error(`${this.#binary} ended (${child.exitCode ?? child.signalCode}):\n${this.output}`);
        }
        return fetch(`${this.url}/`, { signal: AbortSignal.timeout(2_000) }).then((response) => response.text().then(() => true), () => false);
      },
      () => `${this.#binary} does not accept connections at ${this.url}:\n${this.output}`,
    );
  }

  /** Ends the process with SIGKILL: no goodbye to anyone. */
  async kill() {
    const child = this.#child;
    this.#child = null;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }

  stop() {
    return this.kill();
  }
}

/** The server with two users of tests/src/bin/ddp-accounts.rs, which outlive it in a file. */
export class AccountsServer extends ServerProcess {
  #folder;

  static async start() {
    const server = new AccountsServer();
    server.#folder = mkdtempSync(join(tmpdir(), 'ddp-accounts-'));
    await server.prepare('ACCOUNTS_BIN', { ACCOUNTS_FILE: join(server.#folder, 'users.json') });
    await server.launch();
    return server;
  }

  async stop() {
    await super.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** A server with a database of its own, which goes with it. */
class DatabaseServer extends ServerProcess {
  #clusterUrl;
  #database;
  #databaseUrl;

  /** Makes the database, and then does `launch`. */
  async begin(variable, name, launch) {
    this.#clusterUrl = environment('DATABASE_URL', 'the URL of a PostgreSQL cluster');
    this.#database = `${name}_${randomBytes(6).toString('hex')}`;
    this.#databaseUrl = inDatabase(this.#clusterUrl, this.#database);
    await this.prepare(variable, { DATABASE_URL: this.#databaseUrl });
    await psql(this.#clusterUrl, `create database ${this.#database}`);
    try {
      await launch();
    } catch (error) {
      await this.stop();
      throw error;
    }
    return this;
  }

  async stop() {
    await this.kill();
    await psql(this.#clusterUrl, `drop database if exists ${this.#database} with (force)`);
  }

  psql(sql) {
    return psql(this.#databaseUrl, sql);
  }
}

/** The program of the first app guide, on a database with this setup. */
export class FirstAppServer extends DatabaseServer {
  static start(setup) {
    const server = new FirstAppServer();
    return server.begin('FIRST_APP_BIN', 'guestbook', async () => {
      await server.psql(setup);
      await server.launch();
    });
  }
}

/** One todos server with an empty `tasks` table. */
export class TodosServer extends DatabaseServer {
  static start() {
    const server = new TodosServer();
    return server.begin('TODOS_BIN', 'todos', async () => {
      await server.launch();
      await server.psql('delete from tasks');
    });
  }

  /** The table as documents, straight from SQL; `createdAt` in whole milliseconds. */
  async tasks(where = 'true') {
    const lines = await this.psql(`
      select json_build_object('_id', id, 'listId', list_id, 'text', text, 'checked', checked,
        'createdAt', floor(extract(epoch from created_at) * 1000)::bigint)
      from tasks where ${where} order by id`);
    const documents = lines.split('\n').filter(Boolean).map((line) => JSON.parse(line));
    return new Map(documents.map((document) => [document._id, document]));
  }
}
