//! Random writers, subscribers that come and go and log in as others, and faults: at rest every client has what the
//! SELECT gives, and on the way no message fails to fit what the client has, and no document goes
//! back in the order of commits.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ddp_examples::Cluster;
use ddp_examples::cluster::ShutdownMode;
use ddp_postgres::{Db, Feed, Table};
use ddp_server::extract::{Invocation, Params, State, UserId};
use ddp_server::{Collection, Cursor, Error, Server, WriteFence, field};
use ddp_tests::client::Documents;
use ddp_tests::{Client, Dice, database};
use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;
use tokio_postgres::NoTls;

const SUBSCRIBERS: usize = 20;
const WRITERS: usize = 4;
const TASKS: Collection<Value> = Collection::new("tasks");
const LISTS: Collection<Value> = Collection::new("lists");

const SETUP: &str = "
    CREATE TABLE tasks (
        id text PRIMARY KEY,
        list_id text NOT NULL,
        text text,
        checked boolean NOT NULL DEFAULT false,
        rank integer NOT NULL DEFAULT 0,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        revision bigint
    );
    CREATE SEQUENCE revisions;
    CREATE FUNCTION revise() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.revision := nextval('revisions'); RETURN NEW; END $$;
    CREATE TRIGGER revise BEFORE INSERT OR UPDATE ON tasks
        FOR EACH ROW EXECUTE FUNCTION revise();
    CREATE TABLE lists (id integer PRIMARY KEY, title text NOT NULL);
    CREATE TABLE unpublished (id integer PRIMARY KEY, note text);
";

/// How long the writers write.
fn duration() -> Duration {
    let seconds = std::env::var("CONVERGENCE_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(20))
}

fn server(db: &Db) -> Server {
    Server::builder()
        .publish("tasks", async |State(db): State<Db>| db.find(&TASKS))
        .publish("tasks.byList", by_list)
        .publish("tasks.open", open)
        .publish("tasks.titles", async |State(db): State<Db>| db.find(&TASKS).fields(["text"]))
        .publish("tasks.between", between)
        .publish("lists", async |State(db): State<Db>| db.find(&LISTS))
        .publish("both", async |State(db): State<Db>| (db.find(&TASKS), db.find(&LISTS)))
        .publish("tasks.mine", mine)
        .method("login", login)
        .method("barrier", barrier)
        .with_state(db.clone())
}

async fn by_list(State(db): State<Db>, Params((list,)): Params<(String,)>) -> Cursor<Value> {
    db.find(&TASKS).filter(field("listId").eq(list))
}

async fn open(State(db): State<Db>, Params((rank,)): Params<(i64,)>) -> Cursor<Value> {
    let is_open = field("checked").eq(false).and(field("rank").gte(rank));
    db.find(&TASKS).filter(is_open.and(field("text").is_null().not()))
}

/// The order of text depends on the collation, which only the database knows.
async fn between(
    State(db): State<Db>,
    Params((from, to)): Params<(String, String)>,
) -> Cursor<Value> {
    db.find(&TASKS).filter(field("text").gte(from).and(field("text").lt(to)))
}

/// The tasks of the list that has the user's name.
async fn mine(State(db): State<Db>, user: Option<UserId>) -> Option<Cursor<Value>> {
    user.map(|user| db.find(&TASKS).filter(field("listId").eq(user.as_str())))
}

async fn login(
    invocation: Invocation,
    Params((user,)): Params<(Option<String>,)>,
) -> Result<(), Error> {
    invocation.set_user_id(user.as_deref()).await
}

/// Its `updated` says that everything committed before has been sent to the caller.
async fn barrier(State(db): State<Db>, fence: WriteFence) -> Result<(), Error> {
    loop {
        // Under faults the connection may break; then nothing was committed.
        if let Ok(transaction) = db.begin(&fence).await
            && transaction.commit().await.is_ok()
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The publications, with the SQL condition that says the same.
const PUBLICATIONS: [(&str, &str, &str, &str); 10] = [
    ("tasks", "[]", "true", "all"),
    ("tasks.byList", r#"["a"]"#, "list_id = 'a'", "all"),
    ("tasks.byList", r#"["b"]"#, "list_id = 'b'", "all"),
    ("tasks.byList", r#"["none"]"#, "list_id = 'none'", "all"),
    ("tasks.open", "[3]", "NOT checked AND rank >= 3 AND text IS NOT NULL", "all"),
    ("tasks.titles", "[]", "true", "text"),
    ("tasks.between", r#"["C","m"]"#, "text >= 'C' AND text < 'm'", "all"),
    ("lists", "[]", "false", "all"),
    ("both", "[]", "true", "all"),
    ("tasks.mine", "[]", "list_id = $user", "all"),
];

/// What a client with these subscriptions must have, by SQL of its own.
async fn expected(
    sql: &tokio_postgres::Client,
    subscriptions: &[usize],
    user: Option<&str>,
) -> BTreeMap<String, Documents> {
    let mut collections: BTreeMap<String, Documents> = BTreeMap::new();
    for &index in subscriptions {
        let (name, _, condition, fields) = PUBLICATIONS[index];
        let user = user.map_or("NULL".to_owned(), |user| format!("'{user}'"));
        let condition = condition.replace("$user", &user);
        let object = match fields {
            "text" => "json_build_object('text', text)",
            _ => {
                "json_build_object('listId', list_id, 'text', text, 'checked', checked, \
                 'rank', rank, 'revision', revision, 'createdAt', json_build_object('$date', \
                 floor(extract(epoch FROM created_at) * 1000)::bigint))"
            }
        };
        let select = format!("SELECT id, {object}::text FROM tasks WHERE {condition}");
        for row in sql.query(&select, &[]).await.unwrap() {
            let fields: Map<String, Value> = serde_json::from_str(row.get(1)).unwrap();
            let documents = collections.entry("tasks".to_owned()).or_default();
            documents.entry(row.get(0)).or_default().extend(fields);
        }
        if name == "lists" || name == "both" {
            let select = "SELECT '~' || id, title FROM lists";
            for row in sql.query(select, &[]).await.unwrap() {
                let fields = Map::from_iter([("title".to_owned(), json!(row.get::<_, String>(1)))]);
                collections.entry("lists".to_owned()).or_default().insert(row.get(0), fields);
            }
        }
    }
    collections
}

/// One random statement.
fn statement(dice: &mut Dice) -> String {
    let id = format!("t{}", dice.below(60));
    let other = format!("t{}", dice.below(60));
    let list = *dice.pick(&["a", "b", "c"]);
    let rank = dice.below(6);
    let text = if dice.one_in(5) { "NULL".to_owned() } else { format!("'{}'", dice.text()) };
    let number = dice.below(8);
    match dice.below(14) {
        0..=3 => format!(
            "INSERT INTO tasks (id, list_id, text, rank) VALUES ('{id}', '{list}', {text}, {rank}) \
             ON CONFLICT (id) DO UPDATE SET text = EXCLUDED.text, rank = EXCLUDED.rank"
        ),
        4 => format!("UPDATE tasks SET list_id = '{list}', text = {text} WHERE id = '{id}'"),
        5 => format!("UPDATE tasks SET checked = NOT checked WHERE id = '{id}'"),
        6 => format!("UPDATE tasks SET rank = (rank + 1) % 6 WHERE list_id = '{list}'"),
        7 => format!("DELETE FROM tasks WHERE id IN ('{id}', '{other}')"),
        8 => format!("UPDATE tasks SET id = '{other}' WHERE id = '{id}'"),
        9 => format!(
            "INSERT INTO tasks (id, list_id, text) SELECT 't' || n, '{list}', {text} \
             FROM generate_series({number}, {number} + 4) AS n ON CONFLICT DO NOTHING"
        ),
        10 => format!(
            "INSERT INTO lists VALUES ({number}, {}) ON CONFLICT (id) DO UPDATE SET title = EXCLUDED.title",
            if text == "NULL" { "'untitled'" } else { &text }
        ),
        11 => format!("DELETE FROM lists WHERE id = {number}"),
        12 if dice.one_in(6) => "TRUNCATE lists".to_owned(),
        // Rows that nobody writes again: what is lost of them stays lost.
        12 if dice.one_in(3) => format!(
            "INSERT INTO tasks (id, list_id, text, rank) \
             VALUES ('once ' || gen_random_uuid(), '{list}', {text}, 9)"
        ),
        12 => format!("UPDATE tasks SET text = {text} WHERE rank = {rank}"),
        _ => format!("INSERT INTO unpublished VALUES ({number}, {text}) ON CONFLICT DO NOTHING"),
    }
}

/// One random transaction as a script.
fn transaction(dice: &mut Dice) -> String {
    if dice.one_in(2) {
        return statement(dice);
    }
    let mut script = "BEGIN; ".to_owned();
    for _ in 0..=dice.below(4) {
        match dice.below(5) {
            0 => script += &format!("SAVEPOINT s; {}; ROLLBACK TO s; ", statement(dice)),
            1 => script += &format!("SAVEPOINT s; {}; RELEASE s; ", statement(dice)),
            _ => script += &format!("{}; ", statement(dice)),
        }
    }
    script + if dice.one_in(4) { "ROLLBACK" } else { "COMMIT" }
}

async fn write(url: String, mut dice: Dice, stop: Arc<AtomicBool>, count: Arc<AtomicUsize>) {
    while !stop.load(Ordering::SeqCst) {
        let Ok((client, connection)) = tokio_postgres::connect(&url, NoTls).await else {
            // The database is being restarted.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let connection = tokio::spawn(connection);
        while !stop.load(Ordering::SeqCst) && !client.is_closed() {
            // Statements fail by conflicts of keys and deadlocks, too; the transaction is over then.
            if client.batch_execute(&transaction(&mut dice)).await.is_err() {
                let _ = client.batch_execute("ROLLBACK").await;
            }
            count.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(dice.below(4) as u64)).await;
        }
        connection.abort();
    }
}

struct Subscriber {
    client: Client,
    subscriptions: Vec<(usize, String)>,
    user: Option<&'static str>,
}

impl Subscriber {
    async fn join(address: SocketAddr, dice: &mut Dice, has_faults: bool) -> Self {
        let client = Client::connect(address).await;
        let mut subscriber = Self { client, subscriptions: Vec::new(), user: None };
        // After an interruption queries catch up one after the other, and overlapping ones may show
        // an older document in between.
        subscriber.client.revisions_rise = !has_faults;
        for _ in 0..=dice.below(3) {
            subscriber.subscribe(dice).await;
        }
        subscriber
    }

    async fn subscribe(&mut self, dice: &mut Dice) {
        let index = dice.below(PUBLICATIONS.len());
        let (name, params, ..) = PUBLICATIONS[index];
        // A query that only the database decides shows a document as it was until it has read again.
        self.client.revisions_rise &= name != "tasks.between";
        let id = self.client.send_sub(name, serde_json::from_str(params).unwrap()).await;
        self.subscriptions.push((index, id));
    }
}

/// A client that lives through the run, subscribing, unsubscribing and coming back as another.
async fn subscribe(
    address: SocketAddr,
    mut dice: Dice,
    stop: Arc<AtomicBool>,
    has_faults: bool,
) -> (Subscriber, usize) {
    let mut subscriber = Subscriber::join(address, &mut dice, has_faults).await;
    let mut messages = 0;
    while !stop.load(Ordering::SeqCst) {
        subscriber.client.read_for(Duration::from_millis(dice.below(300) as u64)).await;
        match dice.below(6) {
            0 => {
                messages += subscriber.client.messages;
                let next = Subscriber::join(address, &mut dice, has_faults).await;
                std::mem::replace(&mut subscriber, next).client.close().await;
            }
            1 if subscriber.subscriptions.len() > 1 => {
                let index = dice.below(subscriber.subscriptions.len());
                let (_, id) = subscriber.subscriptions.remove(index);
                subscriber.client.unsubscribe(&id).await;
            }
            2 if subscriber.subscriptions.len() < 5 => subscriber.subscribe(&mut dice).await,
            3 => {
                subscriber.user = *dice.pick(&[Some("a"), Some("b"), Some("c"), None]);
                let result = subscriber.client.call("login", json!([subscriber.user])).await;
                assert_eq!(result.get("error"), None);
            }
            _ => {}
        }
    }
    messages += subscriber.client.messages;
    (subscriber, messages)
}

/// What breaks the cluster until it is told to stop.
type Faults = fn(Cluster, Arc<AtomicBool>) -> Cluster;

/// Runs writers and subscribers for a while, with `faults` in a thread of its own, and compares.
async fn converge(test: &str, feed: Feed, tasks: Table, faults: Option<Faults>) {
    let cluster = database::start_cluster();
    let has_faults = faults.is_some();
    let seed = Dice::seed(test);
    cluster.psql("postgres", SETUP).unwrap();
    let url = cluster.url();
    let db = Db::builder(&url)
        .feed(feed)
        .table(tasks)
        .table(Table::new("lists"))
        .connect()
        .await
        .unwrap();
    let server = server(&db);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = {
        let server = server.clone();
        tokio::spawn(async move { server.serve(listener).await })
    };

    let stop = Arc::new(AtomicBool::new(false));
    let transactions = Arc::new(AtomicUsize::new(0));
    let writers: Vec<JoinHandle<()>> = (0..WRITERS)
        .map(|number| {
            let dice = Dice::new(&seed, &format!("writer {number}"));
            tokio::spawn(write(url.clone(), dice, Arc::clone(&stop), Arc::clone(&transactions)))
        })
        .collect();
    let subscribers: Vec<JoinHandle<(Subscriber, usize)>> = (0..SUBSCRIBERS)
        .map(|number| {
            let dice = Dice::new(&seed, &format!("subscriber {number}"));
            tokio::spawn(subscribe(address, dice, Arc::clone(&stop), has_faults))
        })
        .collect();
    let for_faults = Arc::clone(&stop);
    let faults = tokio::task::spawn_blocking(move || match faults {
        Some(faults) => faults(cluster, for_faults),
        None => cluster,
    });

    tokio::time::sleep(duration()).await;
    stop.store(true, Ordering::SeqCst);
    let cluster = faults.await.unwrap();
    for writer in writers {
        writer.await.unwrap();
    }
    let (sql, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let (mut messages, mut documents) = (0, 0);
    for subscriber in subscribers {
        let (mut subscriber, count) = subscriber.await.unwrap();
        messages += count;
        assert_eq!(subscriber.client.call("barrier", json!([])).await.get("error"), None);
        let indexes: Vec<usize> =
            subscriber.subscriptions.iter().map(|(index, _)| *index).collect();
        let mut seen: BTreeMap<String, Documents> =
            subscriber.client.collections.clone().into_iter().collect();
        seen.retain(|_, documents| !documents.is_empty());
        assert_eq!(
            seen,
            expected(&sql, &indexes, subscriber.user).await,
            "publications {indexes:?}"
        );
        documents += seen.values().map(BTreeMap::len).sum::<usize>();
    }
    let transactions = transactions.load(Ordering::SeqCst);
    println!(
        "{test}: {transactions} transactions, {messages} messages, {documents} documents at rest"
    );
    assert!(transactions > 100 && messages > 1000 && documents > 0, "the test tests something");
    server.close().await;
    serving.await.unwrap().unwrap();
    drop(cluster);
}

fn tasks() -> Table {
    Table::new("tasks").camel_case()
}

async fn clients_converge(feed: Feed) {
    converge("convergence", feed, tasks(), None).await;
}

/// The listener's backend is killed every second, and PostgreSQL is restarted twice, once as if it
/// had crashed. No client loses its connection.
async fn clients_converge_through_faults(feed: Feed) {
    converge_through_faults(feed, tasks()).await;
}

/// Rows that servers read themselves may be newer than what they read them for, so that they are
/// older in one query than in another for a moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_converge_through_faults_by_keys() {
    converge_through_faults(Feed::Notify, tasks().keys_only()).await;
}

async fn converge_through_faults(feed: Feed, tasks: Table) {
    let faults: Faults = |mut cluster, stop| {
        let seconds = duration().as_secs();
        let mut killed = 0;
        for second in 1..=seconds {
            std::thread::sleep(Duration::from_secs(1));
            if stop.load(Ordering::SeqCst) {
                break;
            }
            if second == seconds / 3 {
                cluster.restart(ShutdownMode::Fast).unwrap();
            } else if second == 2 * seconds / 3 {
                cluster.restart(ShutdownMode::Immediate).unwrap();
            } else {
                let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                           WHERE application_name = 'ddp feed'";
                killed += cluster.psql("postgres", sql).unwrap().trim().parse::<usize>().unwrap();
            }
        }
        println!("convergence_faults: {killed} listeners killed");
        assert!(killed > 0, "the listener was there to be killed");
        cluster
    };
    converge("convergence_faults", feed, tasks, Some(faults)).await;
}

ddp_tests::over_both_feeds!(clients_converge, clients_converge_through_faults);
