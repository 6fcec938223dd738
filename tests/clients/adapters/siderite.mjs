// crates.io siderite: siderite/src/main.rs keeps its documents and connects again. It knows no EJSON.
//
// SIDERITE_BIN  the siderite-client binary

import { connectProcess } from './process.mjs';

export async function connect(server) {
  const binary = process.env.SIDERITE_BIN;
  if (!binary) throw new Error('SIDERITE_BIN is not set: it must be the siderite-client binary (./tests/run clients sets it)');
  return connectProcess(binary, [server.websocketUrl]);
}
