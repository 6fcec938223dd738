//! A database that takes connections and says nothing: a proxy whose server is away.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ddp_postgres::{Db, DbBuilder, Feed, Table};
use ddp_server::extract::{Params, State};
use ddp_server::{Collection, Error, Server, WriteFence};
use ddp_tests::database::{create_database, name, psql};
use ddp_tests::proxy::{Network, Proxy};
use ddp_tests::{Client, over_both_feeds, peer};
use serde_json::{Value, json};

const TASKS: Collection<Value> = Collection::new("tasks");

const SETUP: &str = "CREATE TABLE tasks (id text PRIMARY KEY)";

/// Of one second (`connect_timeout`), on a busy machine.
const IN_TIME: Duration = Duration::from_secs(8);

async fn insert(
    State(db): State<Db>,
    fence: WriteFence,
    Params((id,)): Params<(String,)>,
) -> Result<(), Error> {
    let transaction = db.begin(&fence).await?;
    transaction.execute("INSERT INTO tasks VALUES ($1)", &[&id]).await?;
    Ok(transaction.commit().await?)
}

async fn serve(db: &Db) -> SocketAddr {
    let server = Server::builder()
        .publish("tasks", async |State(db): State<Db>| db.find(&TASKS))
        .method("insert", insert)
        .with_state(db.clone());
    peer::serve(&server).await
}

async fn proxy_to(url: &str) -> Proxy {
    let config: tokio_postgres::Config = url.parse().unwrap();
    Proxy::start(([127, 0, 0, 1], config.get_ports()[0]).into()).await
}

/// The database behind a proxy.
fn through(proxy: &Proxy, database: &str) -> String {
    let address = proxy.address();
    format!("postgres://postgres:geheim@{address}/{database}?connect_timeout=1&sslmode=disable")
}

fn builder(url: String, feed: Feed) -> DbBuilder {
    Db::builder(url).feed(feed).connections_max(8).table(Table::new("tasks").all_columns())
}

/// What `connect` says, which it must in time.
async fn refusal(builder: DbBuilder) -> String {
    let connected = tokio::time::timeout(IN_TIME, builder.connect()).await;
    connected.expect("an answer in time").expect_err("nobody is there").to_string()
}

async fn connecting_to_one_that_says_nothing_is_an_error(feed: Feed) {
    let database = name("mute_connect", feed);
    let url = create_database(&database, SETUP);
    let proxy = proxy_to(&url).await;
    for network in [Network::Mute, Network::Welcome] {
        proxy.set(network);
        let silent = through(&proxy, &database);
        let address = proxy.address().to_string();
        for error in [
            refusal(builder(silent.clone(), feed)).await,
            refusal(builder(url.clone(), feed).feed_url(silent)).await,
        ] {
            for part in [&*address, "within 1s", "connect_timeout", "proxy"] {
                assert!(error.contains(part), "{network:?}: {error}");
            }
            assert!(!error.contains("geheim"), "{error}");
        }
    }
}

async fn the_next_host_takes_the_place_of_one_that_says_nothing(feed: Feed) {
    let database = name("mute_first", feed);
    let url = create_database(&database, SETUP);
    let proxy = proxy_to(&url).await;
    let config: tokio_postgres::Config = url.parse().unwrap();
    for network in [Network::Mute, Network::Welcome] {
        proxy.set(network);
        let hosts = format!("{},127.0.0.1:{}", proxy.address(), config.get_ports()[0]);
        let url = through(&proxy, &database).replace(&proxy.address().to_string(), &hosts);
        let connected = builder(url, feed).connect().await;
        connected.unwrap_or_else(|error| panic!("{network:?}: {error}")).close().await;
    }
}

async fn everything_is_as_before_when_it_speaks_again(feed: Feed) {
    let database = name("mute_later", feed);
    let url = create_database(&database, SETUP);
    let proxy = proxy_to(&url).await;
    let db = builder(through(&proxy, &database), feed).connect().await.unwrap();
    let address = serve(&db).await;
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    for (network, round) in [(Network::Mute, "mute"), (Network::Welcome, "welcome")] {
        proxy.set(network);
        // More than there are connections, and each of them has to fail.
        let mut callers = Vec::new();
        for number in 0..6 {
            callers.push(tokio::spawn(async move {
                let mut caller = Client::connect(address).await;
                caller.call("insert", json!([format!("never {number}")])).await
            }));
        }
        // One may have had a connection that was being cut.
        let answers = futures::future::join_all(callers).await;
        let codes: Vec<_> =
            answers.into_iter().map(|a| a.unwrap()["error"]["error"].clone()).collect();
        assert!(codes.iter().all(|code| !code.is_null()), "{network:?}: {codes:?}");
        assert!(codes.contains(&json!("database-busy")), "{network:?}: {codes:?}");
        psql(&database, &format!("INSERT INTO tasks VALUES ('{round} missed')"));
        proxy.set(Network::Up);
        let missed = format!("{round} missed");
        client.until("what it missed", |c| c.documents("tasks").contains_key(&missed)).await;
        let since = Instant::now();
        let all = (0..db.pool().status().max_size).map(|_| db.pool().get());
        let all = futures::future::try_join_all(all).await;
        all.unwrap_or_else(|error| panic!("{network:?}: a lost place: {error}")).clear();
        assert!(since.elapsed() < IN_TIME, "{network:?}");
        let own = format!("{round} own");
        assert_eq!(client.call("insert", json!([own])).await.get("error"), None);
        assert!(client.documents("tasks").contains_key(&own), "`updated` came too early");
        db.check().await.unwrap();
    }
    assert!(client.nosub.is_empty());
    db.close().await;
}

async fn connections_that_are_forgotten_on_the_way_are_replaced(feed: Feed) {
    let database = name("mute_forgotten", feed);
    let url = create_database(&database, SETUP);
    let proxy = proxy_to(&url).await;
    let db = builder(through(&proxy, &database), feed).connect().await.unwrap();
    let mut client = Client::connect(serve(&db).await).await;
    client.subscribe("tasks", json!([])).await;
    client.call("insert", json!(["before"])).await;
    proxy.forget();
    psql(&database, "INSERT INTO tasks VALUES ('missed')");
    client.until("what it missed", |c| c.documents("tasks").contains_key("missed")).await;
    assert_eq!(client.call("insert", json!(["after"])).await.get("error"), None);

    if feed == Feed::Wal {
        // While the feed begins anew it waits for this one.
        let mut writer = ddp_tests::database::connect(&database).await;
        let open = writer.transaction().await.unwrap();
        open.execute("INSERT INTO tasks VALUES ('late')", &[]).await.unwrap();
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE backend_type = 'walsender' AND datname = current_database()";
        psql(&database, end);
        let waits =
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE_REPLICATION_SLOT%'
            AND state = 'active' AND datname = current_database()";
        let deadline = Instant::now() + Duration::from_secs(30);
        while psql(&database, waits).trim() != "1" {
            assert!(Instant::now() < deadline, "the feed does not begin anew");
        }
        proxy.forget();
        open.commit().await.unwrap();
        client.until("what came late", |c| c.documents("tasks").contains_key("late")).await;
    }
    assert!(client.nosub.is_empty());
    db.close().await;
}

over_both_feeds!(
    connections_that_are_forgotten_on_the_way_are_replaced,
    connecting_to_one_that_says_nothing_is_an_error,
    the_next_host_takes_the_place_of_one_that_says_nothing,
    everything_is_as_before_when_it_speaks_again,
);
