import { connect } from './adapters/ddp.mjs';
import { scenario } from './scenario.mjs';

scenario('ddp', connect);
