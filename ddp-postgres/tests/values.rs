//! Every mapping of a PostgreSQL type, in a query and in a trigger.

mod support;

use ddp_postgres::Table;
use ddp_postgres::testing::schema;
use ddp_postgres::testing::value::{self, ValueKind};
use support::{Database, ODD_SETTINGS, TYPES, connect, run};

/// A column's type, and constants of it with the EJSON that they become.
type Case = (&'static str, &'static [(&'static str, &'static str)]);

const CASES: &[Case] = &[
    ("bool", &[("true", "true"), ("false", "false")]),
    ("int2", &[("-32768", "-32768")]),
    ("int4", &[("2147483647", "2147483647")]),
    (
        "int8",
        &[
            ("9007199254740991", "9007199254740991"),
            ("-9007199254740992", r#""-9007199254740992""#),
            ("9223372036854775807", r#""9223372036854775807""#),
        ],
    ),
    ("float4", &[("0.1", "0.1"), ("16777216", "16777216"), ("'NaN'", r#"{"$InfNaN":0}"#)]),
    (
        "float8",
        &[
            ("0.1::float8 + 0.2::float8", "0.30000000000000004"),
            ("1e21", "1e+21"),
            ("123456789012345680000", "123456789012345680000"),
            ("5e-324", "5e-324"),
            ("'Infinity'", r#"{"$InfNaN":1}"#),
            ("'-Infinity'", r#"{"$InfNaN":-1}"#),
            ("'-0'", "0"),
        ],
    ),
    (
        "numeric",
        &[
            ("1.50", "1.5"),
            ("0.000", "0"),
            ("123456789012345", "123456789012345"),
            ("1234567890.123456", r#""1234567890.123456""#),
            ("1e-30", "1e-30"),
            ("'NaN'", r#"{"$InfNaN":0}"#),
            ("'-Infinity'", r#"{"$InfNaN":-1}"#),
        ],
    ),
    ("numeric(10,2)", &[("19.90", "19.9"), ("-5", "-5")]),
    (
        "text",
        &[
            ("''", r#""""#),
            ("E'a\\n\\t\\x01\\\\\\u2028é𝄞\"\"$'", "\"a\\n\\t\\u0001\\\\\u{2028}é𝄞\\\"\\\"$\""),
        ],
    ),
    ("varchar(9)", &[("'x'", r#""x""#)]),
    ("char(3)", &[("'x'", r#""x  ""#)]),
    ("name", &[("'x'", r#""x""#)]),
    (
        "uuid",
        &[("'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", r#""a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11""#)],
    ),
    ("mood", &[("'so so'", r#""so so""#)]),
    ("inet", &[("'10.0.0.1/8'", r#""10.0.0.1/8""#)]),
    ("int4range", &[("'[1,5]'", r#""[1,6)""#)]),
    (
        "tstzrange",
        &[(
            "'[2024-01-01 00:00+00,2024-01-02 00:00+00)'",
            r#""[\"2024-01-01 00:00:00+00\",\"2024-01-02 00:00:00+00\")""#,
        )],
    ),
    ("daterange", &[("'[2024-01-01,2024-02-03)'", r#""[2024-01-01,2024-02-03)""#)]),
    (
        "json",
        &[
            (
                r#"'{"b": 1,  "a": [1.00, {"$date": 5}]}'"#,
                r#"{"b":1,"a":[1,{"$escape":{"$date":5}}]}"#,
            ),
            ("'null'", "null"),
        ],
    ),
    (
        "jsonb",
        &[
            (r#"'{"b": 1, "a": 1.00}'"#, r#"{"a": 1.00, "b": 1}"#),
            (r#"'{"$binary": "aa"}'"#, r#"{"$escape":{"$binary":"aa"}}"#),
            ("'[]'", "[]"),
        ],
    ),
    (
        "bytea",
        &[
            (r"'\x'", r#"{"$binary":""}"#),
            (r"'\x00ff10'", r#"{"$binary":"AP8Q"}"#),
            (
                "decode(repeat('00', 60), 'hex')",
                r#"{"$binary":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#,
            ),
        ],
    ),
    ("date", &[("'2024-02-29'", r#""2024-02-29""#), ("'0044-03-15 BC'", r#""0044-03-15 BC""#)]),
    ("time", &[("'13:30:00.5'", r#""13:30:00.5""#)]),
    ("timetz", &[("'13:30:00+05:45'", r#""13:30:00+05:45""#)]),
    (
        "timestamp",
        &[
            ("'2024-02-29 12:30:00.123999'", r#"{"$date":1709209800123}"#),
            ("'1969-12-31 23:59:59.9999'", r#"{"$date":-1}"#),
            ("'infinity'", r#"{"$InfNaN":1}"#),
            ("'0044-03-15 BC'", r#"{"$date":-63517824000000}"#),
            ("'294276-12-31 23:59:59.999999'", r#""294276-12-31T23:59:59.999999""#),
        ],
    ),
    (
        "timestamptz",
        &[
            ("'2024-02-29 12:30:00.123999+00'", r#"{"$date":1709209800123}"#),
            ("'1900-01-01 00:00:00+00'", r#"{"$date":-2208988800000}"#),
            ("'-infinity'", r#"{"$InfNaN":-1}"#),
            ("'4713-01-01 00:00:00+00 BC'", r#"{"$date":-210863520000000}"#),
            ("'294276-12-31 00:00:00+00'", r#""294276-12-31T00:00:00""#),
        ],
    ),
    (
        "interval",
        &[("'1 year 2 days 03:04:05.6'", r#""P1Y2DT3H4M5.6S""#), ("'-1 hour'", r#""PT-1H""#)],
    ),
    (
        "int4[]",
        &[("'{}'", "[]"), ("'{1,NULL,3}'", "[1,null,3]"), ("'{{1,2},{3,4}}'", "[[1,2],[3,4]]")],
    ),
    ("text[]", &[(r#"'{"a\"b","{x}"}'"#, r#"["a\"b","{x}"]"#)]),
    ("numeric[]", &[("'{1.50,NaN}'", r#"[1.5,{"$InfNaN":0}]"#)]),
    ("float8[]", &[("ARRAY[0.1::float8 + 0.2::float8]", "[0.30000000000000004]")]),
    (
        "timestamptz[]",
        &[("ARRAY['2024-02-29 12:30:00+00'::timestamptz]", r#"[{"$date":1709209800000}]"#)],
    ),
    ("bytea[]", &[(r#"ARRAY['\x00ff'::bytea]"#, r#"[{"$binary":"AP8="}]"#)]),
    ("jsonb[]", &[(r#"ARRAY['{"$date": 5}'::jsonb, '[1]']"#, r#"[{"$escape":{"$date":5}},[1]]"#)]),
    ("mood[]", &[("'{happy}'", r#"["happy"]"#)]),
    ("cents", &[("150", "150")]),
    ("moment", &[("'2024-02-29 12:30:00+00'", r#"{"$date":1709209800000}"#)]),
    ("cents[]", &[("'{1,2}'", "[1,2]")]),
    ("amounts", &[("'{1.50}'", "[1.5]")]),
    (
        "place",
        &[(
            "ROW(1.50, 'x', '2024-02-29 12:30:00+00')",
            r#"{"x":1.50,"label":"x","seen":"2024-02-29T12:30:00+00:00"}"#,
        )],
    ),
    ("money", &[("12.5::numeric", r#""$12.50""#)]),
    ("point", &[("'(0.1,0.30000000000000004)'", r#""(0.1,0.30000000000000004)""#)]),
    ("xml", &[("'<a>b</a>'", r#""<a>b</a>""#)]),
    ("regclass", &[("'s.things'", r#""s.things""#), ("4294967295", r#""4294967295""#)]),
    ("regproc", &[("'s.act'", r#""s.act(integer)""#)]),
    ("regprocedure", &[("'pg_catalog.lower(text)'", r#""pg_catalog.lower(pg_catalog.text)""#)]),
    ("regtype", &[("'s.kind'", r#""s.kind""#), ("'int4'", r#""integer""#)]),
    ("regoperator", &[("'pg_catalog.+(int4,int4)'", r#""pg_catalog.+(integer,integer)""#)]),
    ("regrole", &[("'postgres'", r#""postgres""#)]),
    ("regnamespace", &[("'s'", r#""s""#)]),
    ("regconfig", &[("'pg_catalog.simple'", r#""pg_catalog.simple""#)]),
    ("regclass[]", &[("'{pg_class}'", r#"["1259"]"#)]),
    ("s.kind", &[("'a'", r#""a""#)]),
    ("s.kind[]", &[(r#"'{a,NULL,"b c"}'"#, r#"["a",null,"b c"]"#)]),
    ("kinds", &[("ROW('a', 0.1)", r#""(a,0.1)""#)]),
    ("money[]", &[("ARRAY[12.5::numeric::money]", r#"["$12.50"]"#)]),
    ("tsvector", &[("'b a:2'::tsvector", r#""'a':2 'b'""#)]),
    ("citext", &[("'Ab'", r#""Ab""#)]),
    ("hstore", &[(r#"'a=>1, "b c"=>NULL'"#, r#"{"a": "1", "b c": null}"#)]),
    ("ltree", &[("'a.b'", r#""a.b""#)]),
    ("cube", &[("'(0.1, 0.30000000000000004)'", r#""(0.1, 0.30000000000000004)""#)]),
];

/// The types of the columns are found in the first, the names of objects without their schema in the
/// second.
const PATHS: [&str; 2] = ["SET search_path = public", "SET search_path = public, s"];

/// The constants of one row: a column that has fewer is null.
fn row_sql(row: usize) -> String {
    let value = |(kind, values): &Case| match values.get(row) {
        Some((sql, _)) => format!("({sql})::{kind}"),
        None => "NULL".to_owned(),
    };
    CASES.iter().map(value).collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn both_ways_agree_whatever_the_writer_set() {
    let mut database = Database::new().await;
    database.run(TYPES).await;
    let columns: Vec<String> =
        CASES.iter().enumerate().map(|(i, (kind, _))| format!("c{i} {kind}")).collect();
    database.run(&format!("CREATE TABLE v (id int PRIMARY KEY, {})", columns.join(", "))).await;
    let layout = database.publish(&Table::new("v").all_columns()).await;
    let mut listener = database.listen(&[&layout]).await;
    let rows = CASES.iter().map(|(_, values)| values.len()).max().unwrap() + 1;
    for (settings, path) in ["", ODD_SETTINGS].into_iter().zip(PATHS) {
        let writer = connect(&database.name, "").await;
        run(&writer, settings).await;
        run(&writer, path).await;
        // Whether it is another locale indeed.
        let money = writer.query_one("SELECT 12.5::numeric::money::text", &[]).await.unwrap();
        let is_usual = money.get::<_, &str>(0) == "$12.50";
        assert_eq!(is_usual, settings.is_empty(), "{money:?}");
        for row in 0..rows {
            run(&writer, &format!("INSERT INTO v VALUES ({row}, {})", row_sql(row))).await;
            run(&writer, &format!("UPDATE v SET id = id WHERE id = {row}")).await;
        }
        let selected = database.rows(&layout).await;
        let batches = listener.batches().await;
        assert_eq!(batches.len(), rows * 2);
        for batch in &batches {
            let [change] = batch.changes() else { panic!("{batch:?}") };
            let told = change.row.as_ref().unwrap();
            let row: usize = told.value(0).unwrap().parse().unwrap();
            assert_eq!(told.text(), selected[row]);
            let document = told.document(&layout, None).unwrap();
            for (index, (kind, values)) in CASES.iter().enumerate() {
                let expected = values.get(row).map_or("null", |(_, ejson)| ejson.trim_end());
                assert_eq!(document.get(&format!("c{index}")), Some(expected), "{kind} {settings}");
            }
        }
        run(&writer, "DELETE FROM v").await;
        listener.batches().await;
    }
}

/// PostGIS casts a geometry to json as GeoJSON, which has neither curves nor all digits.
#[tokio::test]
async fn a_geometry_is_text_that_says_all_of_it() {
    let mut database = Database::new().await;
    let is_there = "SELECT count(*) FROM pg_available_extensions WHERE name = 'postgis'";
    let client = database.connect().await;
    if client.query_one(is_there, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        return println!("PostGIS is not installed");
    }
    database.run("CREATE EXTENSION postgis; CREATE TABLE v (id int PRIMARY KEY, g geometry, gs geometry[],
        at geography)").await;
    let layout = database.publish(&Table::new("v").all_columns()).await;
    let mut listener = database.listen(&[&layout]).await;
    for shape in [
        "CIRCULARSTRING(0 0, 1 1, 2 0)",
        "POINT(nan nan)",
        "POINTM(1 2 3)",
        "POINTM(1 2 4)",
        "POINT(1.00000000001 2)",
        "POINT(1.00000000002 2)",
        "POINT EMPTY",
    ] {
        let row = format!("1, '{shape}', ARRAY['{shape}'::geometry], 'POINT(1 2)'");
        database.run("DELETE FROM v").await;
        listener.batches().await;
        database.run(&format!("INSERT INTO v VALUES ({row})")).await;
        let batches = listener.batches().await;
        let told = batches[0].changes()[0].row.as_ref().unwrap();
        assert_eq!([told.text()], *database.rows(&layout).await, "{shape}");
        let text =
            client.query_one("SELECT to_json(g::text)::text, to_json(gs::text)::text FROM v", &[]);
        let text = text.await.unwrap();
        let document = told.document(&layout, None).unwrap();
        assert_eq!(document.get("g"), Some(text.get(0)), "{shape}");
        assert_eq!(
            document.get("gs"),
            Some(text.get(1)),
            "its arrays have another delimiter: {shape}"
        );
    }
    // As the guide says.
    database
        .run(
            "DELETE FROM v; INSERT INTO v (id, g) VALUES (1, 'CIRCULARSTRING(0 0, 1 1, 2 0)');
            ALTER TABLE v ADD COLUMN shape jsonb
                GENERATED ALWAYS AS (ST_AsGeoJSON(ST_CurveToLine(g), 15)::jsonb) STORED",
        )
        .await;
    let shape = client.query_one("SELECT shape->>'type' FROM v", &[]).await.unwrap();
    assert_eq!(shape.get::<_, &str>(0), "LineString");
}

#[tokio::test]
async fn names_within_composites_are_refused() {
    let database = Database::new().await;
    database
        .run("CREATE TYPE named AS (name regclass); CREATE TABLE v (id int PRIMARY KEY, n named[])")
        .await;
    let error = schema::describe(&database.connect().await, &Table::new("v").all_columns())
        .await
        .unwrap_err();
    assert!(
        error.to_string().starts_with("column \"n\" of \"public\".\"v\" contains names"),
        "{error}"
    );
    let table = Table::new("v").columns(Vec::<String>::new());
    schema::describe(&database.connect().await, &table).await.unwrap();
}

#[tokio::test]
async fn options_of_columns() {
    let mut database = Database::new().await;
    database.run("CREATE TABLE v (id int PRIMARY KEY, d date, ds date[], j jsonb, k json)").await;
    let table = Table::new("v").all_columns().date_columns_as_dates().ejson("j");
    let layout = database.publish(&table).await;
    let mut listener = database.listen(&[&layout]).await;
    database
        .run(r#"INSERT INTO v VALUES (1, '2024-02-29', '{infinity}', '{"$date": 5}', '{"$date": 5}')"#)
        .await;
    assert_eq!(
        listener.net(&layout).await,
        r#"~1={"$date":1709164800000},[{"$InfNaN":1}],{"$date": 5},{"$escape":{"$date":5}}"#
    );
}

#[tokio::test]
async fn keys_of_any_type() {
    let mut database = Database::new().await;
    database.run("CREATE TYPE mood AS ENUM ('happy', 'sad')").await;
    for (kind, old, new, ids) in [
        ("int8", "9007199254740993", "2", ["9007199254740993", "~2"]),
        ("numeric", "1.0", "1.00", ["1.0", "1.00"]),
        ("text", "'-a'", "E'\"\\n'", ["--a", "\"\n"]),
        (
            "uuid",
            "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
            "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12'",
            ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12"],
        ),
        ("mood", "'happy'", "'sad'", ["happy", "sad"]),
        ("bytea", r"'\x00'", r"'\xff'", ["AA==", "/w=="]),
        ("bool", "false", "true", ["false", "true"]),
        (
            "timestamptz",
            "'2024-01-01 00:00+00'",
            "'2025-01-01 00:00+00'",
            ["2024-01-01T00:00:00", "2025-01-01T00:00:00"],
        ),
    ] {
        database.run(&format!("CREATE TABLE k (key {kind} PRIMARY KEY, a int)")).await;
        let layout = database.publish(&Table::new("k").all_columns()).await;
        let mut listener = database.listen(&[&layout]).await;
        let odd = connect(&database.name, "").await;
        run(&odd, ODD_SETTINGS).await;
        run(&odd, &format!("INSERT INTO k VALUES ({old}, 1)")).await;
        run(&odd, &format!("UPDATE k SET key = {new}")).await;
        run(&odd, "DELETE FROM k").await;
        let told: Vec<Vec<(String, bool)>> = listener
            .batches()
            .await
            .iter()
            .map(|b| b.changes().iter().map(|c| (c.id.to_string(), c.row.is_some())).collect())
            .collect();
        let [old, new] = ids.map(str::to_owned);
        let expected = [
            vec![(old.clone(), true)],
            vec![(old, false), (new.clone(), true)],
            vec![(new, false)],
        ];
        assert_eq!(told, expected, "{kind}");
        database.run("DROP TABLE k").await;
    }
}

/// Every few years, from the first that PostgreSQL and JavaScript both know to the last.
#[tokio::test]
async fn milliseconds_are_those_of_postgresql() {
    let database = Database::new().await;
    run(&database.client, "SET TimeZone = 'America/St_Johns'").await;
    let sql = "SELECT to_json(t)::text, to_json(t AT TIME ZONE 'UTC')::text,
            floor(extract(epoch FROM t) * 1000)::int8
        FROM (SELECT '4713-01-01 BC'::timestamptz + i * interval '5 years 37 days 5 hours 7.654321 s'
            AS t FROM generate_series(0, 54000) i) s";
    let rows = database.client.query(sql, &[]).await.unwrap();
    for row in rows {
        let expected = format!(r#"{{"$date":{}}}"#, row.get::<_, i64>(2));
        for column in 0..2 {
            let (raw, mut ejson): (String, String) = (row.get(column), String::new());
            value::encode(&ValueKind::Timestamp, &raw, &mut ejson).unwrap();
            assert_eq!(ejson, expected, "{raw}");
        }
    }
}

/// Shortest digits, exponents and signs as PostgreSQL writes them.
#[tokio::test]
async fn doubles_survive() {
    let database = Database::new().await;
    run(&database.client, "SELECT setseed(0.5)").await;
    let sql = "SELECT to_json(f)::text, f FROM (SELECT
        (random() - 0.5) * 10 ^ (random() * 600 - 300)::int AS f FROM generate_series(1, 20000)) s";
    for row in database.client.query(sql, &[]).await.unwrap() {
        let (raw, mut ejson): (String, String) = (row.get(0), String::new());
        value::encode(&ValueKind::Float, &raw, &mut ejson).unwrap();
        assert_eq!(ejson.parse(), Ok(row.get::<_, f64>(1)), "{raw}");
    }
}
