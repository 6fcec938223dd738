//! `configureLoginService`, by which a client of Meteor configures a service that nobody has configured.

use super::raw::Raw;
use crate::accounts::handle::AccountsHandle;
use crate::accounts::input::{self, ARGUMENTS_BYTES_MAX};
use crate::ejson::Ejson;
use crate::error::Error;
use crate::extract::State;

/// Services are known here by being configured, so a client configures none.
pub(super) async fn configure_login_service(
    State(accounts): State<AccountsHandle>,
    Raw(arguments): Raw,
) -> Result<(), Error> {
    let [options] = input::arguments(&arguments, ARGUMENTS_BYTES_MAX)?;
    let mut options = input::object(options)?;
    let service = input::token(options.shift_remove("service").unwrap_or(Ejson::Null))?;
    let is_known = accounts.core.services.get(&service)?.is_some();
    let reason = if is_known {
        format!("Service {service} already configured")
    } else {
        "Service unknown".to_owned()
    };
    Err(Error::client(403, reason))
}
