import { connect } from './adapters/meteorrn.mjs';
import { fromNpm } from './interop.mjs';
import { scenario } from './scenario.mjs';

scenario(fromNpm('@meteorrn/core', 'Node', import.meta.url), connect);
