//! Tables of random types and rows.

use std::sync::Arc;

use ddp_postgres::testing::schema::{self, Layout, SESSION_OPTIONS};
use ddp_tests::Dice;
use tokio_postgres::{Client, NoTls};

use super::kinds::{self, Kind};

pub(crate) struct Table {
    pub(crate) client: Client,
    pub(crate) name: String,
    pub(crate) layout: Arc<Layout>,
    /// The kinds of the columns `c0`, `c1`, …
    pub(crate) kinds: Vec<Kind>,
}

pub(crate) async fn connect(url: &str) -> Client {
    let mut config: tokio_postgres::Config = url.parse().unwrap();
    config.options(SESSION_OPTIONS);
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

impl Table {
    pub(crate) async fn create(
        client: Client,
        name: &str,
        kinds: Vec<Kind>,
        rows: usize,
        dice: &mut Dice,
    ) -> Self {
        let columns: String =
            kinds.iter().enumerate().map(|(at, kind)| format!(", c{at} {}", kind.sql)).collect();
        let mut sql = format!("CREATE TABLE {name} (id integer PRIMARY KEY{columns});\n");
        for id in 0..rows {
            let values: String = kinds
                .iter()
                .map(|kind| match dice.one_in(7) {
                    true => ", NULL".to_owned(),
                    false => format!(", {}", quoted(&kind.values.literal(dice))),
                })
                .collect();
            sql.push_str(&format!("INSERT INTO {name} VALUES ({id}{values});\n"));
        }
        let created = client.batch_execute(&sql).await;
        created.unwrap_or_else(|error| panic!("{error:?} in {sql}"));
        let published = kinds::published(name, &kinds);
        let layout = schema::describe(&client, &published).await.unwrap();
        Self { client, name: name.to_owned(), layout: Arc::new(layout), kinds }
    }

    pub(crate) async fn drop(self) -> Client {
        self.client.batch_execute(&format!("DROP TABLE {}", self.name)).await.unwrap();
        self.client
    }

    /// The kind of a column, given a name that may have a path.
    pub(crate) fn kind(&self, field: &str) -> Option<&Kind> {
        let column = field.split('.').next()?.strip_prefix('c')?;
        self.kinds.get(column.parse::<usize>().ok()?)
    }
}
