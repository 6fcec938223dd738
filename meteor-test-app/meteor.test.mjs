// What only Meteor's own client can show: stubs and their ids, no flicker, Tracker, status, resent methods.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { note } from '../tests/clients/interop.mjs';
import { TodosServer, eventually } from '../tests/clients/server.mjs';
import { TEST_TIMEOUT_MS, converges, shows } from '../tests/clients/scenario.mjs';
import { connect, copy, inRuntime, reactively } from './client.mjs';

/** The stubs of the application: what its methods do in minimongo until the server has answered. */
function defineStubs({ Meteor, Tasks }) {
  Meteor.methods({
    'tasks.insert': ({ listId, text }) => Tasks.insert({ listId, text, checked: false, createdAt: new Date() }),
    'tasks.setChecked': (id, checked) => Tasks.update(id, { $set: { checked } }),
    'tasks.remove': (id) => Tasks.remove(id),
  });
}

/** Records what an interface that shows the collection would be told. */
function observe({ Tasks }, selector = {}) {
  const events = [];
  Tasks.find(selector).observeChanges({
    added: (id, fields) => events.push(['added', id, copy(fields)]),
    changed: (id, fields) => events.push(['changed', id, copy(fields)]),
    removed: (id) => events.push(['removed', id]),
  });
  return events;
}

const kinds = (events, id) => events.filter((event) => event[1] === id).map(([kind]) => kind);

/** Calls a method that has a stub: returns the stub's value, and a promise of the server's. */
function apply({ Meteor }, name, ...params) {
  let result;
  const done = new Promise((resolve, reject) => {
    const callback = (error, value) => (error ? reject(error) : resolve(value));
    result = Meteor.apply(name, params, { returnStubValue: true }, callback);
  });
  return { stub: result, done };
}

describe('an unmodified Meteor application', () => {
  let server;
  let app;

  before(async () => {
    server = await TodosServer.start();
  });

  afterEach(async () => {
    const complaints = app?.complaints ?? [];
    await app?.close();
    app = undefined;
    await server.psql('delete from tasks');
    assert.deepEqual(complaints, [], 'the application complained');
  });

  after(() => server?.stop());

  const check = (exercised, title, body) =>
    it(title, { timeout: TEST_TIMEOUT_MS }, async () => {
      app = await connect(server);
      await body();
      note(inRuntime('jsdom'), app.transport(), exercised);
    });

  check('stubs', 'inserts under the id that its stub chose, without flicker', async () => {
    defineStubs(app);
    await app.subscribe('tasks');
    const events = observe(app);
    const ids = [];
    for (const text of ['one', 'two', 'three']) {
      const { stub, done } = apply(app, 'tasks.insert', { listId: 'home', text });
      assert.equal(app.Tasks.findOne(stub)?.text, text, 'the stub shows at once');
      assert.equal(await done, stub, 'the server chose another id than the stub');
      ids.push(stub);
    }
    await converges(app, server);
    assert.deepEqual([...(await server.tasks()).keys()].sort(), [...ids].sort());
    for (const id of ids) {
      const [first, ...rest] = kinds(events, id);
      assert.equal(first, 'added');
      assert.ok(rest.every((kind) => kind === 'changed'), `flicker: ${JSON.stringify(events)}`);
    }
  });

  check('stubs', 'checks and removes at once, and the server agrees', async () => {
    defineStubs(app);
    await server.psql(`insert into tasks (id, list_id, text) values ('a', 'home', 'a'), ('b', 'home', 'b')`);
    await app.subscribe('tasks');
    const events = observe(app);
    const checking = apply(app, 'tasks.setChecked', 'a', true);
    assert.equal(app.Tasks.findOne('a').checked, true);
    const removing = apply(app, 'tasks.remove', 'b');
    assert.equal(app.Tasks.findOne('b'), undefined);
    await Promise.all([checking.done, removing.done]);
    await converges(app, server);
    assert.deepEqual(events.slice(2), [['changed', 'a', { checked: true }], ['removed', 'b']]);
  });

  check('refused stubs', 'takes back what its stub did when the server refuses', async () => {
    defineStubs(app);
    await app.subscribe('tasks');
    const { stub, done } = apply(app, 'tasks.insert', { listId: 'home', text: '' });
    assert.ok(app.Tasks.findOne(stub), 'the stub shows at once');
    await assert.rejects(done, (error) => error.error === 'empty-text' && error instanceof app.Meteor.Error);
    await eventually(() => app.Tasks.find().count() === 0, () => `still there: ${JSON.stringify(app.Tasks.find().fetch())}`);
    await converges(app, server);
  });

  check('write fence', 'has its method in minimongo when the callback runs', async () => {
    await app.subscribe('tasks');
    for (let n = 0; n < 20; n++) {
      const found = await new Promise((resolve, reject) => {
        app.Meteor.call('tasks.insert', { listId: 'home', text: `${n}` }, (error, id) =>
          error ? reject(error) : resolve(app.Tasks.findOne(id)),
        );
      });
      assert.equal(found?.text, `${n}`, 'the callback ran before the document arrived');
    }
  });

  check('Tracker', 'reruns its computations when psql changes a row', async () => {
    await server.psql(`insert into tasks (id, list_id, text) values ('a', 'home', 'a'), ('b', 'home', 'b')`);
    await app.subscribe('tasks');
    const counts = [];
    app.window.Tracker.autorun(() => counts.push(app.Tasks.find({ checked: true }).count()));
    await server.psql(`update tasks set checked = true`);
    await eventually(() => counts.at(-1) === 2, () => `checked: ${counts}`);
    await server.psql(`update tasks set checked = false where id = 'b'`);
    await eventually(() => counts.at(-1) === 1, () => `checked: ${counts}`);
    assert.equal(counts[0], 0);
  });

  check('overlapping subscriptions', 'merges overlapping subscriptions', async () => {
    await server.psql(`insert into tasks (id, list_id, text) values ('a', 'home', 'a'), ('b', 'work', 'b')`);
    const all = await app.subscribe('tasks');
    const events = observe(app);
    const home = await app.subscribe('tasks.byList', 'home');
    await all.stop();
    await converges(app, server, `list_id = 'home'`);
    const again = await app.subscribe('tasks');
    await converges(app, server);
    await home.stop();
    await server.psql(`update tasks set text = 'a, still here' where id = 'a'`);
    await shows(app, server, 'a', { text: 'a, still here' });
    await converges(app, server);
    await server.psql(`update tasks set list_id = 'work' where id = 'a'`);
    await shows(app, server, 'a', { listId: 'work' });
    assert.deepEqual(kinds(events, 'a'), ['added', 'changed', 'changed']);
    assert.deepEqual(kinds(events, 'b'), ['added', 'removed', 'added']);
    await again.stop();
    await converges(app, server, 'false');
  });

  check('offline methods', 'comes back after a restart: status, unchanged documents untouched, methods resent', async () => {
    defineStubs(app);
    await server.psql(`insert into tasks (id, list_id, text) values
      ('same', 'home', 'same'), ('changed', 'home', 'old'), ('gone', 'work', 'gone')`);
    await app.subscribe('tasks');
    await app.subscribe('tasks.byList', 'home');
    const events = observe(app);
    const statuses = [];
    app.window.Tracker.autorun(() => statuses.push(app.Meteor.status().status));

    await server.kill();
    await reactively(app.window, () => !app.Meteor.status().connected);
    assert.equal(app.Tasks.find().count(), 3, 'it keeps showing what it had');
    const insert = apply(app, 'tasks.insert', { listId: 'home', text: 'written offline' });
    await server.psql(`update tasks set text = 'new' where id = 'changed'; delete from tasks where id = 'gone'`);
    await server.launch();

    await reactively(app.window, () => app.Meteor.status().connected);
    assert.equal(app.Meteor.status().retryCount, 0);
    assert.equal(await insert.done, insert.stub);
    await converges(app, server);
    assert.equal((await server.tasks(`text = 'written offline'`)).size, 1);
    assert.deepEqual(kinds(events, 'same'), ['added'], `flicker: ${JSON.stringify(events)}`);
    assert.deepEqual(kinds(events, 'changed'), ['added', 'changed']);
    assert.deepEqual(kinds(events, 'gone'), ['added', 'removed']);
    assert.ok(!kinds(events, insert.stub).includes('removed'), `flicker: ${JSON.stringify(events)}`);
    assert.equal(statuses[0], 'connected');
    assert.ok(statuses.includes('waiting') || statuses.includes('connecting'), `${statuses}`);
    assert.equal(statuses.at(-1), 'connected');
  });

  check('MongoID ids', 'gets ids by the MongoID rule', async () => {
    const ids = ['0123456789abcdef01234567', '-dash', '~1', '{"brace"}', 'żółw', '12', '23456789ABCDEFGHJ'];
    await server.psql(`insert into tasks (id, list_id, text) values ${ids.map((id) => `('${id}', 'home', 'x')`)}`);
    await app.subscribe('tasks');
    await converges(app, server);
    for (const id of ids) await app.call('tasks.setChecked', id, true);
    await converges(app, server);
    await server.psql(`delete from tasks where id <> '-dash'`);
    await converges(app, server);
  });

  check('autoupdate', 'finds the publications ready that every Meteor application asks for', async () => {
    await app.subscribe('meteor_autoupdate_clientVersions');
    await assert.rejects(app.subscribe('no.such.publication'), { error: 404 });
  });
});
