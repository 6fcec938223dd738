import { connect } from './adapters/ddp.mjs';
import { fromNpm } from './interop.mjs';
import { scenario } from './scenario.mjs';

scenario(fromNpm('ddp', 'Node', import.meta.url), connect);
