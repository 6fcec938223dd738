//! Constants of types that only PostgreSQL can read.
//!
//! Whether a text is a valid `inet`, `interval` or value of an extension's type is not known here. An
//! invalid one equals nothing, as with all other types; but as a constant it makes its query fail.
//! From version 16 on, PostgreSQL is asked before which constants it would refuse, and logs nothing.
//! Versions before, and types that raise an error when they are asked, refuse the query: then each of its
//! constants is tried alone. The query is read with NULL in the place of those that are refused. Queries
//! without such constants cost nothing.

use std::collections::{BTreeSet, HashMap};

use futures::future::try_join_all;
use tokio_postgres::types::{ToSql, Type};

use super::sql::{Param, Select};
use crate::db::busy::{Busy, Rest};
use crate::error::Error;

/// How many constants are tried at most; each that is refused is also a line in PostgreSQL's log. With
/// more, the queries fail as they are, those that were read together one by one.
const CONSTANTS_MAX: usize = 100;

/// The first version that can be asked, as `server_version_num` writes it.
pub(crate) const ASKABLE: i32 = 160_000;

/// Which of these texts are not valid for a type, and which are not as elements of an array type.
const REFUSED: &str = "SELECT t FROM pg_catalog.unnest($1) AS t
    WHERE NOT pg_catalog.pg_input_is_valid(t, $2)";
const REFUSED_IN_LISTS: &str = "SELECT t FROM pg_catalog.unnest($1) AS t
    WHERE NOT pg_catalog.pg_input_is_valid(ARRAY[t]::pg_catalog.text, $2)";

/// Replaces the constants that PostgreSQL says it would refuse. No transaction may be open.
pub(super) async fn replace_invalid(
    client: &Busy,
    selects: impl Iterator<Item = &mut Select>,
) -> Result<(), Error> {
    let mut doubtful: HashMap<(&str, &str), Vec<&mut Option<String>>> = HashMap::new();
    for param in selects.flat_map(|select| &mut select.params) {
        let Param::Doubtful { texts, is_list, cast } = param else { continue };
        let sql = if *is_list { REFUSED_IN_LISTS } else { REFUSED };
        let texts = texts.iter_mut().filter(|text| text.is_some());
        doubtful.entry((sql, cast)).or_default().extend(texts);
    }
    let asking = doubtful.into_iter().map(async |((sql, cast), texts)| {
        let distinct: BTreeSet<&str> = texts.iter().filter_map(|text| text.as_deref()).collect();
        let distinct: Vec<&str> = distinct.into_iter().collect();
        let params: [(&(dyn ToSql + Sync), Type); 2] =
            [(&distinct, Type::TEXT_ARRAY), (&cast, Type::TEXT)];
        let refused = match client.query_typed(sql, &params).await.map_err(Error::from) {
            Ok(refused) => refused,
            // The type raises an error when it is asked: the query will fail.
            Err(error) if is_refusal(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        let refused = refused.iter().map(|row| row.try_get(0));
        let refused = refused.collect::<Result<BTreeSet<&str>, _>>()?;
        let is_refused =
            |text: &Option<String>| text.as_deref().is_some_and(|t| refused.contains(t));
        texts.into_iter().filter(|text| is_refused(text)).for_each(|text| *text = None);
        Ok(())
    });
    try_join_all(asking).await.map(drop)
}

/// Whether PostgreSQL has answered, and would answer the same again.
fn is_refusal(error: &Error) -> bool {
    error.code().is_some() && !error.may_pass()
}

/// Replaces the constants that PostgreSQL refuses, after the statements have failed with an error in a
/// transaction, which is rolled back if it is still open: `rest` says so. False if there are none, or
/// too many to look for them, so that the error stands.
pub(super) async fn replace_refused(
    client: &Busy,
    selects: impl Iterator<Item = &mut Select>,
    error: &Error,
    rest: &mut Rest,
) -> Result<bool, Error> {
    if !is_refusal(error) {
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
        Err(error) if is_refusal(&error) => Ok(true),
        Err(error) => Err(error),
    }
}
