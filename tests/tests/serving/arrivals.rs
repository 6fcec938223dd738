//! Many clients come at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use ddp_server::extract::{State, Subscription};
use ddp_server::{Collection, Error, MemoryCollection};
use ddp_tests::Peer;
use futures::future::join_all;
use serde_json::{Value, json};

use super::*;

/// Serves in threads of its own; one thread, if there are none.
fn serve_elsewhere(server: Server, threads: usize) -> SocketAddr {
    let mut runtime = match threads {
        0 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = runtime.worker_threads(threads.max(1)).enable_all().build().unwrap();
    let (sender, address) = mpsc::channel();
    std::thread::spawn(move || {
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            sender.send(listener.local_addr().unwrap()).unwrap();
            server.serve(listener).await
        })
    });
    address.recv().unwrap()
}

async fn connect(address: SocketAddr, count: usize) -> Vec<Peer> {
    join_all((0..count).map(|_| Peer::connect(address))).await
}

/// Waits until each has what it subscribed to.
async fn all_are_ready(clients: &mut [Peer]) {
    for client in clients {
        assert_eq!(client.recv().await["msg"], "ready");
    }
}

#[tokio::test]
async fn others_are_served_before_those_who_come_at_once() {
    #[derive(Clone)]
    struct Door {
        arrived: Arc<AtomicUsize>,
        opens: Arc<Mutex<mpsc::Receiver<()>>>,
        is_reached: mpsc::Sender<()>,
    }
    let (open, opens) = mpsc::channel();
    let (is_reached, reached) = mpsc::channel();
    let door = Door { arrived: Arc::default(), opens: Arc::new(Mutex::new(opens)), is_reached };
    let arrive = async |State(door): State<Door>, subscription: Subscription| {
        if door.arrived.fetch_add(1, Ordering::Relaxed) == 0 {
            // The only thread stands still until everybody is at the door.
            door.is_reached.send(()).unwrap();
            door.opens.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        subscription.ready();
    };
    let arrived =
        async |State(door): State<Door>| Ok::<_, Error>(door.arrived.load(Ordering::Relaxed));
    let server =
        Server::builder().publish("arrive", arrive).method("arrived", arrived).with_state(door);
    let address = serve_elsewhere(server, 0);
    let mut other = Peer::connect(address).await;
    assert_eq!(other.call("arrived", json!([])).await["result"], 0);
    let mut clients = connect(address, 200).await;
    clients[0].sub("a", "arrive", json!([])).await;
    reached.recv_timeout(PATIENCE).unwrap();
    for client in &mut clients[1..] {
        client.sub("a", "arrive", json!([])).await;
    }
    other.method("1", "arrived", json!([])).await;
    open.send(()).unwrap();
    let answer = loop {
        let message = other.recv().await;
        if message["msg"] == "result" {
            break message["result"].as_u64().unwrap();
        }
    };
    // Without turns, all of them would.
    assert!(answer <= 20, "{answer} of 200 went before the one who asked last and was here first");
    all_are_ready(&mut clients).await;
}

#[tokio::test]
async fn few_of_those_who_come_at_once_are_handled_at_a_time() {
    #[derive(Clone, Default)]
    struct Crowd {
        now: Arc<AtomicUsize>,
        most: Arc<AtomicUsize>,
    }
    let crowd = Crowd::default();
    let most = Arc::clone(&crowd.most);
    let arrive = async |State(crowd): State<Crowd>, subscription: Subscription| {
        let now = crowd.now.fetch_add(1, Ordering::SeqCst) + 1;
        crowd.most.fetch_max(now, Ordering::SeqCst);
        // Long enough for all threads to be here, if they may.
        std::thread::sleep(Duration::from_millis(2));
        crowd.now.fetch_sub(1, Ordering::SeqCst);
        subscription.ready();
    };
    let server = Server::builder().publish("arrive", arrive).with_state(crowd);
    let address = serve_elsewhere(server, 4);
    let mut clients = connect(address, 100).await;
    for client in &mut clients {
        client.sub("a", "arrive", json!([])).await;
    }
    all_are_ready(&mut clients).await;
    assert!((1..=2).contains(&most.load(Ordering::SeqCst)), "{most:?} at a time, with 4 threads");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_stall_while_they_arrive_hold_up_nobody() {
    let notes = MemoryCollection::<Value>::new(&Collection::new("notes"));
    for _ in 0..1000 {
        notes.insert(&json!({"text": "water the plants ".repeat(1000)})).unwrap();
    }
    let mut config = ServerConfig::default();
    config.serve.arrivals_at_once = Some(1);
    let server = Server::builder()
        .config(config)
        .publish("notes", async |State(notes): State<MemoryCollection<Value>>| notes.find())
        .publish("never", async || std::future::pending::<()>().await)
        .publish("nothing", async |subscription: Subscription| subscription.ready())
        .with_state(notes);
    let address = serve(&server).await;
    let mut stalled: Vec<TcpStream> = Vec::new();
    for request in ["", "GET /websocket HTTP/1.1\r\nHost:"] {
        for _ in 0..5 {
            let mut socket = TcpStream::connect(address).await.unwrap();
            socket.write_all(request.as_bytes()).await.unwrap();
            stalled.push(socket);
        }
    }
    let mut clients = join_all((0..5).map(|_| Peer::open(address))).await;
    for publication in ["notes", "never"] {
        for mut client in connect(address, 5).await {
            client.sub("a", publication, json!([])).await;
            clients.push(client);
        }
    }
    let mut newcomers = connect(address, 5).await;
    for client in &mut newcomers {
        client.sub("a", "nothing", json!([])).await;
    }
    all_are_ready(&mut newcomers).await;
}
