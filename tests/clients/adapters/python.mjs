// PyPI python-meteor: python/client.py keeps its reconnects going, and its errors whole.
//
// PYTHON  the interpreter of an environment with python/requirements.txt

import { fileURLToPath } from 'node:url';
import { connectProcess } from './process.mjs';

const PROGRAM = fileURLToPath(new URL('../python/client.py', import.meta.url));

export async function connect(server) {
  const python = process.env.PYTHON;
  if (!python) throw new Error('PYTHON is not set: it must have python/requirements.txt (./tests/run clients sets it)');
  return connectProcess(python, ['-u', PROGRAM, server.websocketUrl]);
}
