//! Tables made by others: keys of several columns, partitions, inheritance.

mod support;

use ddp_postgres::Table;
use ddp_postgres::testing::schema::Layout;
use support::{Database, Listener};

async fn published(sql: &str, table: Table) -> (Database, Layout, Listener) {
    let mut database = Database::new().await;
    database.run(sql).await;
    let layout = database.publish(&table).await;
    let listener = database.listen(&[&layout]).await;
    (database, layout, listener)
}

/// Notices what has become of the table.
async fn look_again((database, layout, listener): &mut (Database, Layout, Listener)) {
    *layout = database.publish(&Table::new("tasks").all_columns()).await;
    listener.know(layout);
}

/// Runs each statement, which must send this.
async fn tells(
    (database, layout, listener): &mut (Database, Layout, Listener),
    statements: &[(&str, &str)],
) {
    for (sql, expected) in statements {
        database.run(sql).await;
        assert_eq!(listener.net(layout).await, *expected, "{sql}");
    }
}

async fn keys_of_several_columns() {
    let setup = "CREATE TABLE tasks (title text, name text, list int, PRIMARY KEY (list, name))";
    let mut all = published(setup, Table::new("tasks").columns(["title"])).await;
    let statements = [
        (
            "INSERT INTO tasks VALUES ('x', 'a', 1), ('y', 'b\",\"', 1)",
            r#"[1,"a"]="x","a",1 [1,"b\",\""]="y","b\",\"",1"#,
        ),
        ("UPDATE tasks SET title = 'z' WHERE name = 'a'", r#"[1,"a"]="z","a",1"#),
        ("UPDATE tasks SET list = 2 WHERE name = 'a'", r#"[1,"a"]=gone [2,"a"]="z","a",2"#),
        (
            "UPDATE tasks SET name = 'c', list = 3",
            r#"[1,"b\",\""]=gone [2,"a"]=gone [3,"c"]="z","c",3"#,
        ),
        ("DELETE FROM tasks", r#"[3,"c"]=gone"#),
    ];
    // Two rows cannot both end up with the last key.
    let (first, last) = (&statements[..3], &statements[4..]);
    tells(&mut all, first).await;
    all.0.run("DELETE FROM tasks WHERE list = 1").await;
    assert_eq!(all.2.net(&all.1).await, r#"[1,"b\",\""]=gone"#);
    all.0.run(statements[3].0).await;
    assert_eq!(all.2.net(&all.1).await, r#"[2,"a"]=gone [3,"c"]="z","c",3"#);
    tells(&mut all, last).await;
}

async fn different_keys_of_several_columns_are_different_ids() {
    let setup = "CREATE TABLE tasks (a text, b text, c numeric, d timestamptz, e bytea, f bool,
        PRIMARY KEY (a, b, c, d, e, f))";
    let (database, layout, mut listener) =
        published(setup, Table::new("tasks").all_columns()).await;
    database
        .run(
            r#"INSERT INTO tasks SELECT a, b, c, d, e, f FROM
            unnest(ARRAY['', '"', '","', 'a', '\', E'\n', '[1]']) a,
            unnest(ARRAY['', '"', '","', 'a', '\', E'\n', ',']) b, unnest(ARRAY[1, 1.5]) c,
            unnest(ARRAY['infinity', '2024-01-01 12:00+02']::timestamptz[]) d,
            unnest(ARRAY['', '\x00']::bytea[]) e, unnest(ARRAY[true, false]) f"#,
        )
        .await;
    let batches = listener.batches().await;
    let ids: std::collections::HashSet<_> = batches[0].changes().iter().map(|c| &c.id).collect();
    assert_eq!(ids.len(), 7 * 7 * 16);
    // A deleted row's key reads the same in any session.
    database.run("SET timezone = 'Asia/Tokyo'; SET datestyle = 'German'; DELETE FROM tasks").await;
    let gone = listener.batches().await;
    assert!(
        gone[0].changes().iter().all(|change| change.row.is_none() && ids.contains(&change.id))
    );
    assert_eq!(gone[0].changes().len(), ids.len());
    assert_eq!(layout.key().len(), 6);
}

async fn partitions_of_all_levels() {
    let setup = "CREATE TABLE tasks (id int PRIMARY KEY, title text) PARTITION BY RANGE (id);
        CREATE TABLE low PARTITION OF tasks FOR VALUES FROM (0) TO (10);
        CREATE TABLE high PARTITION OF tasks FOR VALUES FROM (10) TO (100) PARTITION BY RANGE (id);
        CREATE TABLE \"high A\" (title text, id int NOT NULL);
        ALTER TABLE high ATTACH PARTITION \"high A\" FOR VALUES FROM (10) TO (50);
        CREATE TABLE high_b PARTITION OF high FOR VALUES FROM (50) TO (100)";
    let mut all = published(setup, Table::new("tasks").all_columns()).await;
    tells(
        &mut all,
        &[
            ("INSERT INTO tasks VALUES (1, 'a'), (11, 'b')", r#"~1="a" ~11="b""#),
            ("UPDATE tasks SET id = id + 9", "read ~1 ~10 ~11 ~20"),
            ("UPDATE tasks SET title = 'c' WHERE id = 20", r#"~20="c""#),
            ("INSERT INTO low VALUES (2, 'd')", r#"~2="d""#),
            ("INSERT INTO \"high A\" VALUES ('e', 12)", r#"~12="e""#),
            ("COPY high FROM PROGRAM 'echo 60,f' WITH (FORMAT csv)", r#"~60="f""#),
            ("UPDATE high SET id = id + 40 WHERE id = 12", r#"~12=gone ~52="e""#),
            ("UPDATE \"high A\" SET id = id + 1 WHERE id = 20", r#"~20=gone ~21="c""#),
            ("DELETE FROM high_b", "~52=gone ~60=gone"),
            ("TRUNCATE low", "requery"),
            ("TRUNCATE tasks", "requery"),
        ],
    )
    .await;
    let partition =
        ddp_postgres::testing::schema::describe(&all.0.client, &Table::new("low").all_columns())
            .await;
    assert!(partition.unwrap_err().to_string().contains("is a partition"));
}

async fn rows_that_a_partition_refuses_are_gone() {
    let setup = "CREATE TABLE tasks (id int PRIMARY KEY, title text) PARTITION BY RANGE (id);
        CREATE TABLE low PARTITION OF tasks FOR VALUES FROM (0) TO (10);
        CREATE TABLE high PARTITION OF tasks FOR VALUES FROM (10) TO (100);
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON high FOR EACH ROW EXECUTE FUNCTION refuse();
        INSERT INTO tasks VALUES (1, 'a'), (2, 'b'), (3, 'c')";
    let mut all = published(setup, Table::new("tasks").all_columns()).await;
    tells(
        &mut all,
        &[
            // No new row is left to show what became of the old one.
            ("UPDATE tasks SET id = 11 WHERE id = 1", "requery"),
            ("UPDATE tasks SET id = id + (id - 2) * 10, title = 'd'", r#"~2="d" ~3=gone"#),
        ],
    )
    .await;
    all.0.run("UPDATE tasks SET id = 11 WHERE id > 99").await;
    assert_eq!(all.2.batches().await, [], "nothing was touched");
    let left = all.0.client.query_one("SELECT array_agg(id) FROM tasks", &[]).await.unwrap();
    assert_eq!(left.get::<_, Vec<i32>>(0), [2]);
}

async fn a_partition_attached_later_is_covered_and_one_detached_is_not() {
    let setup = "CREATE TABLE tasks (id int PRIMARY KEY, title text) PARTITION BY RANGE (id);
        CREATE TABLE low PARTITION OF tasks FOR VALUES FROM (0) TO (10)";
    let mut all = published(setup, Table::new("tasks").all_columns()).await;
    all.0.run("CREATE TABLE high PARTITION OF tasks FOR VALUES FROM (10) TO (100)").await;
    // Whoever does not know the partition cannot tell how long it was there.
    tells(&mut all, &[("INSERT INTO tasks VALUES (11, 'e')", "requery")]).await;
    look_again(&mut all).await;
    tells(&mut all, &[("INSERT INTO high VALUES (12, 'e')", r#"~12="e""#)]).await;
    // Nobody has noticed yet.
    all.0.run("ALTER TABLE tasks DETACH PARTITION low").await;
    tells(&mut all, &[("INSERT INTO low VALUES (1, 'a')", "requery")]).await;
    look_again(&mut all).await;
    all.0.run("INSERT INTO low VALUES (2, 'a')").await;
    assert_eq!(all.2.batches().await.len(), 0);
}

async fn rows_of_children_are_rows_of_the_table() {
    let setup = "CREATE TABLE tasks (id int PRIMARY KEY, title text);
        CREATE TABLE urgent (due date, PRIMARY KEY (id)) INHERITS (tasks);
        CREATE TABLE very_urgent (PRIMARY KEY (id)) INHERITS (urgent)";
    let mut all = published(setup, Table::new("tasks").all_columns()).await;
    tells(
        &mut all,
        &[
            ("INSERT INTO tasks VALUES (1, 'a')", r#"~1="a""#),
            ("INSERT INTO urgent VALUES (2, 'b', 'today')", r#"~2="b""#),
            ("INSERT INTO very_urgent VALUES (3, 'c')", r#"~3="c""#),
            ("UPDATE tasks SET id = id + 10", "read ~1 ~11 ~12 ~13 ~2 ~3"),
            ("UPDATE urgent SET id = id + 10", "read ~12 ~13 ~22 ~23"),
            ("DELETE FROM ONLY urgent", "~22=gone"),
            ("TRUNCATE ONLY tasks", "requery"),
            ("TRUNCATE very_urgent", "requery"),
        ],
    )
    .await;
    all.0.run("CREATE TABLE late (PRIMARY KEY (id)) INHERITS (tasks)").await;
    look_again(&mut all).await;
    tells(&mut all, &[("INSERT INTO late VALUES (5, 'e')", r#"~5="e""#)]).await;
}

async fn changes_made_through_a_parent_are_told() {
    let setup = "CREATE TABLE tasks (id int PRIMARY KEY, title text);
        CREATE TABLE urgent (PRIMARY KEY (id)) INHERITS (tasks);
        INSERT INTO tasks VALUES (1, 'a')";
    let mut all = published(setup, Table::new("urgent").all_columns()).await;
    tells(
        &mut all,
        &[
            ("INSERT INTO tasks VALUES (2, 'b'); INSERT INTO urgent VALUES (3, 'c')", r#"~3="c""#),
            ("UPDATE urgent SET id = 4", r#"~3=gone ~4="c""#),
            ("UPDATE tasks SET title = 'd' WHERE false; UPDATE tasks SET title = 'd'", "requery"),
            ("DELETE FROM tasks", "requery"),
            ("TRUNCATE tasks", "truncated"),
        ],
    )
    .await;
}

async fn a_table_that_was_renamed_is_not_taken_for_its_successor() {
    let setup = "CREATE TABLE tasks (id int PRIMARY KEY, title text);
        CREATE TABLE next (id int PRIMARY KEY, title text)";
    let mut all = published(setup, Table::new("tasks").all_columns()).await;
    all.0.run("ALTER TABLE tasks RENAME TO old; ALTER TABLE next RENAME TO tasks").await;
    tells(&mut all, &[("INSERT INTO old VALUES (1, 'a')", "requery")]).await;
    all.0.publish(&Table::new("tasks").all_columns()).await;
    all.0.run("INSERT INTO old VALUES (2, 'a')").await;
    tells(&mut all, &[("INSERT INTO tasks VALUES (3, 'b')", r#"~3="b""#)]).await;
}

async fn generated_columns_upserts_and_cascades() {
    let setup = "CREATE TABLE lists (id int PRIMARY KEY, name text);
        CREATE TABLE tasks (id int PRIMARY KEY, title text,
            loud text GENERATED ALWAYS AS (upper(title)) STORED,
            list int REFERENCES lists ON DELETE CASCADE,
            other int REFERENCES lists ON DELETE SET NULL);
        INSERT INTO lists VALUES (1), (2), (3)";
    let mut all = published(setup, Table::new("tasks").all_columns()).await;
    tells(
        &mut all,
        &[
            (
                "INSERT INTO tasks (id, title, list, other) VALUES (1, 'a', 1, 2), (2, 'b', 2, 3)",
                r#"~1="a","A",1,2 ~2="b","B",2,3"#,
            ),
            (
                "INSERT INTO tasks (id, title) VALUES (1, 'x'), (3, 'y') ON CONFLICT DO NOTHING",
                r#"~3="y","Y",null,null"#,
            ),
            (
                "INSERT INTO tasks (id, title) VALUES (1, 'x'), (4, 'z')
                ON CONFLICT (id) DO UPDATE SET title = excluded.title",
                r#"~1="x","X",1,2 ~4="z","Z",null,null"#,
            ),
            ("DELETE FROM lists WHERE id = 3", r#"~2="b","B",2,null"#),
            ("DELETE FROM lists WHERE id = 1", "~1=gone"),
            ("TRUNCATE lists CASCADE", "truncated"),
            ("TRUNCATE tasks RESTART IDENTITY", "truncated"),
        ],
    )
    .await;
}

over_both_feeds!(
    keys_of_several_columns,
    different_keys_of_several_columns_are_different_ids,
    partitions_of_all_levels,
    rows_that_a_partition_refuses_are_gone,
    a_partition_attached_later_is_covered_and_one_detached_is_not,
    rows_of_children_are_rows_of_the_table,
    changes_made_through_a_parent_are_told,
    a_table_that_was_renamed_is_not_taken_for_its_successor,
    generated_columns_upserts_and_cascades,
);
