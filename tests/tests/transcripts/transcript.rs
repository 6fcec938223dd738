//! The files of `tests/transcripts`.

use std::path::PathBuf;

/// A connection's name in a transcript. The first one has none.
pub(crate) type Name = String;

/// A transcript, block by block.
#[derive(Debug)]
pub(crate) struct Transcript {
    /// The server's name.
    pub(crate) world: String,
    /// Whether it is SockJS over WebSocket, rather than plain DDP.
    pub(crate) is_sockjs: bool,
    pub(crate) blocks: Vec<Block>,
}

/// What is done, and everything that results from it.
#[derive(Debug, Default)]
pub(crate) struct Block {
    pub(crate) actions: Vec<Action>,
    pub(crate) received: Vec<Received>,
}

#[derive(Debug)]
pub(crate) enum Action {
    Send(Name, String),
    /// The client closes the connection.
    Close(Name),
    /// Something happens at the server.
    Happens(Vec<String>),
}

/// A message from the server, or the end of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) connection: Name,
    pub(crate) order: Order,
    pub(crate) text: String,
}

/// How strict the order is for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// `<`: it comes exactly here.
    Exact,
    /// `<*`: it comes here together with its neighbours of the same kind, in any order.
    Group,
    /// `<~`: it may come at any time within the block.
    Floating,
}

pub(crate) fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/transcripts"))
}

impl Transcript {
    pub(crate) fn read(name: &str) -> Self {
        let path = folder().join(format!("{name}.txt"));
        let text = std::fs::read_to_string(&path);
        let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut transcript = Self { world: String::new(), is_sockjs: false, blocks: Vec::new() };
        let mut block = Block::default();
        for line in text.lines() {
            if let Some(world) = line.strip_prefix("@ ") {
                let (world, transport) = world.split_once(' ').unwrap_or((world, ""));
                world.clone_into(&mut transcript.world);
                transcript.is_sockjs = transport == "sockjs";
            } else if line.starts_with("...") {
                transcript.blocks.push(std::mem::take(&mut block));
            } else if !line.starts_with('#') {
                block.take(line);
            }
        }
        assert!(block.actions.is_empty() && block.received.is_empty(), "{name} has no end");
        assert!(!transcript.world.is_empty() && !transcript.blocks.is_empty(), "{name} is empty");
        transcript
    }
}

impl Block {
    fn take(&mut self, line: &str) {
        if let Some(received) = Received::parse(line) {
            return self.received.push(received);
        }
        let (connection, kind, rest) = parts(line).unwrap_or_else(|| panic!("what is {line}"));
        self.actions.push(match (kind, rest) {
            ('>', text) => Action::Send(connection, text.to_owned()),
            ('!', "close") => Action::Close(connection),
            ('!', words) => Action::Happens(words.splitn(4, ' ').map(str::to_owned).collect()),
            _ => panic!("what is {line}"),
        });
    }
}

impl Received {
    /// A line of incoming messages; `None` if it is something else.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (connection, kind, rest) = parts(line)?;
        let (order, text) = match rest.split_at_checked(2) {
            Some(("* ", text)) => (Order::Group, text),
            Some(("~ ", text)) => (Order::Floating, text),
            _ => (Order::Exact, rest),
        };
        (kind == '<').then(|| Self { connection, order, text: text.to_owned() })
    }
}

/// A line's connection name, the character for its kind, and the rest.
fn parts(line: &str) -> Option<(Name, char, &str)> {
    let kind = line.find(['>', '<', '!']).filter(|at| *at <= 1)?;
    let (name, rest) = line.split_at(kind);
    let (kind, rest) = rest.split_at(1);
    Some((name.to_owned(), kind.chars().next()?, rest.strip_prefix(' ').unwrap_or(rest)))
}
