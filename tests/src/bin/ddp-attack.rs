//! Attacks a DDP server on this machine, and says what it costs the server and other clients.
//!
//! ```console
//! $ ddp-attack --server 127.0.0.1:3000 --pid $(pgrep ddp-load-server) many-connections --count 5000
//! ```

use clap::{Parser, Subcommand};
use ddp_tests::attack::{
    Bytes, Error, LogFlood, ManyConnections, Overlap, Report, Scene, SilentSockJs, SlowHeaders,
    Storm, Subscriptions, Victim,
};

/// Attacks a DDP server on this machine, within bounds.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where the server listens; an address of this machine's own.
    #[arg(long)]
    server: Victim,
    /// Its process, whose memory and CPU are reported.
    #[arg(long)]
    pid: Option<u32>,
    /// Where another server listens, which is left alone: what its client's pings take meanwhile is not
    /// the attacked server's doing.
    #[arg(long)]
    control: Option<Victim>,
    #[command(subcommand)]
    attack: Attack,
}

#[derive(Debug, Subcommand)]
enum Attack {
    Bytes(Bytes),
    LogFlood(LogFlood),
    ManyConnections(ManyConnections),
    Overlap(Overlap),
    #[command(name = "silent-sockjs")]
    SilentSockJs(SilentSockJs),
    SlowHeaders(SlowHeaders),
    Storm(Storm),
    Subscriptions(Subscriptions),
}

async fn make(arguments: &Arguments) -> Result<Report, Error> {
    let mut scene = Scene::new(arguments.server, arguments.pid, arguments.control)?;
    let victim = scene.victim();
    match &arguments.attack {
        Attack::Bytes(attack) => scene.watch(attack.run(victim)).await,
        Attack::LogFlood(attack) => scene.watch(attack.run(victim)).await,
        Attack::ManyConnections(attack) => scene.watch(attack.run(victim)).await,
        Attack::Overlap(attack) => scene.watch(attack.run(victim)).await,
        Attack::SilentSockJs(attack) => scene.watch(attack.run(victim)).await,
        Attack::SlowHeaders(attack) => scene.watch(attack.run(victim)).await,
        Attack::Storm(attack) => scene.watch(attack.run(victim)).await,
        Attack::Subscriptions(attack) => scene.watch(attack.run(victim)).await,
    }
}

// The other client has this thread to itself.
#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> std::process::ExitCode {
    match make(&Arguments::parse()).await {
        Ok(report) => {
            print!("{report}");
            std::process::ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("ddp-attack: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
