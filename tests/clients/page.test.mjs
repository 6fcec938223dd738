// The todos page in headless Chromium.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { launchBrowser } from './browser.mjs';
import { TodosServer, eventually } from './server.mjs';
import { TEST_TIMEOUT_MS } from './scenario.mjs';

/** What Chromium itself says of a server that is down. */
const CONNECTION_FAILED = /^WebSocket connection to '[^']*' failed/;

/** The page as its user sees it. */
const onScreen = () =>
  [...document.querySelectorAll('[data-testid=task]')].map((row) => ({
    id: row.dataset.id,
    text: row.querySelector('[data-testid=text]').textContent,
    checked: row.querySelector('[data-testid=check]').checked,
  }));

describe('the todos page', () => {
  let server;
  let browser;
  let complaints = [];

  before(async () => {
    server = await TodosServer.start();
    browser = await launchBrowser();
  });

  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  afterEach(async () => {
    for (const page of browser.pages()) await page.close();
    await server.psql('delete from tasks; delete from accounts.users');
    const seen = complaints.filter((text) => !CONNECTION_FAILED.test(text));
    complaints = [];
    assert.deepEqual(seen, [], 'the page complained');
  });

  const check = (title, body) => it(title, { timeout: TEST_TIMEOUT_MS }, body);

  async function open(hash = '') {
    const page = await browser.newPage();
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(String(error)));
    await page.goto(`${server.url}/${hash}`);
    await connection(page, 'connected');
    await page.locator('main[aria-busy=false]').waitFor();
    return page;
  }

  const connection = (page, status) => page.locator(`html[data-connection=${status}]`).waitFor({ state: 'attached' });

  const task = (page, id) => page.locator(`[data-testid=task][data-id="${id}"]`);

  /** Waits until the page shows exactly the table's rows for which `where` holds. */
  async function converges(page, where = 'true') {
    const rows = await server.psql(`select json_build_object('id', id, 'text', coalesce(text, '(no text)'), 'checked', checked)
      from tasks where ${where} order by created_at desc, id`);
    const expected = rows.split('\n').filter(Boolean).map((line) => JSON.parse(line));
    let seen;
    await eventually(
      async () => isDeepStrictEqual((seen = await page.evaluate(onScreen)), expected),
      () => `the page shows\n${JSON.stringify(seen)}\nnot\n${JSON.stringify(expected)}\nthe server's output:\n${server.output}`,
    );
  }

  check('shows the rows, and what psql does to them', async () => {
    await server.psql(`insert into tasks (id, list_id, text, checked, created_at) values
      ('a', 'home', 'water the plants', false, now() - interval '5 minutes'),
      ('b', 'work', '<img src=x onerror=alert(1)> & "quotes"', true, now() - interval '2 days')`);
    const page = await open();
    await converges(page);
    assert.equal(await task(page, 'a').locator('time').textContent(), '5 minutes ago');
    assert.equal(await page.getByTestId('counter').textContent(), '1 open, 1 done');
    assert.match(await page.getByTestId('statement').textContent(), /where id = 'a'/);

    await server.psql(`insert into tasks (id, list_id, text, created_at) values ('c', null, null, now() - interval '1 minute')`);
    await converges(page);
    await server.psql(`update tasks set text = 'changed from psql', checked = not checked where id = 'a'`);
    await converges(page);
    assert.equal(await task(page, 'a').getAttribute('data-flashed'), '1', 'a change from elsewhere flashes');
    await server.psql(`delete from tasks where id = 'b'`);
    await converges(page);
  });

  check('runs the statement that it suggests', async () => {
    await server.psql(`insert into tasks (id, list_id, text) values ('it''s', 'home', 'old')`);
    const page = await open();
    await server.psql(await page.getByTestId('statement').textContent());
    assert.equal(await server.psql('select text, checked from tasks'), 'changed from psql|t');
    await converges(page);
  });

  check('adds, checks and removes by keyboard and mouse', async () => {
    const page = await open('#/list/home');
    await page.getByTestId('new-task').fill('water the plants');
    await page.keyboard.press('Enter');
    await page.getByTestId('task').waitFor();
    await converges(page, `list_id = 'home'`);
    await page.getByTestId('new-task').fill('call home');
    await page.getByTestId('add-task').click();
    await eventually(async () => (await page.getByTestId('task').count()) === 2, () => 'the second task does not show');
    await converges(page);
    assert.equal(await server.psql(`select count(*) from tasks where list_id = 'home'`), '2');
    assert.equal(await page.locator('[data-flashed]').count(), 0, 'what the page did itself does not flash');

    const row = page.getByTestId('task').filter({ hasText: 'water' });
    await row.getByTestId('check').check();
    await eventually(() => server.psql('select count(*) from tasks where checked').then((n) => n === '1'), () => 'not checked');
    await converges(page);
    assert.equal(await page.getByTestId('counter').textContent(), '1 open, 1 done');
    await row.hover();
    await row.getByTestId('remove').click();
    await row.waitFor({ state: 'detached' });
    await converges(page);
    assert.equal(await server.psql('select text from tasks'), 'call home');
  });

  check('shows one list or all, and says when a method fails', async () => {
    await server.psql(`insert into tasks (id, list_id, text) values ('a', 'home', 'a'), ('b', 'work', 'b'), ('c', 'work', 'c')`);
    const page = await open();
    await converges(page);
    await page.locator('[data-list=work]').click();
    await converges(page, `list_id = 'work'`);
    await server.psql(`update tasks set list_id = 'work' where id = 'a'; update tasks set list_id = 'home' where id = 'b'`);
    await converges(page, `list_id = 'work'`);
    await page.locator('[data-list=home]').click();
    await converges(page, `list_id = 'home'`);
    await page.getByTestId('all-lists').click();
    await converges(page);
    await page.getByTestId('new-list').fill('garden');
    await page.keyboard.press('Enter');
    await page.locator('[data-list=garden][aria-current=page]').waitFor();
    await converges(page, 'false');

    await page.locator('[data-list=work]').click();
    await converges(page, `list_id = 'work'`);
    await task(page, 'c').evaluate((row) => (row.task = { ...row.task, _id: 'unknown' }));
    await task(page, 'c').getByTestId('check').click();
    await page.getByTestId('problem').waitFor();
    assert.notEqual(await page.getByTestId('problem').textContent(), '');
    await converges(page, `list_id = 'work'`);
  });

  check('shows in one tab what another does', async () => {
    const [one, other] = [await open(), await open('#/list/home')];
    await other.getByTestId('new-task').fill('from the other tab');
    await other.getByTestId('add-task').click();
    await one.getByTestId('task').waitFor();
    await converges(one);
    await converges(other);
    await one.getByTestId('check').check();
    await other.getByTestId('task').locator(':checked').waitFor();
    await other.getByTestId('task').hover();
    await other.getByTestId('remove').click();
    await one.getByTestId('task').waitFor({ state: 'detached' });
    await converges(one);
    await converges(other);
  });

  check('keeps lists of a user to itself, in all tabs of that user', async () => {
    await server.psql(`insert into tasks (id, list_id, text) values ('a', 'home', 'for everybody')`);
    const text = (page) => page.getByTestId('account-text').textContent();
    const names = (page, name) => page.getByTestId('account').filter({ hasText: name }).waitFor();
    const add = async (page, title) => {
      await page.getByTestId('new-task').fill(title);
      await page.getByTestId('add-task').click();
      await page.getByTestId('task').filter({ hasText: title }).waitFor();
    };
    const enter = async (page, button, password, username) => {
      if (await page.locator('#account-form').isHidden()) await page.getByTestId('account').click();
      if (username) await page.getByTestId('username').fill(username);
      await page.getByTestId('password').fill(password);
      await page.getByTestId(button).click();
    };
    const [page, tab] = [await open(), await open()];
    await converges(page, 'owner is null');

    // A new user has no tasks, and neither has the other tab.
    await enter(page, 'sign-up', 'analytical engine', 'ada');
    for (const each of [page, tab]) {
      await names(each, 'ada');
      await converges(each, 'false');
    }
    assert.equal(await page.locator('[data-list=home]').count(), 0, 'the lists of others are not there');
    await add(page, 'Only for ada');
    for (const each of [page, tab]) await converges(each, 'owner is not null');
    await tab.getByTestId('check').check();
    await page.getByTestId('task').locator(':checked').waitFor();
    assert.equal(await server.psql('select owner = (select id from accounts.users) from tasks where checked'), 't');
    await page.getByTestId('task').filter({ hasText: 'Only for ada' }).waitFor();

    // Reloaded, it is the same user, who never sees what is everybody's.
    await page.reload();
    await names(page, 'ada');
    await converges(page, 'owner is not null');

    await page.getByTestId('account').click();
    await page.getByTestId('new-password').fill('difference engine');
    await enter(page, 'change-password', 'wrong');
    await eventually(async () => (await text(page)) !== '', () => 'a wrong password changes nothing, and nobody says so');
    await page.getByTestId('new-password').fill('difference engine');
    await enter(page, 'change-password', 'analytical engine');
    await eventually(async () => (await text(page)) === 'The password has been changed.', () => text(page));

    // All tabs go, and only the new password lets them in.
    await page.getByTestId('log-out').click();
    for (const each of [page, tab]) {
      await names(each, 'Log in');
      await connection(each, 'connected');
      await converges(each, 'owner is null');
    }
    assert.deepEqual(await page.evaluate(() => Object.keys(localStorage).filter((key) => /Meteor|lists\./.test(key))), []);
    await enter(tab, 'log-in', 'analytical engine', 'ada');
    await eventually(async () => /check your credentials/.test(await text(tab)), () => text(tab));
    await enter(tab, 'log-in', 'difference engine', 'ada');
    for (const each of [page, tab]) {
      await names(each, 'ada');
      await converges(each, 'owner is not null');
    }
    await page.getByTestId('account').click();
    await page.getByTestId('log-out').click();
    await names(tab, 'Log in');
  });

  check('says that it is disconnected, keeps the list, and comes back with the right one', async () => {
    await server.psql(`insert into tasks (id, list_id, text, created_at) values
      ('a', 'home', 'a0', now() - interval '3 minutes'), ('b', 'home', 'b0', now() - interval '2 minutes')`);
    const page = await open('#/list/home');
    await converges(page);
    const before = await page.evaluate(onScreen);

    await server.kill();
    await connection(page, 'offline');
    assert.equal(await page.getByTestId('connection').textContent(), 'Disconnected');
    assert.deepEqual(await page.evaluate(onScreen), before, 'it keeps the list as it was');
    assert.equal(await page.locator('main[data-stale]').count(), 1, 'it greys the list');
    assert.equal(await page.getByTestId('add-task').isDisabled(), true);

    // From now on every state that the page shows is kept: none may be empty, mixed or doubled.
    await page.evaluate((read) => {
      const look = new Function(`return (${read})()`);
      window.states = [JSON.stringify(look())];
      const watch = new MutationObserver(() => window.states.push(JSON.stringify(look())));
      watch.observe(document.getElementById('tasks'), { childList: true, subtree: true, characterData: true });
    }, String(onScreen));
    await server.psql(`update tasks set text = 'a1', checked = true where id = 'a'; delete from tasks where id = 'b';
      insert into tasks (id, list_id, text) values ('c', 'home', 'c0'), ('d', 'work', 'd0')`);
    await server.launch();

    await connection(page, 'connected');
    await converges(page, `list_id = 'home'`);
    await page.locator('main:not([data-stale])').waitFor();
    const after = JSON.stringify(await page.evaluate(onScreen));
    const states = new Set(await page.evaluate(() => window.states));
    assert.deepEqual([...states], [JSON.stringify(before), after], 'it swaps the old list for the new one at once');

    await server.psql(`update tasks set text = 'a2' where id = 'a'`);
    await converges(page, `list_id = 'home'`);
    await page.getByTestId('new-task').fill('after the restart');
    await page.getByTestId('add-task').click();
    await page.getByTestId('task').filter({ hasText: 'after the restart' }).waitFor();
    await converges(page, `list_id = 'home'`);
  });
});
