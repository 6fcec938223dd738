import { connect } from './adapters/simpleddp.mjs';
import { fromNpm } from './interop.mjs';
import { scenario } from './scenario.mjs';

scenario(fromNpm('simpleddp', 'Node', import.meta.url), connect);
