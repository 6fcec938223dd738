import { connect } from './adapters/meteorrn.mjs';
import { scenario } from './scenario.mjs';

scenario('@meteorrn/core', connect);
