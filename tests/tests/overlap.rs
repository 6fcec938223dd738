//! Many subscriptions of one session to the same rows of PostgreSQL: the client is sent each change
//! once, and loses a row only with the last subscription that shows it.

use std::net::SocketAddr;

use ddp_postgres::{Db, Table};
use ddp_server::extract::{Params, State};
use ddp_server::{Collection, Cursor, Server, field};
use ddp_tests::{Client, database};
use serde_json::{Value, json};

const ITEMS: Collection<Value> = Collection::new("items");
const ROWS: usize = 100;
const SETUP: &str = "
    CREATE TABLE items (id text PRIMARY KEY, rank integer NOT NULL, note text NOT NULL);
    INSERT INTO items SELECT 'i' || n, n, 'water the plants' FROM generate_series(1, 100) AS n;
";

/// Subscriptions that are equal, or that only show the same rows.
async fn items(
    State(db): State<Db>,
    Params((kind, number)): Params<(String, i64)>,
) -> Cursor<Value> {
    let all = db.find(&ITEMS);
    match &*kind {
        "different" => all.filter(field("rank").lt(1_000_000 + number)),
        "some" => all.filter(field("rank").ne(number)),
        "fields" if number % 2 == 0 => all.fields(["rank"]).filter(field("rank").gt(-number)),
        "fields" => all.fields(["rank", "note"]).filter(field("rank").gt(-number)),
        _ => all,
    }
}

/// Sends so many `sub` at once, and waits until all are ready.
async fn subscribe(client: &mut Client, kind: &str, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..count {
        ids.push(client.send_sub("items", json!([kind, number])).await);
    }
    client.until("ready", |client| ids.iter().all(|id| client.ready.contains(id))).await;
    ids
}

/// Reads until all has come that was committed before. Returns how many messages came, some of them
/// perhaps pings.
async fn messages(client: &mut Client, what: &str, condition: impl Fn(&Client) -> bool) -> usize {
    let before = client.messages;
    client.until(what, condition).await;
    // Whatever is still on the way comes before the answer.
    let call = client.call("nothing", json!([])).await;
    assert!(call["error"].is_null(), "{call}");
    // `result` and `updated`.
    client.messages - before - 2
}

fn have_rank(client: &Client, rank: i64) -> bool {
    let documents = client.documents("items");
    documents.len() == ROWS && documents.values().all(|fields| fields["rank"] == rank)
}

async fn live(database: &str, address: SocketAddr, kind: &str, count: usize) {
    let psql = |sql: &str| database::psql(database, sql);
    let mut client = Client::connect(address).await;
    let ids = subscribe(&mut client, kind, count).await;
    let begun = client.messages;
    // A row may come with few fields first, and then with all.
    assert!(begun <= 2 * ROWS + count + 5, "{kind}: {begun} messages until all are ready");
    assert_eq!(client.documents("items").len(), ROWS);
    let few = ROWS..ROWS + 3;
    psql("UPDATE items SET rank = 1000");
    let sent = messages(&mut client, "the update", |client| have_rank(client, 1000)).await;
    assert!(few.contains(&sent), "{kind}: {sent} messages for an update");
    // The last one that remains shows what all of them did.
    for id in &ids[..count - 1] {
        client.send(&json!({"msg": "unsub", "id": id})).await;
    }
    let are_gone = |client: &Client| client.nosub.len() == count - 1;
    let sent = messages(&mut client, "the end of most", are_gone).await;
    assert!(sent <= count + 3, "{kind}: {sent} messages for the end of most");
    assert!(have_rank(&client, 1000));
    psql("UPDATE items SET rank = 1001");
    let sent = messages(&mut client, "another update", |client| have_rank(client, 1001)).await;
    assert!(few.contains(&sent), "{kind}: {sent} messages for another update");
    // All come back, to see the rows go.
    subscribe(&mut client, kind, count - 1).await;
    psql("DELETE FROM items");
    let is_empty = |client: &Client| client.documents("items").is_empty();
    let sent = messages(&mut client, "the deletion", is_empty).await;
    assert!(sent <= 2 * ROWS + 3, "{kind}: {sent} messages for a deletion");
    client.close().await;
    psql("INSERT INTO items SELECT 'i' || n, n, 'eat' FROM generate_series(1, 100) AS n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overlapping_subscriptions_are_sent_each_change_once() {
    let url = database::create_database("overlap", SETUP);
    let table = Table::new("items").columns(["rank", "note"]);
    let db = Db::builder(url).table(table).connect().await.unwrap();
    let server = Server::builder()
        .publish("items", items)
        .method("nothing", async || Ok::<_, ddp_server::Error>(()))
        .with_state(db);
    let address = ddp_tests::peer::serve(&server).await;
    live("overlap", address, "equal", 1024).await;
    for kind in ["different", "some", "fields"] {
        live("overlap", address, kind, 150).await;
    }
}
