import { scenario } from '../tests/clients/scenario.mjs';
import { connect } from './client.mjs';

scenario('meteor-client-side', connect);
