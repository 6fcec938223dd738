//! Meteor's accounts: users, passwords, tokens and logins.

mod store;

pub use store::{
    AccountsStore, Conflict, Email, Expired, LoginToken, LoginUser, NewUser, OnRevocation,
    OneTimeToken, PasswordChange, PasswordHash, Purpose, Read, Revocation, Selector, Service,
    TokenGuard, TokenHash, Tokens, User, WriteError, Written,
};
