//! Asking for a token to log in: the method of Meteor's `accounts-passwordless`.

use std::sync::Arc;

use super::raw::Raw;
use crate::accounts::core::Core;
use crate::accounts::create::Wanted;
use crate::accounts::handle::AccountsHandle;
use crate::accounts::input::{self, match_failed};
use crate::accounts::passwordless;
use crate::accounts::store::{Selector, User};
use crate::ejson::{Ejson, Object};
use crate::error::Error;
use crate::extract::{Invocation, State};

/// What a client asks for.
struct Request {
    by: Selector,
    user_data: Option<Object>,
    is_creation_disabled: bool,
    /// `{selector, userData?}` as they were sent.
    echo: Object,
}

impl Request {
    fn read(argument: Ejson) -> Result<Self, Error> {
        let mut request = input::object(argument)?;
        let options = input::optional(&mut request, "options", input::object)?;
        let mut echo = request.clone();
        let by = input::selector(request.shift_remove("selector").unwrap_or(Ejson::Null))?;
        let user_data = input::optional(&mut request, "userData", input::object)?;
        if !request.is_empty() {
            return Err(match_failed());
        }
        echo.retain(|_, value| !value.is_null());
        let disabled = options.as_ref().and_then(|options| options.get("userCreationDisabled"));
        let is_creation_disabled = disabled.is_some_and(|disabled| !input::is_falsy(disabled));
        Ok(Self { by, user_data, is_creation_disabled, echo })
    }

    /// The user to be created if there is none.
    fn wanted(&self, core: &Core) -> Result<Wanted, Error> {
        let data = self.user_data.clone().unwrap_or_default();
        let mut wanted = Wanted::read(Ejson::Object(data))?;
        wanted.password = None;
        let fits = match (&self.by, &wanted.email) {
            (Selector::Email(by), Some(email)) => by.to_lowercase() == email.to_lowercase(),
            (_, email) => email.is_some(),
        };
        if !fits && (wanted.username.is_some() || wanted.email.is_some()) {
            // Meteor creates the user first.
            return Err(core.refusal("Login tokens could not be generated"));
        }
        Ok(wanted)
    }
}

/// `{selector, userData?, isNewUser}`.
pub(super) async fn request_login_token_for_user(
    State(accounts): State<AccountsHandle>,
    invocation: Invocation,
    Raw(arguments): Raw,
) -> Result<Ejson, Error> {
    let core = &accounts.core;
    let [request] = input::arguments(&arguments, input::CREATION_BYTES_MAX)?;
    let request = Request::read(request)?;
    let creates = !request.is_creation_disabled && !core.options.forbid_client_account_creation;
    let is_ambiguous = core.options.ambiguous_error_messages;
    if !creates && is_ambiguous {
        // Neither the answer nor its time tells whether there is such a user.
        let (core_behind, by) = (Arc::clone(core), request.by);
        core.mails.behind("login token", &core.log, async move {
            let Some(user) = find(&core_behind, &by).await? else { return Ok(()) };
            let letters = passwordless::issue(&core_behind, &user, &by, false).await?;
            passwordless::mail(&core_behind, &user, letters).await
        });
        return Ok(answer(request.echo, false));
    }
    let found = find(core, &request.by).await?;
    let is_new_user = found.is_none();
    let user = match found {
        Some(user) => user,
        None if creates => {
            let wanted = request.wanted(core)?;
            core.create_user(wanted, invocation.connection(), invocation.fence()).await?.user
        }
        None => return Err(core.refusal("User not found")),
    };
    let letters = passwordless::issue(core, &user, &request.by, is_new_user).await?;
    if is_ambiguous {
        let core_behind = Arc::clone(core);
        core.mails.behind("login token", &core.log, async move {
            passwordless::mail(&core_behind, &user, letters).await
        });
    } else {
        passwordless::mail(core, &user, letters).await?;
    }
    Ok(answer(request.echo, is_new_user))
}

async fn find(core: &Core, by: &Selector) -> Result<Option<User>, Error> {
    Ok(core.store.find_user(by).await?.filter(|user| user.is_active))
}

fn answer(mut echo: Object, is_new_user: bool) -> Ejson {
    echo.insert("isNewUser".to_owned(), is_new_user.into());
    Ejson::Object(echo)
}
