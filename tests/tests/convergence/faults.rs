//! What goes wrong during the run.

use std::time::Duration;

use ddp_cluster::{Cluster, ShutdownMode};
use ddp_tests::Dice;
use ddp_tests::proxy::Network;

use super::Run;
use super::servers::ServerProcess;

/// Breaks something every few hundred milliseconds until the run is over. At the end everything
/// works again.
pub(crate) fn make(
    mut cluster: Cluster,
    servers: &[ServerProcess],
    mut dice: Dice,
    run: &Run,
) -> Cluster {
    let mut counts = [0_usize; 7];
    while !run.is_over() {
        std::thread::sleep(Duration::from_millis(200 + dice.below(500) as u64));
        let server = dice.pick(servers);
        let fault = match dice.below(40) {
            // The usual ones first: not even a short run goes without.
            _ if counts[0] == 0 => 0,
            _ if counts[1] == 0 => 1,
            0..16 => 0,
            16..24 => 1,
            24..30 => 2,
            30..36 => 3,
            36..38 => 4,
            38 => 5,
            _ => 6,
        };
        counts[fault] += 1;
        match fault {
            0 => terminate(&cluster, "application_name = 'ddp feed' AND random() < 0.5"),
            1 => terminate(
                &cluster,
                "pid <> pg_backend_pid() AND backend_type = 'client backend' AND random() < 0.3",
            ),
            2 => cut(server, Network::Down, 100 + dice.below(1500)),
            3 => cut(server, Network::Silent, 100 + dice.below(2500)),
            4 => server.pause(Duration::from_secs(5)),
            5 => cluster.restart(ShutdownMode::Immediate).expect("PostgreSQL starts again"),
            _ => cluster.restart(ShutdownMode::Fast).expect("PostgreSQL starts again"),
        }
    }
    let [listeners, backends, cuts, silences, pauses, crashes, restarts] = counts;
    println!(
        "faults: {listeners} times listeners killed, {backends} times any backends, {cuts} networks \
         cut, {silences} silent, {pauses} servers stopped for 5 s, {crashes} crashes and \
         {restarts} restarts of PostgreSQL"
    );
    assert!(listeners > 0 && backends > 0, "the run is long enough for faults");
    cluster
}

fn terminate(cluster: &Cluster, condition: &str) {
    let sql =
        format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {condition}");
    cluster.psql("postgres", &sql).expect("PostgreSQL runs");
}

fn cut(server: &ServerProcess, network: Network, millis: usize) {
    server.network.set(network);
    std::thread::sleep(Duration::from_millis(millis as u64));
    server.network.set(Network::Up);
}
