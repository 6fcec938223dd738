// What every client must see. Each `<client>.test.mjs` runs it with its adapter, and says who the client is
// as one of the functions of interop.mjs does.
//
// An adapter is `connect(server)`, which returns:
//   subscribe(name, ...params)  resolves at ready with { stop() }, rejects with the error of nosub
//   docs(collection)            a Map from id to document, as the client has it now, or a promise of it
//   call(name, ...params)       the result, or rejects with the method's error
//   connected()                 whether the client believes that it is connected, or a promise of it
//   close()
// and may have
//   date(ms)                    how that client presents an instant, a Date unless told
//   transport()                 over what it is connected, or a promise of it; raw unless told

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { inspect, isDeepStrictEqual } from 'node:util';
import { RAW, note } from './interop.mjs';
import { TodosServer, eventually } from './server.mjs';

/** A client that never answers must not stall the run. */
export const TEST_TIMEOUT_MS = 120_000;

/** A client may wait long between two attempts to reconnect. */
const RECONNECT_DEADLINE_MS = 40_000;

const show = (value) => inspect(value, { depth: 4, maxStringLength: 80, maxArrayLength: 30, breakLength: 120 });

/** An instant may be a microsecond value in the table: the client has it rounded or cut to milliseconds. */
function sameDocument(actual, expected, date) {
  return [expected.createdAt, expected.createdAt + 1].some((ms) =>
    isDeepStrictEqual({ ...actual }, { ...expected, createdAt: date(ms) }),
  );
}

function sameDocuments(actual, expected, date) {
  if (actual.size !== expected.size) return false;
  return [...expected].every(([id, document]) => actual.has(id) && sameDocument(actual.get(id), document, date));
}

function difference(actual, expected, date) {
  const lines = [];
  for (const [id, document] of expected) {
    if (!actual.has(id)) lines.push(`lacks   ${show(document)}`);
    else if (!sameDocument(actual.get(id), document, date)) {
      lines.push(`has     ${show(actual.get(id))}\n  not     ${show(document)}`);
    }
  }
  for (const [id, document] of actual) if (!expected.has(id)) lines.push(`also has ${show(document)}`);
  return lines.slice(0, 12).join('\n  ');
}

/** Waits until the client has exactly the rows of the table for which `where` holds. */
export async function converges(client, server, where = 'true', deadlineMs = undefined) {
  const date = client.date ?? ((ms) => new Date(ms));
  const expected = await server.tasks(where);
  let docs;
  await eventually(
    async () => sameDocuments((docs = await client.docs('tasks')), expected, date),
    () =>
      `the client's ${docs.size} documents are not the table's ${expected.size} rows (${where}):\n  ` +
      `${difference(docs, expected, date)}\nthe server's output:\n${server.output}`,
    deadlineMs,
  );
}

/** Waits until the client's document has these fields. */
export async function shows(client, server, id, fields) {
  let document;
  const holds = async () => {
    document = (await client.docs('tasks')).get(id);
    return document && Object.entries(fields).every(([name, value]) => isDeepStrictEqual(document[name], value));
  };
  await eventually(
    holds,
    () => `document ${id} is ${show(document)}, not ${show(fields)}\nthe server's output:\n${server.output}`,
  );
}

async function rejects(promise, error, reason) {
  const outcome = await promise.then((result) => ({ result }), (thrown) => ({ thrown }));
  assert.ok(outcome.thrown, `expected error ${error}, got the result ${show(outcome.result)}`);
  assert.equal(outcome.thrown.error, error, show(outcome.thrown));
  if (reason) assert.equal(outcome.thrown.reason, reason, show(outcome.thrown));
}

const EVERY_SORT_OF_TEXT = `quote ' " \\ \t, a line\nbreak, <b>&amp;, zażółć, 日本語, 🐘, \u2028`;

const literal = (text) => `E'${text.replaceAll('\\', '\\\\').replaceAll("'", "''").replaceAll('\n', '\\n')}'`;

export function scenario(who, connect, how = '') {
  describe(`${who.client} in ${who.runtime} ${how}`.trimEnd(), () => {
    let server;
    const clients = new Set();
    const transports = new Set();

    const open = async () => {
      const client = await connect(server);
      clients.add(client);
      transports.add((await client.transport?.()) ?? RAW);
      return client;
    };

    const subscribed = async (...publication) => {
      const client = await open();
      client.subscription = await client.subscribe(...publication);
      return client;
    };

    before(async () => {
      server = await TodosServer.start();
    });

    afterEach(async () => {
      const closing = await Promise.allSettled([...clients].map((client) => client.close()));
      clients.clear();
      await server.psql('delete from tasks');
      for (const { reason } of closing) if (reason) throw reason;
    });

    after(() => server?.stop());

    const check = (exercised, title, body) =>
      it(title, { timeout: TEST_TIMEOUT_MS }, async () => {
        transports.clear();
        await body();
        for (const transport of transports) note(who, transport, exercised);
      });

    check('rows at ready', 'sees the rows that were there before', async () => {
      await server.psql(`insert into tasks (id, list_id, text, checked, created_at) values
        ('one', 'home', 'water the plants', false, '2024-02-29 12:34:56.789+00'),
        ('two', 'work', 'write the report', true, '1969-07-20 20:17:40.001+00')`);
      const client = await subscribed('tasks');
      const docs = await client.docs('tasks');
      assert.equal(docs.size, 2, `at ready: ${show(docs)}`);
      await converges(client, server);
    });

    check('changes by psql', 'sees what psql inserts, updates and deletes, with the right types', async () => {
      const client = await subscribed('tasks');
      await server.psql(`insert into tasks (id, list_id, text, checked, created_at)
        values ('one', 'home', 'milk', false, '2024-02-29 12:34:56.789+00')`);
      const at = (ms) => (client.date ?? ((value) => new Date(value)))(ms);
      const created = { _id: 'one', listId: 'home', text: 'milk', checked: false, createdAt: at(1709210096789) };
      await shows(client, server, 'one', created);

      await server.psql(`update tasks set checked = true where id = 'one'`);
      await shows(client, server, 'one', { ...created, checked: true });

      await server.psql(`update tasks set text = null, created_at = '2038-01-19 03:14:07.001+00' where id = 'one'`);
      await shows(client, server, 'one', { ...created, checked: true, text: null, createdAt: at(2147483647001) });

      await server.psql(`update tasks set text = ${literal(EVERY_SORT_OF_TEXT)} where id = 'one'`);
      await shows(client, server, 'one', { text: EVERY_SORT_OF_TEXT });

      await server.psql(`insert into tasks (id, list_id, text) values ('nothing', 'home', null)`);
      await shows(client, server, 'nothing', { text: null, checked: false });

      await server.psql(`delete from tasks where id = 'one'`);
      await converges(client, server);
    });

    check('bulk changes', 'sees a statement that touches many rows, and a text too long for one notification', async () => {
      const client = await subscribed('tasks');
      await server.psql(`insert into tasks (id, list_id, text) select 'row' || i, 'home', 'task ' || i
        from generate_series(1, 2000) i`);
      await converges(client, server);
      await server.psql(`update tasks set checked = true, text = text || '!' where id like 'row1%'`);
      await converges(client, server);
      await server.psql(`update tasks set text = repeat('ł🐘"', 10000) where id = 'row7'`);
      await converges(client, server);
      await server.psql(`delete from tasks where id <> 'row7'`);
      await converges(client, server);
      await server.psql('truncate tasks');
      await converges(client, server);
    });

    check('transactions', 'sees a transaction as its last state', async () => {
      await server.psql(`insert into tasks (id, list_id, text) values
        ('a', 'home', 'a0'), ('b', 'home', 'b0'), ('c', 'home', 'c0'), ('d', 'home', 'd0')`);
      const client = await subscribed('tasks');
      await server.psql(`begin;
        update tasks set text = 'a1' where id = 'a';
        update tasks set text = 'a2' where id = 'a';
        update tasks set text = 'a3', list_id = 'work' where id = 'a';
        delete from tasks where id = 'b';
        insert into tasks (id, list_id, text) values ('b', 'work', 'b again');
        update tasks set id = 'renamed' where id = 'c';
        insert into tasks (id, list_id, text) values ('ghost', 'home', 'never seen');
        update tasks set text = 'still never seen' where id = 'ghost';
        delete from tasks where id = 'ghost';
        delete from tasks where id = 'd';
        insert into tasks (id, list_id, text) values ('last', 'home', 'last');
        commit`);
      await shows(client, server, 'last', { text: 'last' });
      await converges(client, server);
    });

    check('rollback', 'sees nothing of a transaction that rolls back', async () => {
      await server.psql(`insert into tasks (id, list_id, text) values ('a', 'home', 'a0'), ('b', 'home', 'b0')`);
      const client = await subscribed('tasks');
      await server.psql(`begin;
        update tasks set text = 'rolled back';
        insert into tasks (id, list_id, text) values ('c', 'home', 'rolled back');
        delete from tasks where id = 'b';
        rollback;
        insert into tasks (id, list_id, text) values ('marker', 'home', 'after the rollback')`);
      await shows(client, server, 'marker', { text: 'after the rollback' });
      const texts = [...(await client.docs('tasks')).values()].map((document) => document.text).sort();
      assert.deepEqual(texts, ['a0', 'after the rollback', 'b0']);
      await converges(client, server);
    });

    check('one of several lists', 'sees one list only, as rows enter and leave it', async () => {
      await server.psql(`insert into tasks (id, list_id, text) values ('a', 'home', 'a'), ('b', 'work', 'b'), ('c', null, 'c')`);
      const client = await subscribed('tasks.byList', 'home');
      const home = `list_id = 'home'`;
      await converges(client, server, home);
      await server.psql(`update tasks set list_id = 'home' where id in ('b', 'c')`);
      await converges(client, server, home);
      await server.psql(`update tasks set list_id = 'work', text = 'moved' where id = 'a'`);
      await converges(client, server, home);
      await server.psql(`insert into tasks (id, list_id, text) values ('d', 'home', 'd'), ('e', 'work', 'e')`);
      await converges(client, server, home);
      await server.psql(`delete from tasks where id in ('b', 'e'); update tasks set list_id = null where id = 'c'`);
      await converges(client, server, home);
    });

    check('methods', 'calls methods and gets their results', async () => {
      const client = await subscribed('tasks');
      const id = await client.call('tasks.insert', { listId: 'home', text: EVERY_SORT_OF_TEXT });
      assert.match(id, /^[23456789A-Za-z]{17}$/);
      await shows(client, server, id, { _id: id, listId: 'home', text: EVERY_SORT_OF_TEXT, checked: false });
      await client.call('tasks.setChecked', id, true);
      await shows(client, server, id, { checked: true });
      assert.equal(await server.psql('select checked from tasks'), 't');
      await client.call('tasks.setChecked', id, false);
      await shows(client, server, id, { checked: false });
      await converges(client, server);

      const numbers = Array.from({ length: 20 }, (_, index) => index);
      const ids = await Promise.all(numbers.map((n) => client.call('tasks.insert', { listId: 'work', text: `${n}` })));
      assert.equal(new Set(ids).size, ids.length);
      await converges(client, server);
      const docs = await client.docs('tasks');
      ids.forEach((each, n) => assert.equal(docs.get(each).text, `${n}`));

      await client.call('tasks.remove', id);
      await converges(client, server);
    });

    check('errors', 'gets the errors of methods and publications', async () => {
      const client = await subscribed('tasks');
      const id = await client.call('tasks.insert', { listId: 'home', text: 'stays' });
      await rejects(client.call('no.such.method', 1), 404, "Method 'no.such.method' not found");
      await rejects(client.call('tasks.setChecked', 'unknown', true), 'not-found');
      await rejects(client.call('tasks.remove', 'unknown'), 'not-found');
      await rejects(client.call('tasks.insert', { listId: 'home', text: '' }), 'empty-text');
      await rejects(client.call('tasks.insert', { listId: 1, text: 2 }), 400, 'Match failed');
      await rejects(client.call('tasks.insert', 'milk'), 400, 'Match failed');
      await rejects(client.call('tasks.setChecked', id, 'yes'), 400, 'Match failed');
      await rejects(client.call('tasks.remove', { $gt: '' }), 400, 'Match failed');
      await rejects(client.subscribe('no.such.publication'), 404, "Subscription 'no.such.publication' not found");
      await converges(client, server);
      assert.equal((await client.docs('tasks')).size, 1);
    });

    check('reconnect', 'comes back after the server was killed, with what changed meanwhile', async () => {
      await server.psql(`insert into tasks (id, list_id, text) values
        ('a', 'home', 'a0'), ('b', 'home', 'b0'), ('c', 'work', 'c0')`);
      const client = await subscribed('tasks');
      await client.subscribe('tasks.byList', 'home');
      await converges(client, server);

      await server.kill();
      await eventually(async () => !(await client.connected()), () => 'the client did not notice that the server is gone');
      await server.psql(`update tasks set text = 'a1', checked = true where id = 'a';
        delete from tasks where id = 'b';
        insert into tasks (id, list_id, text) values ('d', 'home', 'd0')`);
      await server.launch();

      await eventually(client.connected, () => 'the client did not come back', RECONNECT_DEADLINE_MS);
      await converges(client, server);
      await server.psql(`update tasks set text = 'a2' where id = 'a'; delete from tasks where id = 'c'`);
      await shows(client, server, 'a', { text: 'a2' });
      await converges(client, server);
      await client.call('tasks.setChecked', 'd', true);
      await shows(client, server, 'd', { checked: true });
    });

    check('unsubscribe', 'loses the documents of a subscription that it stops, and only those', async () => {
      await server.psql(`insert into tasks (id, list_id, text) values ('a', 'home', 'a'), ('b', 'work', 'b')`);
      const client = await subscribed('tasks');
      const home = await client.subscribe('tasks.byList', 'home');
      await converges(client, server);
      await client.subscription.stop();
      await converges(client, server, `list_id = 'home'`);
      await server.psql(`update tasks set text = text || '!'`);
      await shows(client, server, 'a', { text: 'a!' });
      await converges(client, server, `list_id = 'home'`);
      await home.stop();
      await converges(client, server, 'false');
    });
  });
}
