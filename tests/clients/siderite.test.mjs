import { connect } from './adapters/siderite.mjs';
import { scenario } from './scenario.mjs';

scenario('siderite', connect);
