//! The publications, each with SQL that says the same.

use std::collections::BTreeMap;

use ddp_tests::client::Documents;
use serde_json::{Map, Value};

pub(crate) struct Publication {
    pub(crate) name: &'static str,
    pub(crate) params: &'static str,
    /// What follows `FROM tasks WHERE`; `$user` stands for the user's id.
    condition: &'static str,
    fields: Fields,
    /// Whether the lists are published as well.
    lists: bool,
    /// Whether the notes are.
    notes: bool,
    /// Whether the parts are.
    parts: bool,
    /// Whether the server must ask the database about some changes. Meanwhile, a document may be
    /// older here than in another publication.
    pub(crate) is_opaque: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Fields {
    All,
    Text,
    TextAndTime,
}

const fn tasks(name: &'static str, params: &'static str, condition: &'static str) -> Publication {
    Publication {
        name,
        params,
        condition,
        fields: Fields::All,
        lists: false,
        notes: false,
        parts: false,
        is_opaque: false,
    }
}

pub(crate) const PUBLICATIONS: [Publication; 19] = [
    tasks("tasks", "[]", "true"),
    tasks("tasks.byList", r#"["a"]"#, "list_id = 'a'"),
    tasks("tasks.byList", r#"["b"]"#, "list_id = 'b'"),
    tasks("tasks.byList", r#"["none"]"#, "list_id = 'none'"),
    tasks("tasks.open", "[3]", "NOT checked AND rank >= 3 AND text IS NOT NULL"),
    tasks("tasks.ranks", "[[1,4]]", "(rank IN (1, 4) OR text IS NULL) AND list_id <> 'b'"),
    Publication { fields: Fields::Text, ..tasks("tasks.titles", "[]", "true") },
    Publication {
        is_opaque: true,
        ..tasks("tasks.between", r#"["C","m"]"#, "text >= 'C' AND text < 'm'")
    },
    tasks("tasks.top", "[3]", "true ORDER BY rank DESC, checked, id COLLATE \"C\" LIMIT 3"),
    tasks("tasks.top", "[40]", "true ORDER BY rank DESC, checked, id COLLATE \"C\" LIMIT 40"),
    Publication {
        fields: Fields::TextAndTime,
        ..tasks(
            "tasks.oldest",
            r#"["a",2,5]"#,
            "list_id = 'a' ORDER BY created_at, id COLLATE \"C\" LIMIT 5 OFFSET 2",
        )
    },
    Publication {
        fields: Fields::TextAndTime,
        ..tasks(
            "tasks.oldest",
            r#"["c",0,1]"#,
            "list_id = 'c' ORDER BY created_at, id COLLATE \"C\" LIMIT 1",
        )
    },
    Publication {
        is_opaque: true,
        ..tasks("tasks.alphabet", "[7]", "true ORDER BY text NULLS FIRST, id COLLATE \"C\" LIMIT 7")
    },
    Publication { lists: true, ..tasks("lists", "[]", "false") },
    Publication { lists: true, ..tasks("both", "[]", "true") },
    Publication { notes: true, ..tasks("notes", "[]", "false") },
    Publication { parts: true, ..tasks("parts", "[]", "false") },
    tasks("tasks.mine", "[]", "list_id = $user"),
    tasks("tasks.byList", r#"["c"]"#, "list_id = 'c'"),
];

/// What a client with these subscriptions must have, and with the list that only it writes.
pub(crate) async fn expected(
    sql: &tokio_postgres::Client,
    subscriptions: &[usize],
    user: Option<&str>,
    own_list: &str,
) -> BTreeMap<String, Documents> {
    let mut collections: BTreeMap<String, Documents> = BTreeMap::new();
    let user = user.map_or("NULL".to_owned(), |user| format!("'{user}'"));
    let own = format!("list_id = '{own_list}'");
    let published = subscriptions.iter().map(|index| &PUBLICATIONS[*index]);
    let conditions =
        published.clone().map(|one| (one.condition.replace("$user", &user), one.fields));
    for (condition, fields) in conditions.chain([(own, Fields::All)]) {
        let time = "'createdAt', json_build_object('$date', \
                    floor(extract(epoch FROM created_at) * 1000)::bigint)";
        let object = match fields {
            Fields::Text => "'text', text".to_owned(),
            Fields::TextAndTime => format!("'text', text, {time}"),
            Fields::All => format!(
                "'listId', list_id, 'text', text, 'checked', checked, 'rank', rank, \
                 'up', up, 'revision', revision, 'weight', weight, 'span', span, 'price', price, \
                 'bytes', CASE WHEN bytes IS NOT NULL THEN \
                     json_build_object('$binary', replace(encode(bytes, 'base64'), chr(10), '')) END, \
                 'object', (SELECT identity FROM \
                     pg_identify_object('pg_class'::regclass, object::oid, 0)), {time}"
            ),
        };
        let select =
            format!("SELECT id, json_build_object({object})::text FROM tasks WHERE {condition}");
        for row in sql.query(&select, &[]).await.unwrap() {
            let fields: Map<String, Value> = serde_json::from_str(row.get(1)).unwrap();
            let documents = collections.entry("tasks".to_owned()).or_default();
            documents.entry(row.get(0)).or_default().extend(fields);
        }
    }
    let lists = "SELECT '~' || id, json_build_object('title', title)::text FROM lists";
    let notes = "SELECT '~' || id, \
        json_build_object('text', text, 'mood', mood, 'place', place)::text FROM notes";
    let parts = "SELECT concat('[', a, ',', b, ']'), \
        json_build_object('a', a, 'b', b, 'text', text)::text FROM parts";
    for (name, select, is_published) in [
        ("lists", lists, published.clone().any(|one| one.lists)),
        ("notes", notes, published.clone().any(|one| one.notes)),
        ("parts", parts, published.clone().any(|one| one.parts)),
    ] {
        if !is_published {
            continue;
        }
        for row in sql.query(select, &[]).await.unwrap() {
            let fields: Map<String, Value> = serde_json::from_str(row.get(1)).unwrap();
            collections.entry(name.to_owned()).or_default().insert(row.get(0), fields);
        }
    }
    collections
}
