//! What the parts of accounts keep about a user in a store, as records of login services.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::core::Core;
use super::delays::too_many;
use super::store::Service;
use crate::ejson::{self, Ejson, Object};
use crate::error::Error;

/// How often a change is tried again because another one came first. Whoever loses so often is told to
/// come back: somebody sends very many at once.
const TRIES: usize = 16;

/// Changes what a service keeps about a user, and returns what `decide` said. It is given what is kept,
/// and leaves what is to be kept, each time anew if another change came first, on whatever server: so
/// nothing that it says is known to a client before it is stored. What it leaves as it is, is not
/// written. Members that the record does not know stay.
///
/// # Errors
/// The store's; `too-many-requests` if others always come first; a record that cannot be read.
pub(super) async fn change<R, T>(
    core: &Core,
    user_id: &str,
    service: &str,
    mut decide: impl FnMut(&mut Option<R>) -> T,
) -> Result<T, Error>
where
    R: Serialize + DeserializeOwned,
{
    for _ in 0..TRIES {
        let found = core.store.find_service(user_id, service).await?;
        let (kept, version) = found.map_or((None, 0), |(kept, version)| (Some(kept), version));
        let mut record = kept.as_ref().map(|kept| read::<R>(kept, service, user_id)).transpose()?;
        let before = record.as_ref().map(write).transpose()?;
        let said = decide(&mut record);
        let after = record.as_ref().map(write).transpose()?;
        if before == after {
            return Ok(said);
        }
        let changed = after.map(|after| {
            let Service { service_id, mut data } =
                kept.unwrap_or(Service { service_id: None, data: Object::new() });
            for name in before.unwrap_or_default().keys() {
                data.shift_remove(name);
            }
            data.extend(after);
            Service { service_id, data }
        });
        match core.store.put_service(user_id, service, version, changed.as_ref()).await {
            Ok(true) => return Ok(said),
            Ok(false) => {}
            Err(error) => return Err(core.conflict(error)),
        }
    }
    Err(too_many(1))
}

fn read<R: DeserializeOwned>(kept: &Service, service: &str, user_id: &str) -> Result<R, Error> {
    ejson::from_value(Ejson::Object(kept.data.clone())).map_err(|error| {
        let text = format!("what {service} keeps of the user {user_id} cannot be read: {error}");
        Error::internal(text)
    })
}

fn write<R: Serialize>(record: &R) -> Result<Object, Error> {
    match ejson::to_value(record)? {
        Ejson::Object(data) => Ok(data),
        _ => Err(Error::internal("a record is an object")),
    }
}
