//! What the example servers and the tests share.
