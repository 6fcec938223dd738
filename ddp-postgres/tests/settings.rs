//! Whatever a writer has set, a trigger writes every type as a query reads it.

mod support;

use ddp_postgres::Table;
use ddp_postgres::testing::Row;
use ddp_postgres::testing::schema::Layout;
use support::{Database, ODD_SETTINGS, TYPES, connect, run};
use tokio_postgres::Client;

/// Constants, some for every type.
const CONSTANTS: &[&str] = &[
    "1",
    "-0.1",
    "1e300",
    "12.345",
    "t",
    "a",
    "A b",
    "{}",
    "[1,3)",
    "{[1,3)}",
    "2024-02-29 13:30:00.123456+05",
    "[2024-02-29 13:30+05,2024-03-01)",
    "{[2024-02-29 13:30+05,2024-03-01)}",
    "[0.1,0.30000000000000004)",
    "{[0.1,0.30000000000000004)}",
    "1 year 2 mons -3 days 04:05:06.7",
    "(0.1,0.30000000000000004)",
    "[(0.1,2),(3,4)]",
    "((0,0),(0.1,1),(1,0))",
    "{1,0.1,-1}",
    "<(0.1,2),3>",
    "10.0.0.1/8",
    "10.0.0.0/8",
    "08:00:2b:01:02:03",
    "08:00:2b:01:02:03:04:05",
    "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    "\\x00ff10",
    "{\"a\": [1.00, null]}",
    "<a>b</a>",
    "101",
    "16/B374D848",
    "10:20:10,14",
    "(0,1)",
    "pg_class",
    "pg_catalog.pg_class",
    "s.things",
    "lower",
    "pg_catalog.lower(text)",
    "pg_catalog.+(int4,int4)",
    "int4",
    "s.act",
    "s.kind",
    "postgres",
    "english",
    "simple",
    "\"C\"",
    "postgres=r/postgres",
    "$.a ? (@ > 0.1)",
    "a & b",
    "a.b",
    "a=>1, \"b c\"=>NULL",
    "1 .. 0.30000000000000004",
    "978-0-11-000222-4",
    "POINT(0.1 2)",
    "1 2 3",
    "-1,2.5",
];

/// All types that there are, each with the constants that it takes, alone and in an array.
struct Types(Vec<(String, Vec<&'static str>)>);

impl Types {
    async fn find(database: &Database) -> Self {
        database.run(TYPES).await;
        let client = database.connect().await;
        for extension in ["seg", "isn", "intarray", "\"uuid-ossp\"", "postgis", "pg_trgm"] {
            let name = extension.trim_matches('"');
            let is_there = "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = $1)";
            if client.query_one(is_there, &[&name]).await.unwrap().get(0) {
                let create = format!("CREATE EXTENSION IF NOT EXISTS {extension}");
                client.batch_execute(&create).await.unwrap();
            }
        }
        // `pg_node_tree` and the like take no constants; composites, domains and arrays are made of these.
        let types = "SELECT format('%I.%I', n.nspname, t.typname) FROM pg_type t JOIN pg_namespace n
            ON n.oid = t.typnamespace WHERE t.typtype IN ('b', 'e', 'r', 'm') AND t.typcategory <> 'A' ORDER BY 1";
        let mut found: Vec<(String, Vec<&str>)> = Vec::new();
        for row in client.query(types, &[]).await.unwrap() {
            let name: String = row.get(0);
            let mut taken = Vec::new();
            for constant in CONSTANTS {
                let sql = format!(
                    "CREATE TEMP TABLE x AS SELECT $x${constant}$x$::{name} AS c; DROP TABLE x"
                );
                if client.batch_execute(&sql).await.is_ok() {
                    taken.push(*constant);
                }
            }
            if !taken.is_empty() {
                found.push((name, taken));
            }
        }
        assert!(found.len() > 70, "{found:?}");
        Self(found)
    }

    async fn publish(&self, database: &mut Database) -> Layout {
        let columns = self.0.iter().enumerate();
        let columns: Vec<_> =
            columns.map(|(i, (name, _))| format!("c{i} {name}, a{i} {name}[]")).collect();
        let sql = format!("CREATE TABLE v (id int PRIMARY KEY, {})", columns.join(", "));
        database.run(&sql).await;
        database.publish(&Table::new("v").all_columns()).await
    }

    /// How many rows it takes until each constant was in one.
    fn rows(&self) -> usize {
        self.0.iter().map(|(_, taken)| taken.len()).max().unwrap()
    }

    async fn insert(&self, writer: &Client, row: usize) {
        let value = |(name, taken): &(String, Vec<&str>)| {
            let constant = taken[row % taken.len()];
            format!("$x${constant}$x$::{name}, ARRAY[$x${constant}$x$::{name}, NULL]")
        };
        let values: Vec<_> = self.0.iter().map(value).collect();
        let insert = format!("INSERT INTO v VALUES ({row}, {})", values.join(", "));
        // Some take it or not as the settings say.
        if writer.batch_execute(&insert).await.is_err() {
            let others = "SET LOCAL DateStyle = 'German'; SET LOCAL xmloption = content; \
                          SET LOCAL lc_monetary = 'C'";
            run(writer, &format!("BEGIN; {others}; {insert}; COMMIT")).await;
        }
    }
}

#[tokio::test]
async fn no_type_depends_on_what_the_writer_set() {
    let mut database = Database::new().await;
    let types = Types::find(&database).await;
    let layout = types.publish(&mut database).await;
    let mut listener = database.listen(&[&layout]).await;
    let writer = connect(&database.name, "").await;
    run(&writer, ODD_SETTINGS).await;
    run(&writer, "SET search_path = public, s").await;
    for row in 0..types.rows() {
        types.insert(&writer, row).await;
    }
    let selected = database.rows(&layout).await;
    let selected: Vec<Row> =
        selected.iter().map(|text| Row::parse(&layout, text).unwrap()).collect();
    let batches = listener.batches().await;
    assert_eq!(batches.len(), types.rows());
    for batch in &batches {
        let told = batch.changes()[0].row.as_ref().unwrap();
        let read = selected.iter().find(|row| row.value(0) == told.value(0)).unwrap();
        for (index, column) in layout.columns().iter().enumerate() {
            assert_eq!(told.value(index), read.value(index), "{}", column.type_name());
        }
        told.document(&layout, None).unwrap();
    }
}

/// Settings that are left as they are, and why.
const SKIPPED: &[(&str, &str)] = &[
    ("session_replication_role", "no trigger fires, as the limits say"),
    ("default_transaction_read_only", "nothing can be written"),
    ("transaction_read_only", "nothing can be written"),
    ("role", "another may not write"),
    ("session_authorization", "another may not write"),
    ("max_stack_depth", "the statement itself needs more"),
    ("temp_file_limit", "the statement itself may need more, as the limits say"),
    ("zero_damaged_pages", "it may lose data of others"),
    ("dynamic_library_path", "PL/pgSQL itself is not found, from 18 on; only superusers set it"),
];

/// What texts are set to, besides nothing and a word.
const TEXTS: &[(&str, &[&str])] = &[
    ("DateStyle", &["SQL, DMY", "German, YMD", "Postgres, MDY"]),
    ("TimeZone", &["Asia/Kathmandu", "America/St_Johns"]),
    ("timezone_abbreviations", &["India"]),
    ("lc_monetary", &["de_DE.UTF-8"]),
    ("lc_numeric", &["de_DE.UTF-8"]),
    ("lc_time", &["de_DE.UTF-8"]),
    ("lc_messages", &["de_DE.UTF-8"]),
    ("client_encoding", &["LATIN1", "SQL_ASCII", "EUC_JP"]),
    ("search_path", &["s", "s, public", "pg_temp, s, pg_catalog", "public, pg_catalog"]),
    ("plpgsql.extra_errors", &["all"]),
    ("plpgsql.extra_warnings", &["all"]),
    ("wal_consistency_checking", &["all"]),
    ("default_text_search_config", &["pg_catalog.german"]),
    ("debug_io_direct", &["data"]),
    ("restrict_nonsystem_relation_kind", &["view, foreign-table"]),
];

/// Those that every machine takes.
const MUST_BE_TRIED: &[&str] =
    &["DateStyle", "TimeZone", "lc_monetary", "search_path", "plpgsql.extra_errors"];

/// The settings that a session may change, each with other values than it has.
async fn alternatives(client: &Client) -> Vec<(String, String)> {
    // Its settings are known once it has run.
    run(client, "DO $$ BEGIN END $$").await;
    let settings =
        "SELECT name, setting, vartype, COALESCE(enumvals, '{}'), min_val, max_val FROM pg_settings
        WHERE context IN ('user', 'superuser') ORDER BY name";
    let mut found = Vec::new();
    for row in client.query(settings, &[]).await.unwrap() {
        let [name, setting, kind] = [0, 1, 2].map(|column| row.get::<_, String>(column));
        if SKIPPED.iter().any(|(skipped, _)| *skipped == name) {
            continue;
        }
        let texts =
            TEXTS.iter().find(|(text, _)| *text == name).map_or(&[][..], |(_, values)| values);
        let values: Vec<String> = match kind.as_str() {
            "bool" => ["on", "off"].map(str::to_owned).into(),
            "enum" => row.get(3),
            "string" => ["", "ddp"].iter().chain(texts).map(|text| (*text).to_owned()).collect(),
            _ => [4, 5].map(|column| row.get(column)).into_iter().chain(["0".to_owned()]).collect(),
        };
        let others = values.into_iter().filter(|value| *value != setting);
        found.extend(others.map(|value| (name.clone(), value)));
    }
    found
}

/// Each setting alone, with extreme and other values: one row, and then all of them.
#[tokio::test]
async fn no_setting_changes_what_a_trigger_tells() {
    let mut database = Database::new().await;
    let types = Types::find(&database).await;
    let layout = types.publish(&mut database).await;
    let mut listener = database.listen(&[&layout]).await;
    let writer = connect(&database.name, "-c lc_monetary=de_DE.UTF-8").await;
    let few = types.rows().min(12);
    for row in 0..few {
        types.insert(&writer, row).await;
    }
    listener.batches().await;
    let selected = database.rows(&layout).await;
    let mut tried = std::collections::HashSet::new();
    for (name, value) in alternatives(&database.connect().await).await {
        let writer = connect(&database.name, "").await;
        let set = format!("SET {name} = '{value}'");
        if writer.batch_execute(&set).await.is_err() {
            // Not everything goes with everything, or on every machine.
            continue;
        }
        let one =
            writer.batch_execute("UPDATE public.v SET id = id WHERE id OPERATOR(pg_catalog.=) 3");
        one.await.unwrap_or_else(|error| panic!("{set}: {error:?}"));
        run(&writer, "UPDATE public.v SET id = id").await;
        let batches = listener.batches().await;
        let told: Vec<usize> = batches.iter().map(|batch| batch.changes().len()).collect();
        assert_eq!(told, [1, few], "{set}");
        for change in batches.iter().flat_map(|batch| batch.changes()) {
            let row = change.row.as_ref().unwrap();
            if selected.iter().any(|read| read == row.text()) {
                continue;
            }
            let is_same = |read: &&Row| read.value(0) == row.value(0);
            let read: Vec<_> =
                selected.iter().map(|read| Row::parse(&layout, read).unwrap()).collect();
            let read = read.iter().find(is_same).unwrap();
            for (index, column) in layout.columns().iter().enumerate() {
                assert_eq!(row.value(index), read.value(index), "{set}: {}", column.type_name());
            }
        }
        tried.insert((name, value));
    }
    assert!(tried.len() > 250, "{tried:?}");
    for (name, values) in TEXTS.iter().filter(|(name, _)| MUST_BE_TRIED.contains(name)) {
        for value in *values {
            assert!(tried.contains(&((*name).to_owned(), (*value).to_owned())), "{name} = {value}");
        }
    }
}
