//! Clients that subscribe, unsubscribe, log in as others, write, lag and come back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ddp_tests::client::Documents;
use ddp_tests::{Client, Dice};
use serde_json::json;

use super::Run;
use super::publications::{PUBLICATIONS, expected};

pub(crate) struct Subscriber {
    client: Client,
    subscriptions: Vec<(usize, String)>,
    user: Option<&'static str>,
    /// The list that only this client writes.
    own_list: String,
    /// The ranks of its rows, as it last wrote them; `None` if it cannot know.
    own: BTreeMap<String, Option<i64>>,
    writes: usize,
}

impl Subscriber {
    async fn join(servers: &[SocketAddr], number: usize, dice: &mut Dice) -> Self {
        let mut client = Client::connect(*dice.pick(servers)).await;
        client.revisions_rise = true;
        let mut subscriber = Self {
            client,
            subscriptions: Vec::new(),
            user: None,
            own_list: format!("own {number}"),
            own: BTreeMap::new(),
            writes: 0,
        };
        let own_list = json!([subscriber.own_list]);
        subscriber.client.subscribe("tasks.byList", own_list).await;
        for _ in 0..=dice.below(3) {
            subscriber.subscribe(dice).await;
        }
        subscriber
    }

    async fn subscribe(&mut self, dice: &mut Dice) {
        let index = dice.below(PUBLICATIONS.len());
        let publication = &PUBLICATIONS[index];
        self.client.revisions_rise &= !publication.is_opaque;
        let params = serde_json::from_str(publication.params).expect("JSON");
        let id = self.client.send_sub(publication.name, params).await;
        self.subscriptions.push((index, id));
    }

    /// Writes its own row, and sees it when `updated` has come.
    async fn put(&mut self, dice: &mut Dice) {
        let id = format!("{}/{}", self.own_list, dice.below(3));
        let rank = 100 + i64::try_from(dice.below(1_000_000)).expect("a small number");
        let result = self.client.call("put", json!([id, self.own_list, rank])).await;
        if result.get("error").is_some() {
            // With faults, it may have been committed or not.
            self.own.insert(id, None);
            return;
        }
        let documents = self.client.documents("tasks");
        let seen = documents.get(&id).and_then(|document| document["rank"].as_i64());
        assert_eq!(seen, Some(rank), "{id} when `updated` has come");
        self.own.insert(id, Some(rank));
        self.writes += 1;
    }

    /// Compares with the result of SQL, at rest. Returns how many documents there are.
    pub(crate) async fn compare(&mut self, sql: &tokio_postgres::Client) -> usize {
        assert_eq!(self.client.call("barrier", json!([])).await.get("error"), None);
        for (index, id) in &self.subscriptions {
            // No fault is a reason to end one, or to refuse it.
            let refused = self.client.nosub.get(id);
            assert_eq!(refused, None, "{}", PUBLICATIONS[*index].name);
        }
        let indexes: Vec<usize> = self.subscriptions.iter().map(|(index, _)| *index).collect();
        let mut seen: BTreeMap<String, Documents> =
            self.client.collections.clone().into_iter().collect();
        seen.retain(|_, documents| !documents.is_empty());
        let expected = expected(sql, &indexes, self.user, &self.own_list).await;
        let names: Vec<_> = indexes
            .iter()
            .map(|index| (PUBLICATIONS[*index].name, PUBLICATIONS[*index].params))
            .collect();
        assert_eq!(seen, expected, "publications {names:?}");
        for (id, rank) in &self.own {
            if let Some(rank) = rank {
                assert_eq!(seen["tasks"][id]["rank"], *rank, "{id} at rest");
            }
        }
        seen.values().map(BTreeMap::len).sum()
    }
}

/// Lives through the run.
pub(crate) async fn subscribe(
    servers: Arc<[SocketAddr]>,
    number: usize,
    mut dice: Dice,
    run: Arc<Run>,
) -> Subscriber {
    let mut subscriber = Subscriber::join(&servers, number, &mut dice).await;
    while !run.is_over() {
        subscriber.client.read_for(Duration::from_millis(dice.below(300) as u64)).await;
        match dice.below(9) {
            0 => {
                let own = std::mem::take(&mut subscriber.own);
                run.count_many(&run.messages, subscriber.client.messages);
                run.count_many(&run.puts, subscriber.writes);
                let next = Subscriber::join(&servers, number, &mut dice).await;
                std::mem::replace(&mut subscriber, next).client.close().await;
                subscriber.own = own;
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
            4 | 5 => subscriber.put(&mut dice).await,
            6 if dice.one_in(6) => {
                // A client at 1 KB/s.
                let seconds = 1 + dice.below(4) as u64;
                subscriber.client.read_slowly(1024, Duration::from_secs(seconds)).await;
            }
            _ => {}
        }
    }
    run.count_many(&run.messages, subscriber.client.messages);
    run.count_many(&run.puts, subscriber.writes);
    subscriber
}
