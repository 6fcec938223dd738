// What a client that can log in must see, against the ddp-accounts server. The adapter has, besides what
// scenario.mjs says, `login(name, password)` and `logout()`, which reject with the method's error.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { RAW, note } from './interop.mjs';
import { TEST_TIMEOUT_MS } from './scenario.mjs';
import { AccountsServer, eventually } from './server.mjs';

const ADA = { _id: 'adaLovelace', username: 'ada', profile: { name: 'ada' } };

export function accounts(who, connect) {
  describe(`accounts of ${who.client}`, () => {
    let server;
    let client;

    before(async () => (server = await AccountsServer.start()));
    afterEach(async () => {
      await client?.close();
      client = undefined;
    });
    after(() => server?.stop());

    const check = (exercised, title, body) =>
      it(title, { timeout: TEST_TIMEOUT_MS }, async () => {
        client = await connect(server);
        await client.subscribe('notes');
        await body();
        note(who, RAW, exercised);
      });

    /** Waits until the client has these documents of the user, and no others. */
    async function sees(users, notes) {
      let seen;
      await eventually(
        async () => {
          seen = [[...(await client.docs('users')).values()].map((user) => ({ ...user })), [...(await client.docs('notes')).keys()].sort()];
          return isDeepStrictEqual(seen, [users, notes]);
        },
        () => `the client has ${JSON.stringify(seen)}\nthe server's output:\n${server.output}`,
      );
    }

    const loggedIn = () => sees([ADA], ['adafalse', 'adatrue', 'alantrue']);
    const loggedOut = () => sees([], ['adatrue', 'alantrue']);

    check('password login', 'logs in by password', async () => {
      await loggedOut();
      await client.login('ada', 'analytical engine');
      await loggedIn();
      assert.equal(await client.call('whoami'), ADA._id);
    });

    check('refused logins', 'refuses a wrong password and an unknown user', async () => {
      await assert.rejects(client.login('ada', 'difference engine'), { error: 403, reason: 'Incorrect password' });
      await assert.rejects(client.login('nobody', 'analytical engine'), { error: 403, reason: 'User not found' });
      await loggedOut();
      assert.equal(await client.call('whoami'), null);
    });

    check('logout', 'logs out', async () => {
      await client.login('ada', 'analytical engine');
      await loggedIn();
      await client.logout();
      await loggedOut();
      assert.equal(await client.call('whoami'), null);
    });

    check('resume on reconnect', 'resumes after a restart of the server', async () => {
      await client.login('ada', 'analytical engine');
      await loggedIn();
      await server.kill();
      await eventually(async () => !(await client.connected()), () => 'the client did not notice that the server is gone');
      await server.launch();
      await eventually(client.connected, () => 'the client did not come back');
      await eventually(async () => (await client.call('whoami')) === ADA._id, () => `nobody is logged in:\n${server.output}`);
      await loggedIn();
    });
  });
}
