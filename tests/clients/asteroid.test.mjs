import { accounts } from './accounts.mjs';
import { connect } from './adapters/asteroid.mjs';
import { fromNpm } from './interop.mjs';
import { scenario } from './scenario.mjs';

const WHO = fromNpm('asteroid', 'Node', import.meta.url);

scenario(WHO, connect);
accounts(WHO, connect);
