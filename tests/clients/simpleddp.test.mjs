import { connect } from './adapters/simpleddp.mjs';
import { scenario } from './scenario.mjs';

scenario('simpleddp', connect);
