//! Tokens that are mailed.

use std::sync::Arc;

use super::core::{Core, now};
use super::store::{OneTimeToken, Purpose, User};
use super::token::Token;
use crate::error::Error;

impl Core {
    /// Makes a token for an address of a user: the first one, or the first that is not verified, if
    /// none is given. Returns the address as it is stored, and the token.
    pub(super) async fn one_time_token(
        &self,
        purpose: Purpose,
        user: &User,
        address: Option<&str>,
    ) -> Result<(String, String), Error> {
        let mut emails = user.emails.iter();
        let email = match (address, purpose) {
            (Some(address), _) => {
                emails.find(|email| email.address.to_lowercase() == address.to_lowercase())
            }
            (None, Purpose::Verify) => emails.find(|email| !email.verified),
            (None, _) => emails.next(),
        };
        let Some(email) = email else {
            return Err(self.refusal("No such email for user."));
        };
        let token = Token::random();
        let stored = OneTimeToken {
            hash: token.hash(),
            purpose,
            user_id: user.id.clone(),
            address: email.address.clone(),
            when: now(),
        };
        if !self.store.put_one_time_token(&stored).await? {
            return Err(self.refusal("User not found"));
        }
        Ok((stored.address, token.reveal()))
    }

    /// Makes a token and mails it. The user is not kept while the mail is sent.
    pub(super) async fn mail_token(
        &self,
        purpose: Purpose,
        user: User,
        address: Option<&str>,
    ) -> Result<(), Error> {
        let (address, token) = self.one_time_token(purpose, &user, address).await?;
        let mail = self.mails.mail(purpose, &user, &address, &token);
        drop(user);
        self.mails.mailer.send(mail).await
    }

    /// The same in the background, because a client caused it.
    pub(super) fn mail_behind(self: &Arc<Self>, purpose: Purpose, user: User, address: String) {
        let core = Arc::clone(self);
        self.mails.behind(purpose.as_str(), &self.log, async move {
            core.mail_token(purpose, user, Some(&address)).await
        });
    }
}
