// Meteor's accounts packages: login by password and by token, the user's document, logout.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, afterEach, before, describe, it } from 'node:test';
import { fromNpm, note } from '../tests/clients/interop.mjs';
import { AccountsServer, eventually } from '../tests/clients/server.mjs';
import { TEST_TIMEOUT_MS } from '../tests/clients/scenario.mjs';
import { ACCOUNTS, copy, load, reactively, transport } from './client.mjs';

const ADA = { _id: 'adaLovelace', username: 'ada', profile: { name: 'ada' } };
const [ADAS, SHARED] = [['adafalse', 'adatrue', 'alantrue'], ['adatrue', 'alantrue']];

const PACKAGES = ['base', 'password'].map((name) => fromNpm(`accounts-${name}-client-side`, 'jsdom', import.meta.url));

/** The code that an authenticator app shows so many steps of 30 seconds from now. */
function totp(secret, steps) {
  const bits = [...secret].map((letter) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter).toString(2).padStart(5, '0')).join('');
  const step = Buffer.alloc(8);
  step.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000) + steps));
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const hash = createHmac('sha1', key).update(step).digest();
  return String((hash.readUInt32BE(hash[19] & 15) & 0x7fffffff) % 1_000_000).padStart(6, '0');
}

describe('an unmodified Meteor application with accounts', () => {
  let server;
  const apps = [];

  before(async () => (server = await AccountsServer.start()));

  afterEach(() => {
    const complaints = apps.flatMap((app) => app.complaints);
    for (const app of apps.splice(0)) {
      app.Meteor.disconnect();
      app.window.close();
    }
    assert.deepEqual(complaints, [], 'the application complained');
  });

  after(() => server?.stop());

  const check = (exercised, title, body) =>
    it(title, { timeout: TEST_TIMEOUT_MS }, async () => {
      await body();
      for (const each of PACKAGES) note(each, transport(apps[0].Meteor), exercised);
    });

  /** A new window, as after the page was loaded. `storage` is what it finds in localStorage. */
  async function open(storage) {
    const { window, complaints } = load(server.url, { scripts: ACCOUNTS, storage });
    const { Meteor, Mongo, Package } = window;
    const { Accounts } = Package['accounts-base'];
    const app = { window, complaints, Meteor, Accounts, Notes: new Mongo.Collection('notes') };
    app.stored = () => Object.fromEntries(Object.entries(window.localStorage).map(([key, value]) => [key, String(value)]));
    apps.push(app);
    await reactively(window, () => Meteor.status().connected && Accounts.loginServicesConfigured());
    await new Promise((resolve) => Meteor.subscribe('notes', resolve));
    return app;
  }

  const done = (start) => new Promise((resolve, reject) => start((error, result) => (error ? reject(error) : resolve(result))));
  const login = ({ Meteor }, name, password) => done((callback) => Meteor.loginWithPassword(name, password, callback));
  const logout = ({ Meteor }) => done((callback) => Meteor.logout(callback));
  const call = ({ Meteor }, ...params) => done((callback) => Meteor.call(...params, callback));
  const notes = ({ Notes }) => copy(Notes.find().fetch()).map(({ _id }) => _id).sort();
  const users = ({ Meteor }) => copy(Meteor.users.find().fetch());

  function assertLoggedOut(app) {
    assert.equal(app.Meteor.userId(), null);
    assert.equal(app.Meteor.user(), null);
    assert.equal(app.Meteor.loggingIn(), false);
    assert.deepEqual(users(app), []);
    assert.deepEqual(notes(app), SHARED);
    assert.deepEqual(app.stored(), {}, 'it kept a token');
  }

  function assertLoggedIn(app, user = ADA) {
    assert.equal(app.Meteor.userId(), user._id);
    assert.deepEqual(copy(app.Meteor.user()), user);
    assert.deepEqual(users(app), [user]);
    assert.deepEqual(notes(app), ADAS);
  }

  /** What an interface is told from now on about documents that come, change and go. */
  function observe({ Meteor, Notes }) {
    const events = [];
    for (const collection of [Meteor.users, Notes]) {
      collection.find().observeChanges({
        added: (id) => events.push(['added', id]),
        changed: (id, fields) => events.push(['changed', id, copy(fields)]),
        removed: (id) => events.push(['removed', id]),
      });
    }
    return events.splice(0) && events;
  }

  check('password login', 'logs in by password: the callback finds the user, and subscriptions run for the user', async () => {
    const app = await open();
    assertLoggedOut(app);
    assert.equal(await call(app, 'whoami'), null);
    const events = observe(app);
    await login(app, 'ada', 'analytical engine');
    assertLoggedIn(app);
    assert.equal(await call(app, 'whoami'), ADA._id);
    assert.deepEqual(events.sort(), [['added', 'adaLovelace'], ['added', 'adafalse']], 'only the difference is sent');
  });

  check('refused logins', 'refuses a wrong password and an unknown user', async () => {
    const app = await open();
    const refused = (reason) => (error) => error instanceof app.Meteor.Error && error.error === 403 && error.reason === reason;
    await assert.rejects(login(app, 'ada', 'difference engine'), refused('Incorrect password'));
    assertLoggedOut(app);
    await assert.rejects(login(app, 'nobody', 'analytical engine'), refused('User not found'));
    assertLoggedOut(app);
    await assert.rejects(done((callback) => app.Meteor.loginWithToken('made up', callback)), { error: 403 });
    assertLoggedOut(app);
    assert.equal(await call(app, 'whoami'), null);
  });

  // `accounts-2fa` is not on npm for this client; what its functions call is.
  check('second factor', 'logs in by password and a code, once a second factor is active', async () => {
    const app = await open();
    await login(app, 'alan', 'bletchley');
    const { svg, secret, uri } = await call(app, 'generate2faActivationQrCode', 'Test');
    assert.match(svg, /^<svg /);
    assert.ok(uri.endsWith(`?secret=${secret}&issuer=Test`), uri);
    const { recoveryCodes } = await call(app, 'enableUser2fa', totp(secret, 0));
    assert.equal(await call(app, 'has2faEnabled'), true);
    await logout(app);
    const withCode = (code) =>
      done((userCallback) =>
        app.Accounts.callLoginMethod({
          methodArguments: [{ user: { username: 'alan' }, password: app.Accounts._hashPassword('bletchley'), code }],
          userCallback,
        }),
      );
    await assert.rejects(login(app, 'alan', 'bletchley'), { error: 'no-2fa-code', reason: '2FA code must be informed' });
    await assert.rejects(withCode('000000'), { error: 'invalid-2fa-code' });
    assertLoggedOut(app);
    for (const code of [totp(secret, 1), recoveryCodes[0]]) {
      await withCode(code);
      assert.equal(app.Meteor.userId(), 'alanTuring');
      await assert.rejects(withCode(code), { error: 'invalid-2fa-code' });
    }
    await call(app, 'disableUser2fa');
    await logout(app);
    await login(app, 'alan', 'bletchley');
  });

  check('user document', 'sees what happens to its user, and nothing of others', async () => {
    const [ada, alan] = [await open(), await open()];
    await Promise.all([login(ada, 'ada', 'analytical engine'), login(alan, 'alan', 'bletchley')]);
    await call(ada, 'rename', 'Ada, Countess of Lovelace');
    await eventually(() => ada.Meteor.user().profile.name.startsWith('Ada,'), () => `${ada.Meteor.user().profile.name}`);
    assert.deepEqual(users(alan), [{ _id: 'alanTuring', username: 'alan', profile: { name: 'alan' } }]);
    await call(ada, 'rename', 'ada');
    assertLoggedIn(ada);
  });

  check('logout', 'logs out: the documents go, and the token is worth nothing', async () => {
    const app = await open();
    await login(app, 'ada', 'analytical engine');
    const token = app.Accounts._storedLoginToken();
    const events = observe(app);
    await logout(app);
    assertLoggedOut(app);
    assert.deepEqual(events.sort(), [['removed', 'adaLovelace'], ['removed', 'adafalse']], 'only the difference is sent');
    assert.equal(await call(app, 'whoami'), null);
    await assert.rejects(done((callback) => app.Meteor.loginWithToken(token, callback)), { error: 403 });
    assertLoggedOut(app);
    await login(app, 'ada', 'analytical engine');
    assertLoggedIn(app);
  });

  check('change of user', 'changes from one user to another without a logout', async () => {
    const app = await open();
    await login(app, 'alan', 'bletchley');
    const events = observe(app);
    await login(app, 'ada', 'analytical engine');
    assertLoggedIn(app);
    const expected = [['added', 'adaLovelace'], ['added', 'adafalse'], ['removed', 'alanTuring'], ['removed', 'alanfalse']];
    assert.deepEqual(events.sort(), expected);
  });

  check('resume on load', 'is still logged in when the page is loaded again', async () => {
    const first = await open();
    await login(first, 'ada', 'analytical engine');
    const second = await open(first.stored());
    await reactively(second.window, () => second.Meteor.user() && !second.Meteor.loggingIn());
    assertLoggedIn(second);
    assert.equal(await call(second, 'whoami'), ADA._id);
    assert.equal(second.Accounts._storedLoginToken(), first.Accounts._storedLoginToken());
  });

  check('resume on reconnect', 'resumes after a restart of the server, before its subscriptions and without flicker', async () => {
    const app = await open();
    await login(app, 'ada', 'analytical engine');
    const events = observe(app);
    await server.kill();
    await reactively(app.window, () => !app.Meteor.status().connected);
    assertLoggedIn(app);
    const offline = call(app, 'whoami');
    await server.launch();
    await reactively(app.window, () => app.Meteor.status().connected);
    assert.equal(await offline, ADA._id, 'the method ran before the login');
    assertLoggedIn(app);
    assert.deepEqual(events, [], 'it flickered');
    await call(app, 'rename', 'Ada');
    await eventually(() => events.length === 1, () => `the user is ${JSON.stringify(users(app))}`);
    assert.deepEqual(events, [['changed', 'adaLovelace', { profile: { name: 'Ada' } }]]);
    await call(app, 'rename', 'ada');
  });
});
