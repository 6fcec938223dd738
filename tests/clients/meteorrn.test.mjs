import { accounts } from './accounts.mjs';
import { connect } from './adapters/meteorrn.mjs';
import { fromNpm } from './interop.mjs';
import { scenario } from './scenario.mjs';

const WHO = fromNpm('@meteorrn/core', 'Node', import.meta.url);

scenario(WHO, connect);
accounts(WHO, connect);
