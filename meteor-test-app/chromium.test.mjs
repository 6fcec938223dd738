import { inChromium } from './chromium.mjs';

inChromium({ websocket: true });
