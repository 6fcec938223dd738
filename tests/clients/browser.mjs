// Headless Chromium, and pages for it whose origin is not the server's.
//
// CHROMIUM  the browser, if it is not in PATH

import { once } from 'node:events';
import { accessSync, constants, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { chromium } from 'playwright-core';
import { DEADLINE_MS } from './server.mjs';

const ARGUMENTS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage',
];

function browserPath() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    for (const name of names) {
      try {
        accessSync(join(folder, name), constants.X_OK);
        return join(folder, name);
      } catch {
        // Not in this folder.
      }
    }
  }
  throw new Error(`no browser: install one of ${names.join(', ')}, or set CHROMIUM to its path`);
}

/** A browser with a profile of its own, as Playwright's context with a `close` that leaves nothing behind. */
export async function launchBrowser() {
  const profile = mkdtempSync(join(tmpdir(), 'ddp-tests-browser-'));
  const remove = () => rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  let browser;
  try {
    browser = await chromium.launchPersistentContext(profile, {
      executablePath: browserPath(),
      args: ARGUMENTS,
      env: { ...process.env, HOME: profile },
    });
  } catch (error) {
    remove();
    throw error;
  }
  browser.setDefaultTimeout(DEADLINE_MS);
  const close = browser.close.bind(browser);
  browser.close = async () => {
    await close();
    remove();
  };
  return browser;
}

/** Serves an HTML page at `/` and scripts, paths to files by name, from a port of their own. */
export async function servePage(html, scripts) {
  const files = new Map(Object.entries(scripts).map(([name, path]) => [`/${name}`, readFileSync(path)]));
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://page');
    const script = files.get(pathname);
    if (script) response.writeHead(200, { 'content-type': 'text/javascript; charset=utf-8' }).end(script);
    else if (pathname === '/') response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(html);
    else response.writeHead(pathname === '/favicon.ico' ? 204 : 404).end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  server.unref();
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}
