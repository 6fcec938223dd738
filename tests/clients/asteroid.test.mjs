import { connect } from './adapters/asteroid.mjs';
import { fromNpm } from './interop.mjs';
import { scenario } from './scenario.mjs';

scenario(fromNpm('asteroid', 'Node', import.meta.url), connect);
