//! Attacks. Each fails.

mod inputs;
mod passwordless;
mod passwords;
mod second_factor;
mod tokens;
