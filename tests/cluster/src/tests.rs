use std::net::{Ipv4Addr, TcpListener};

use super::*;

fn options() -> ClusterOptions {
    ClusterOptions::temporary().without_durability()
}

fn scratch_folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("ddp-cluster-test-{name}-{}", std::process::id()))
}

#[test]
fn a_temporary_cluster_starts_restarts_and_vanishes() {
    let mut cluster = Cluster::start(options().setting("max_connections", "17")).unwrap();
    let folder = cluster.folder().to_owned();
    assert_eq!(cluster.psql("postgres", "SHOW max_connections").unwrap().trim(), "17");
    assert_eq!(cluster.psql("postgres", "SHOW server_encoding").unwrap().trim(), "UTF8");
    assert!(cluster.psql_command().contains(&cluster.url()));

    cluster.psql("postgres", "CREATE TABLE kept AS SELECT 1 AS a").unwrap();
    let port = cluster.port();
    cluster.restart(ShutdownMode::Fast).unwrap();
    cluster.restart(ShutdownMode::Immediate).unwrap();
    assert_eq!(cluster.port(), port);
    assert_eq!(cluster.psql("postgres", "SELECT a FROM kept").unwrap().trim(), "1");

    cluster.stop().unwrap();
    cluster.stop().unwrap();
    let refused = cluster.psql("postgres", "SELECT 1").unwrap_err();
    assert!(refused.to_string().contains("psql failed"), "{refused}");
    assert!(folder.exists());
    drop(cluster);
    assert!(!folder.exists());
}

#[test]
fn a_second_program_joins_and_an_orphan_is_adopted() {
    let folder = scratch_folder("join");
    let persistent = || ClusterOptions::persistent(&folder).without_durability();
    let mut owner = Cluster::start(persistent()).unwrap();
    assert!(owner.is_owner());

    let mut joined = Cluster::start(persistent()).unwrap();
    assert!(!joined.is_owner());
    assert_eq!(joined.port(), owner.port());
    assert!(matches!(joined.restart(ShutdownMode::Fast), Err(ClusterError::NotOwner)));
    drop(joined);
    assert_eq!(owner.psql("postgres", "SELECT 1").unwrap().trim(), "1");

    // As after SIGKILL: the lock is free, and nobody stops the server.
    let port = owner.port();
    drop(owner.lock.take());
    let mut orphan = owner.child.take().unwrap();
    drop(owner);
    let mut adopter = Cluster::start(persistent()).unwrap();
    assert!(adopter.is_owner());
    assert_eq!(adopter.port(), port);
    // Here the orphan is still this process's child, and a zombie unless it is waited for.
    let waiter = std::thread::spawn(move || orphan.wait());
    adopter.stop().unwrap();
    waiter.join().unwrap().unwrap();
    drop(adopter);

    let again = Cluster::start(persistent()).unwrap();
    assert!(again.is_owner());
    drop(again);
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_taken_port_and_a_bad_setting_are_told_with_the_log() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let taken = Cluster::start(options().port(port)).unwrap_err();
    assert!(taken.to_string().contains("could not bind"), "{taken}");
    let unknown = Cluster::start(options().setting("no_such_setting", "1")).unwrap_err();
    assert!(unknown.to_string().contains("no_such_setting"), "{unknown}");
}

#[test]
fn the_guardian_removes_what_its_owner_left() {
    let mut cluster = Cluster::start(options()).unwrap();
    let folder = cluster.folder().to_owned();
    let guardian = cluster.guardian.take().unwrap();
    let mut child = cluster.child.take().unwrap();
    let waiter = std::thread::spawn(move || child.wait());
    // Leaves the server and the folder behind, as a killed program does.
    std::mem::forget(cluster);
    guardian.dismiss();
    waiter.join().unwrap().unwrap();
    assert!(!folder.exists());
}
