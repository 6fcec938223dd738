//! The same predicate decided by PostgreSQL, which reads the rows that exist when a client
//! subscribes, and in memory, where later rows are compared.

use ddp_core::ejson::Ejson;
use ddp_postgres::{Db, Feed, Table};
use ddp_server::extract::{Params, State};
use ddp_server::query::{Predicate, Value};
use ddp_server::{Collection, Cursor, Error, Server, WriteFence, field};
use ddp_tests::client::Documents;
use ddp_tests::{Client, database};
use serde_json::{Value as Json, json};

const ROWS: Collection<Json> = Collection::new("rows");

const SETUP: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
    CREATE DOMAIN even AS integer CHECK (VALUE % 2 = 0);
    CREATE TABLE rows (
        id integer PRIMARY KEY, yes boolean, small smallint, big bigint, real real, double float8,
        exact numeric(5, 0), text text, short varchar(3), padded char(4), uuid uuid, mood mood,
        even even, at timestamptz, local timestamp, day date, data jsonb
    );
";

/// Rows with the values where comparisons differ.
const VALUES: &str = "
    (1, true, 1, 9007199254740993, 0.1, 0.1, 1, 'abc', 'abc', 'ab',
     'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'ok', 2,
     '2024-01-01 00:00:00.000001+00', '2024-01-01 00:00:00', '2024-01-01', '{\"a\": 1}'),
    (2, false, -1, 9007199254740992, 'NaN', 'NaN', 2, 'ABC', 'ab', 'ab  ',
     'b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'sad', 4,
     '9999-12-31 23:59:59.999+00', '0044-03-15 12:00:00 BC', '0044-03-15 BC', 'null'),
    (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (4, true, 3, -3, 'Infinity', '-Infinity', 3, '', '', '', NULL, 'happy', 0,
     'infinity', '-infinity', 'infinity', '\"x\"'),
    (5, false, 2, 9223372036854775807, 1e20, 1e300, 99999, 'b%_', 'b', 'abcd', NULL, 'ok', -2,
     '1969-12-31 23:59:59.999+00', '275760-09-13 00:00:00', '1970-01-01', '[1]')";

/// `[field, operator, constant]`, or `[\"and\" | \"or\" | \"not\", …]`, as a predicate.
fn predicate(ejson: &Ejson) -> Option<Predicate> {
    let parts = ejson.as_array()?;
    let predicates = || parts[1..].iter().map(predicate).collect::<Option<Vec<_>>>();
    match parts.first()?.as_str()? {
        "and" => return Some(Predicate::And(predicates()?)),
        "or" => return Some(Predicate::Or(predicates()?)),
        "not" => return Some(predicate(parts.get(1)?)?.not()),
        _ => {}
    }
    let name = field(parts[0].as_str()?);
    let constant = || Value::from_ejson(parts.get(2)?);
    Some(match parts.get(1)?.as_str()? {
        "eq" => name.eq(constant()?),
        "ne" => name.ne(constant()?),
        "lt" => name.lt(constant()?),
        "lte" => name.lte(constant()?),
        "gt" => name.gt(constant()?),
        "gte" => name.gte(constant()?),
        "in" => {
            let values: Option<Vec<_>> =
                parts.get(2)?.as_array()?.iter().map(Value::from_ejson).collect();
            name.is_in(values?)
        }
        "null" => name.is_null(),
        operator @ ("all" | "any") => {
            let values: Option<Vec<_>> =
                parts.get(2)?.as_array()?.iter().map(Value::from_ejson).collect();
            if operator == "all" { name.contains_all(values?) } else { name.overlaps(values?) }
        }
        _ => return None,
    })
}

async fn find(
    State(db): State<Db>,
    Params((ejson,)): Params<(Ejson,)>,
) -> Result<Cursor<Json>, Error> {
    let predicate = predicate(&ejson).ok_or_else(|| Error::client(400, "no predicate"))?;
    Ok(db.find(&ROWS).filter(predicate))
}

async fn barrier(State(db): State<Db>, fence: WriteFence) -> Result<(), Error> {
    Ok(db.begin(&fence).await?.commit().await?)
}

fn constants() -> Vec<(&'static str, Vec<Json>)> {
    let dates = || {
        [1_704_067_200_000_i64, 253_402_300_799_999, -63_549_360_000_000, -1, 8_640_000_000_000_000]
            .map(|millis| json!({"$date": millis}))
            .to_vec()
    };
    let numbers = || {
        vec![
            json!(1),
            json!(-1),
            json!(0.1),
            json!(2.5),
            json!(9_007_199_254_740_992_i64),
            json!(1e20),
            json!(1e300),
            json!({"$InfNaN": 0}),
            json!({"$InfNaN": 1}),
            json!({"$InfNaN": -1}),
        ]
    };
    vec![
        ("_id", vec![json!(1), json!(3), json!(2.5)]),
        ("yes", vec![json!(true), json!(false)]),
        ("small", numbers()),
        ("big", numbers()),
        ("real", numbers()),
        ("double", numbers()),
        ("exact", vec![json!(1), json!(1.25), json!(99999), json!("2")]),
        ("text", vec![json!("abc"), json!("ABC"), json!(""), json!("b%_"), json!("it's \"q\"")]),
        ("short", vec![json!("abc"), json!("abcdef"), json!("ab")]),
        ("padded", vec![json!("ab"), json!("ab  "), json!("abcdef")]),
        ("uuid", vec![json!("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11")]),
        ("mood", vec![json!("ok"), json!("unheard"), json!("happy")]),
        ("even", vec![json!(2), json!(3)]),
        ("at", dates()),
        ("local", dates()),
        ("day", vec![json!("2024-01-01"), json!("1970-01-01")]),
    ]
}

/// Every comparison with every constant, lists of them, and some compound ones.
fn predicates() -> Vec<Json> {
    let mut predicates = Vec::new();
    for (name, constants) in constants() {
        for constant in &constants {
            for operator in ["eq", "ne", "lt", "lte", "gt", "gte"] {
                predicates.push(json!([name, operator, constant]));
            }
            predicates.push(json!(["not", [name, "eq", constant]]));
        }
        predicates.push(json!([name, "in", constants]));
        predicates.push(json!(["not", [name, "in", constants]]));
        predicates.push(json!([name, "in", [constants[0], null]]));
        predicates.push(json!([name, "in", []]));
        predicates.push(json!([name, "null"]));
        predicates.push(json!([name, "eq", null]));
    }
    predicates.push(json!(["data", "null"]));
    for both in ["and", "or"] {
        predicates.push(json!([both, ["text", "eq", "abc"], ["not", ["small", "gt", 0]]]));
        predicates.push(json!([both, ["text", "lt", "c"], ["big", "in", [1, 2]]]));
        predicates.push(json!(["not", [both, ["yes", "eq", true], ["double", "null"]]]));
        predicates.push(json!([both]));
    }
    predicates
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_decides_as_postgresql_does() {
    let url = database::create_database("predicates", SETUP);
    let db = Db::builder(&url).table(Table::new("rows").all_columns()).connect().await.unwrap();
    let server = Server::builder().publish("find", find).method("barrier", barrier).with_state(db);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { server.serve(listener).await });

    let predicates = predicates();
    assert!(predicates.len() > 400, "{}", predicates.len());
    let mut early = Vec::new();
    for predicate in &predicates {
        let mut client = Client::connect(address).await;
        client.subscribe("find", json!([predicate])).await;
        assert!(client.documents("rows").is_empty());
        early.push(client);
    }
    // One client watches everything, to know when everything has been sent.
    let mut all = Client::connect(address).await;
    all.subscribe("find", json!([["and"]])).await;
    database::psql("predicates", &format!("INSERT INTO rows VALUES {VALUES}"));
    all.until("all rows", |client| client.documents("rows").len() == 5).await;

    let mut matches = 0;
    for (predicate, mut seen_later) in predicates.iter().zip(early) {
        let mut reader = Client::connect(address).await;
        reader.subscribe("find", json!([predicate])).await;
        let expected: Documents = reader.documents("rows");
        // When this is updated, everything committed before has been sent.
        assert_eq!(seen_later.call("barrier", json!([])).await.get("error"), None);
        assert_eq!(seen_later.documents("rows"), expected, "{predicate}");
        matches += expected.len();
        reader.close().await;
        seen_later.close().await;
    }
    println!("{} predicates, {matches} matches", predicates.len());
    assert!(matches > 500, "{matches}");
}

/// Types that only PostgreSQL reads, each with a valid constant, and with invalid ones.
const READ_BY_POSTGRESQL: [(&str, &str, &str); 10] = [
    ("inet", "10.0.0.1", "not an address"),
    ("cidr", "10.0.0.0/8", "10.0.0.1/8"),
    ("macaddr", "08:00:2b:01:02:03", "08:00"),
    ("interval", "1 mon", "ages"),
    ("money", "1.5", "92233720368547758.08"),
    ("int4range", "[1,3)", "[3,1)"),
    ("timetz", "12:30:00+00", "25:00"),
    ("ltree", "a.b", "a..b"),
    ("regclass", "kept", "no_such_table"),
    // PostgreSQL cannot be asked about it.
    ("stay", "(1,2)", "(1,0)"),
];

/// A server that publishes these rows, and counts them in a method.
async fn serve_rows(setup: &str, name: &str, feed: Feed) -> std::net::SocketAddr {
    let url = database::create_database(name, setup);
    // One connection: whatever is left of a failed attempt is in the way of the next query.
    let rows = Table::new("rows").all_columns();
    let db = Db::builder(&url).feed(feed).connections_max(1).table(rows).connect().await.unwrap();
    let server = Server::builder()
        .publish("find", find)
        .method("count", async |State(db): State<Db>, Params((ejson,)): Params<(Ejson,)>| {
            let predicate = predicate(&ejson).ok_or_else(|| Error::client(400, "no predicate"))?;
            Ok::<_, Error>(db.find(&ROWS).filter(predicate).fetch().await?.len())
        })
        .with_state(db);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { server.serve(listener).await });
    address
}

/// The client has these rows, and the subscription goes on.
async fn sees(client: &mut Client, ids: &[&str]) {
    let is_so = |client: &Client| client.documents("rows").keys().eq(ids);
    client.until(&format!("{ids:?}"), is_so).await;
}

async fn a_constant_that_the_type_cannot_hold_finds_nothing(feed: Feed) {
    let name = database::name("predicates_refused", feed);
    let columns = READ_BY_POSTGRESQL.map(|(sql, ..)| format!("{sql} {sql}, {sql}s {sql}[]"));
    let setup = format!(
        "CREATE EXTENSION ltree; CREATE TABLE kept (); {} CREATE TABLE rows (id int PRIMARY KEY, {})",
        database::STAY,
        columns.join(", ")
    );
    let address = serve_rows(&setup, &name, feed).await;
    for (sql, held, refused) in READ_BY_POSTGRESQL {
        let put = |id: u32| {
            format!(
                "INSERT INTO rows (id, {sql}, {sql}s) VALUES ({id}, '{held}', ARRAY['{held}'::{sql}])"
            )
        };
        database::psql(&name, &format!("TRUNCATE rows; {}", put(1)));
        // Each is read again after a change, and finds what SQL would find.
        let array = format!("{sql}s");
        let expected: [(Json, &[&str], &[&str]); 8] = [
            (json!([sql, "eq", refused]), &[], &[]),
            (json!(["not", [sql, "eq", refused]]), &[], &[]),
            (json!([sql, "in", [refused, held]]), &["~1"], &["~1", "~2"]),
            (json!(["or", [sql, "eq", refused], ["_id", "eq", 1]]), &["~1"], &["~1"]),
            (json!([array, "all", [held]]), &["~1"], &["~1", "~2"]),
            (json!([array, "all", [held, refused]]), &[], &[]),
            (json!([array, "any", [held, refused]]), &["~1"], &["~1", "~2"]),
            (json!([sql, "eq", held]), &["~1"], &["~1", "~2"]),
        ];
        let mut clients = Vec::new();
        for (asked, before, after) in expected {
            let mut client = Client::connect(address).await;
            client.subscribe("find", json!([asked])).await;
            sees(&mut client, before).await;
            let count = client.call("count", json!([asked])).await;
            assert_eq!(count["result"], before.len(), "{asked}: {count}");
            clients.push((client, after));
        }
        database::psql(&name, &put(2));
        for (client, after) in &mut clients {
            sees(client, after).await;
            assert_eq!(client.nosub, Default::default(), "{sql}");
        }
    }
}

/// From version 16 on it is asked before. The log has what was refused of others.
async fn what_postgresql_can_be_asked_it_does_not_refuse(feed: Feed) {
    let setup = "CREATE TABLE rows (id int PRIMARY KEY, inet inet, inets inet[]);
        INSERT INTO rows VALUES (1, '10.0.0.1', '{10.0.0.1}')";
    let address = serve_rows(setup, &database::name("predicates_asked", feed), feed).await;
    let version = database::psql("postgres", "SHOW server_version_num");
    let is_askable = version.trim().parse::<u32>().unwrap() >= 160_000;
    let path = database::shared_cluster().lock().unwrap().log_path();
    for (field, operator) in [("inet", "eq"), ("inet", "in"), ("inets", "any")] {
        // More than are tried one by one.
        let count = if is_askable && operator != "eq" { 1_000 } else { 1 };
        let text = |number| format!("{feed:?} {field} {operator} {number}");
        let mut constants: Vec<_> = (0..count).map(text).collect();
        let asked = if operator == "eq" {
            json!([field, operator, constants.pop()])
        } else {
            constants.push("10.0.0.1".to_owned());
            json!([field, operator, constants])
        };
        let found: &[&str] = if operator == "eq" { &[] } else { &["~1"] };
        let mut client = Client::connect(address).await;
        client.subscribe("find", json!([asked])).await;
        sees(&mut client, found).await;
        let answer = client.call("count", json!([asked])).await;
        assert_eq!(answer["result"], found.len(), "{asked}: {answer}");
        let log = std::fs::read_to_string(&path).unwrap();
        assert_eq!(log.contains(&text(0)), !is_askable, "PostgreSQL {version}: {log}");
    }
}

ddp_tests::over_both_feeds!(
    a_constant_that_the_type_cannot_hold_finds_nothing,
    what_postgresql_can_be_asked_it_does_not_refuse,
);
