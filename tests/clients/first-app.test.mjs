// The page of the first app guide, as the file that the guide says it is, in headless Chromium.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { pathToFileURL } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import { launchBrowser } from './browser.mjs';
import { TEST_TIMEOUT_MS } from './scenario.mjs';
import { FirstAppServer, eventually } from './server.mjs';

const GUIDE = readFileSync(new URL('../../ddp-postgres/docs/first-app.md', import.meta.url), 'utf8');

/** The first match of a pattern below a heading of the guide. */
function below(heading, pattern) {
  const [, text] = GUIDE.split(`\n# ${heading}\n`);
  const match = text?.match(pattern);
  assert.ok(match, `the guide has no ${pattern} below ${heading}`);
  return match[1];
}

const TABLE = below('1. A table', /<<'SQL'\n([^]*?)\nSQL\n/);
const PAGE = below('4. A page', /\n```html\n([^]*?)\n```\n/);

describe('the page of the first app guide', () => {
  let server;
  let browser;
  let folder;

  before(async () => {
    server = await FirstAppServer.start(TABLE);
    browser = await launchBrowser();
    folder = mkdtempSync(join(tmpdir(), 'ddp-first-app-'));
    assert.equal(PAGE.split('ws://127.0.0.1:3000/websocket').length, 2, 'the page names its server once');
    writeFileSync(join(folder, 'index.html'), PAGE.replace('ws://127.0.0.1:3000/websocket', server.websocketUrl));
  });

  after(async () => {
    await browser?.close();
    await server?.stop();
    if (folder) rmSync(folder, { recursive: true, force: true });
  });

  async function open() {
    const page = await browser.newPage();
    await page.goto(pathToFileURL(join(folder, 'index.html')).href);
    return page;
  }

  /** Waits until the pages show these entries, in this order. */
  async function show(pages, expected) {
    const items = () => [...document.querySelectorAll('li')].map((item) => item.firstChild.textContent.trim());
    for (const page of pages) {
      let seen;
      await eventually(
        async () => isDeepStrictEqual((seen = await page.evaluate(items)), expected),
        () => `the page shows ${JSON.stringify(seen)}, not ${JSON.stringify(expected)}\n${server.output}`,
      );
    }
  }

  async function sign(page, author, text) {
    await page.locator('[name=author]').fill(author);
    await page.locator('[name=text]').fill(text);
    await page.getByRole('button', { name: 'Sign' }).click();
  }

  const says = (page, text) => page.locator('#status', { hasText: text }).waitFor();

  it('signs, hides and follows psql in two windows', { timeout: TEST_TIMEOUT_MS }, async () => {
    const pages = [await open(), await open()];
    await show(pages, ['Ada: First!']);
    await sign(pages[0], 'Grace', 'Hello');
    await says(pages[0], 'Thank you');
    await show(pages, ['Grace: Hello', 'Ada: First!']);
    await sign(pages[1], 'Alan', ' ');
    await says(pages[1], 'Please write something');
    await pages[1].locator('li', { hasText: 'Ada' }).getByRole('button', { name: 'Hide' }).click();
    await show(pages, ['Grace: Hello']);
    await server.psql("update entries set text = 'Changed' where author = 'Grace'");
    await show(pages, ['Grace: Changed']);
  });
});
