import { connect } from './adapters/asteroid.mjs';
import { scenario } from './scenario.mjs';

scenario('asteroid', connect);
