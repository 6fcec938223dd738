//! Meteor's accounts: users, passwords, tokens and logins.

mod attempt;
mod builder;
mod core;
mod create;
mod delays;
mod handle;
mod handler;
mod handlers;
mod held;
mod hooks;
mod input;
mod letters;
mod login;
mod mail;
mod memory;
mod methods;
mod options;
mod password;
mod plugin;
mod publications;
mod store;
mod tasks;
#[cfg(all(test, feature = "testing"))]
mod tests;
mod token;
mod watch;

pub use attempt::{Attempt, Creation, Logout};
pub use builder::Accounts;
pub use handle::AccountsHandle;
pub use handler::{Login, LoginRequest};
pub use mail::{Letter, LogMailer, Mail, MailContext, MailTemplate, MailTemplates, Mailer};
pub use memory::MemoryAccounts;
pub use password::PasswordAlgorithm;
pub use store::{
    AccountsStore, Conflict, Email, Expired, LoginToken, LoginUser, NewUser, OnRevocation,
    OneTimeToken, PasswordChange, PasswordHash, Purpose, Read, Revocation, Selector, Service,
    TokenGuard, TokenHash, Tokens, User, WriteError, Written,
};
