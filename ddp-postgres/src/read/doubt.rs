//! Constants of types that only PostgreSQL can read.
//!
//! Whether a text is a valid `inet`, `interval` or value of an extension's type is not known here. An
//! invalid one equals nothing, as with all other types; but as a constant it makes its query fail.
//! So when a query with such constants fails, each is tried alone, and the query is read again with
//! NULL in the place of those that are refused. Others cost nothing.

use std::collections::HashMap;

use futures::future::try_join_all;
use tokio_postgres::types::Type;

use super::sql::{Param, Select};
use crate::db::busy::{Busy, Rest};
use crate::error::Error;

/// How many constants are tried at most; each that is refused is also a line in PostgreSQL's log. With
/// more, the queries fail as they are, those that were read together one by one.
const CONSTANTS_MAX: usize = 100;

/// Replaces the constants that PostgreSQL refuses, after the statements have failed with an error in a
/// transaction, which is rolled back if it is still open: `rest` says so. False if there are none, or
/// too many to look for them, so that the error stands.
pub(super) async fn replace_refused(
    client: &Busy,
    selects: impl Iterator<Item = &mut Select>,
    error: &Error,
    rest: &mut Rest,
) -> Result<bool, Error> {
    if error.code().is_none() || error.may_pass() {
        return Ok(false);
    }
    let mut doubtful: HashMap<(String, String), Vec<&mut Option<String>>> = HashMap::new();
    for param in selects.flat_map(|select| &mut select.params) {
        let Param::Doubtful { texts, is_list, cast } = param else { continue };
        let one = if *is_list { "ARRAY[$1::text]" } else { "$1::text" };
        let trial = format!("SELECT ({one}::{cast}) IS NULL");
        for text in texts {
            let Some(constant) = text.clone() else { continue };
            doubtful.entry((trial.clone(), constant)).or_default().push(text);
            if doubtful.len() > CONSTANTS_MAX {
                return Ok(false);
            }
        }
    }
    if doubtful.is_empty() {
        return Ok(false);
    }
    if let Rest::Open = rest {
        client.batch_execute("ROLLBACK").await?;
        *rest = Rest::Ended;
    }
    let trials = doubtful.into_iter().map(async |((trial, constant), texts)| {
        let is_refused = is_refused(client, &trial, &constant).await?;
        if is_refused {
            texts.into_iter().for_each(|text| *text = None);
        }
        Ok::<_, Error>(is_refused)
    });
    Ok(try_join_all(trials).await?.contains(&true))
}

/// Whether PostgreSQL, asked for nothing else, refuses a text.
async fn is_refused(client: &Busy, trial: &str, text: &str) -> Result<bool, Error> {
    match client.query_typed(trial, &[(&text, Type::TEXT)]).await.map_err(Error::from) {
        Ok(_) => Ok(false),
        Err(error) if error.code().is_some() && !error.may_pass() => Ok(true),
        Err(error) => Err(error),
    }
}
