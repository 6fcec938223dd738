import { connect } from './adapters/siderite.mjs';
import { pinned } from './interop.mjs';
import { scenario } from './scenario.mjs';

const MANIFEST = new URL('siderite/Cargo.toml', import.meta.url);

scenario(pinned('siderite', 'Rust', MANIFEST, /^siderite = "=(.*)"$/m), connect);
