//! Attacks. Each fails.

mod inputs;
mod passwords;
mod tokens;
