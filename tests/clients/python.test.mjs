import { after, before, describe, it } from 'node:test';
import { accounts } from './accounts.mjs';
import { connect } from './adapters/python.mjs';
import { RAW, note, pinned } from './interop.mjs';
import { TEST_TIMEOUT_MS, converges, scenario, shows } from './scenario.mjs';
import { TodosServer } from './server.mjs';

const REQUIREMENTS = new URL('python/requirements.txt', import.meta.url);
const PYTHON_METEOR = pinned('python-meteor', 'Python', REQUIREMENTS, /^python-meteor==(.*)$/m);

scenario(PYTHON_METEOR, connect);
accounts(PYTHON_METEOR, connect);

describe('the ends of python-meteor', () => {
  let server;
  before(async () => (server = await TodosServer.start()));
  after(() => server?.stop());

  for (const [how, code] of [['without closing', null], ['with close code 1005', 1005]]) {
    it(`a client that leaves ${how} harms no other`, { timeout: TEST_TIMEOUT_MS }, async () => {
      const [leaves, stays] = await Promise.all([connect(server), connect(server)]);
      await Promise.all([leaves.subscribe('tasks'), stays.subscribe('tasks')]);
      await leaves.call('tasks.insert', { listId: 'home', text: how });
      await leaves.close(code);
      await server.psql(`update tasks set checked = true where text = '${how}'`);
      const [[id]] = await server.tasks(`text = '${how}'`);
      await shows(stays, server, id, { checked: true });
      const comes = await connect(server);
      await comes.subscribe('tasks');
      await converges(comes, server);
      await comes.call('tasks.setChecked', id, false);
      await shows(stays, server, id, { checked: false });
      await Promise.all([comes.close(), stays.close()]);
      note(PYTHON_METEOR, RAW, `leaving ${how}`);
    });
  }
});
