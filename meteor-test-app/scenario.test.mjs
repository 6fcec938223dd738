import { scenario } from '../tests/clients/scenario.mjs';
import { connect, inRuntime } from './client.mjs';

scenario(inRuntime('jsdom'), connect);
