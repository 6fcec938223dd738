//! Constants of types that only PostgreSQL can read.
//!
//! Whether a text is an `inet`, an `interval` or a value of an extension's type is not known here. One
//! that is none equals nothing, as with all other types; but as a constant it makes its query fail.
//! So when a query with such constants fails, each is tried alone, and the query is read again with
//! NULL in the place of those that are refused. Others cost nothing.

use futures::future::try_join_all;
use tokio_postgres::types::Type;

use super::sql::{Param, Select};
use crate::db::busy::{Busy, Rest};
use crate::error::Error;

/// Replaces the constants that PostgreSQL refuses, after the statements have failed with an error in a
/// transaction, which is rolled back if it is still open. False if there are none, so that the error has another reason.
pub(super) async fn replace_refused(
    client: &Busy,
    selects: impl Iterator<Item = &mut Select>,
    error: &Error,
    rest: Rest,
) -> Result<bool, Error> {
    let mut doubtful: Vec<(&mut Option<String>, String)> = Vec::new();
    for param in selects.flat_map(|select| &mut select.params) {
        let Param::Doubtful { texts, is_list, cast } = param else { continue };
        let one = if *is_list { "ARRAY[$1::text]" } else { "$1::text" };
        let trial = format!("SELECT ({one}::{cast}) IS NULL");
        let constants = texts.iter_mut().filter(|text| text.is_some());
        doubtful.extend(constants.map(|text| (text, trial.clone())));
    }
    if doubtful.is_empty() || error.code().is_none() || error.may_pass() {
        return Ok(false);
    }
    if let Rest::Open = rest {
        client.batch_execute("ROLLBACK").await?;
    }
    let trials = doubtful.into_iter().map(async |(text, trial)| {
        let is_refused = is_refused(client, &trial, text.as_deref()).await?;
        if is_refused {
            *text = None;
        }
        Ok::<_, Error>(is_refused)
    });
    Ok(try_join_all(trials).await?.contains(&true))
}

/// Whether PostgreSQL, asked for nothing else, refuses a text.
async fn is_refused(client: &Busy, trial: &str, text: Option<&str>) -> Result<bool, Error> {
    match client.query_typed(trial, &[(&text, Type::TEXT)]).await.map_err(Error::from) {
        Ok(_) => Ok(false),
        Err(error) if error.code().is_some() && !error.may_pass() => Ok(true),
        Err(error) => Err(error),
    }
}
