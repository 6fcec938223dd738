//! Rights that end while somebody is subscribed. A guard asks the database before the publication
//! runs; the publication then follows the membership, and ends when that does.
//!
//! ```sh
//! DATABASE_URL=postgres://me@127.0.0.1/mine cargo run --bin membership
//! ```

use ddp_postgres::{Db, Table};
use ddp_server::extract::{FromContext, Invocation, Params, Subscription, UserId};
use ddp_server::live_query::{Changes, Observed};
use ddp_server::{Collection, Cursor, Error, PublicationContext, Server, State, field};
use tracing_subscriber::EnvFilter;

#[derive(serde::Deserialize)]
struct Membership {}
const MEMBERSHIPS: Collection<Membership> = Collection::new("memberships");

#[derive(serde::Deserialize)]
struct Message {}
const MESSAGES: Collection<Message> = Collection::new("messages");

/// The guard: a member of the room that the client named first.
struct Member {
    room: String,
    membership: Changes<Membership>,
}

impl FromContext<PublicationContext, Db> for Member {
    async fn from_context(context: &PublicationContext, db: &Db) -> Result<Self, Error> {
        let user = UserId::from_context(context, db).await?;
        let Params((room,)) = Params::<(String,)>::from_context(context, db).await?;
        let of = field("room").eq(room.as_str()).and(field("user").eq(user.as_str()));
        // Followed before it is looked at, so that no end of it is missed.
        let membership = db.find(&MEMBERSHIPS).filter(of).observe().await?;
        if membership.count() == 0 {
            return Err(Error::client("not-a-member", "You are not a member of this room"));
        }
        Ok(Self { room, membership })
    }
}

async fn room(State(db): State<Db>, subscription: Subscription, member: Member) -> Cursor<Message> {
    let Member { room, mut membership } = member;
    let subscribed = subscription.clone();
    let watching = tokio::spawn(async move {
        while let Some(Ok(Observed::Added { .. } | Observed::Changed { .. })) =
            membership.next().await
        {}
        // It is gone, or can't be followed any more: either way the right to read is not certain.
        let text = "You are no longer a member of this room";
        subscribed.error(Error::client("not-a-member", text));
    });
    subscription.on_stop(move || watching.abort());
    db.find(&MESSAGES).filter(field("room").eq(room))
}

/// For this example anybody is who they say; see the guide for logins.
async fn login(invocation: Invocation, Params((user,)): Params<(String,)>) -> Result<(), Error> {
    invocation.set_user_id(Some(&user)).await
}

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS memberships (\"user\" text, room text, PRIMARY KEY (\"user\", room));
    CREATE TABLE IF NOT EXISTS messages (id text PRIMARY KEY, room text NOT NULL, text text NOT NULL);
";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Logs what went wrong: handlers that failed, arguments that did not fit, a lost database.
    // RUST_LOG=info tells of tables that change besides, debug of each connection too.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let url = ddp_examples::database_url()?;
    Db::run_script(&url, TABLES).await?;
    let tables = Db::builder(url)
        .table(Table::new("memberships").columns(["user", "room"]))
        .table(Table::new("messages").columns(["room", "text"]));
    let server = Server::builder().publish("room", room).method("login", login);
    let server = server.with_state(tables.connect().await?);
    server.serve(ddp_examples::listen().await?).await?;
    Ok(())
}
