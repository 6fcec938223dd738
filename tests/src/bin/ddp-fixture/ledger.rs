//! The collection `ledger`, to which clients may write, and its money.
//!
//! - The publication `ledger(world)` shows the accounts of a world.
//! - `ledger/transfer(world, from, to, amount, cheat)` moves money between two accounts, named by
//!   their names. Without an account it fails with 404, without the money with 409. Clients cheat in
//!   their stubs; the server does not.

use ddp_core::ejson::{Ejson, Object};
use ddp_server::extract::Params;
use ddp_server::{Cursor, Error, ServerBuilder, State, field};

use crate::app::App;
use crate::documents::Documents;
use crate::mutators;

#[derive(Clone)]
pub(crate) struct Ledger(Documents);

impl Ledger {
    pub(crate) fn new() -> Self {
        Self(Documents::new("ledger"))
    }

    fn account(&self, world: &str, name: &str) -> Result<Object, Error> {
        match self.0.find_one(&[("world", world), ("name", name)])? {
            Some(Ejson::Object(account)) => Ok(account),
            _ => Err(Error::client(404, format!("Nobody called {name} in {world}"))),
        }
    }

    fn add(&self, account: &Object, amount: f64) -> Result<(), Error> {
        let id = account.get("_id").and_then(Ejson::as_str).unwrap_or_default();
        let modifier = Ejson::object([("$inc", Ejson::object([("balance", amount)]))]);
        self.0.update(id, &modifier).map(drop)
    }
}

pub(crate) fn install(builder: ServerBuilder<App>, ledger: &Ledger) -> ServerBuilder<App> {
    mutators::allow(builder, &ledger.0)
        .publish("ledger", accounts)
        .method("ledger/transfer", transfer)
}

async fn accounts(
    State(Ledger(documents)): State<Ledger>,
    Params((world,)): Params<(String,)>,
) -> Cursor<Ejson> {
    documents.find().filter(field("world").eq(world))
}

async fn transfer(
    State(ledger): State<Ledger>,
    Params((world, from, to, amount, _cheat)): Params<(String, String, String, f64, Option<bool>)>,
) -> Result<(), Error> {
    let from = ledger.account(&world, &from)?;
    let to = ledger.account(&world, &to)?;
    if from.get("balance").and_then(Ejson::as_f64).is_some_and(|balance| balance < amount) {
        return Err(Error::client(409, "Not enough money"));
    }
    ledger.add(&from, -amount)?;
    ledger.add(&to, amount)
}
