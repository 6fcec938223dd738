//! The login handlers that are always there.

#[cfg(feature = "jwt")]
mod jwt;
mod password;
mod passwordless;
mod resume;

use std::sync::Arc;

use super::core::Core;
use super::handler::{Login, LoginRequest};
use crate::error::Error;

pub(super) use password::{PasswordCheck, find_and_check};

/// Asks the handlers in their order, and says which of them answered.
pub(super) async fn run(core: &Core, request: &LoginRequest) -> (Arc<str>, Result<Login, Error>) {
    match resume::handle(core, request).await {
        Ok(None) => {}
        found => return ("resume".into(), unwrapped(found)),
    }
    match password::handle(core, request).await {
        Ok(None) => {}
        found => return ("password".into(), unwrapped(found)),
    }
    match passwordless::handle(core, request).await {
        Ok(None) => {}
        found => return ("passwordless".into(), unwrapped(found)),
    }
    #[cfg(feature = "oauth")]
    if let Some((service, found)) = super::oauth::handle(core, request).await {
        return (service, found);
    }
    #[cfg(feature = "jwt")]
    match jwt::handle(core, request).await {
        Ok(None) => {}
        found => return ("jwt".into(), unwrapped(found)),
    }
    for handler in &core.handlers {
        match (handler.handle)(request.clone()).await {
            Ok(None) => {}
            found => return (Arc::clone(&handler.name), unwrapped(found)),
        }
    }
    ("unknown".into(), unwrapped(Ok(None)))
}

fn unwrapped(found: Result<Option<Login>, Error>) -> Result<Login, Error> {
    found?.ok_or_else(|| Error::client(400, "Unrecognized options for login request"))
}
