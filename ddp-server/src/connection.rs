//! The task that owns a connection: it alone drives the session and the transport.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use ddp_core::merge_box::Outgoing;
use ddp_core::session::{CloseReason, Event, Input, Output};
use ddp_core::{Delta, Session};
use tokio::time::Sleep;

use crate::extract::Connection;
use crate::mailbox::{Mail, Mailbox};
use crate::random;
use crate::running::Running;
use crate::server::Shared;
use crate::transport::framing::FrameBuilder;
use crate::transport::routes::ConnectionInfo;
use crate::transport::{Framing, Transport, TransportError};

const _: () = assert!(Framing::COUNT <= Delta::FRAMINGS, "a delta caches every framing");

/// How many messages are read before what they made is written.
const MESSAGES_PER_WRITE: usize = 32;

/// The WebSocket close code of a server that goes away (RFC 6455 section 7.4.1).
const GOING_AWAY: u16 = 1001;

/// The SockJS and WebSocket close code that Meteor's server ends a connection with.
const CLOSED: u16 = 3000;

/// Serves one client from its opening to its end.
pub(crate) async fn run<T: Transport>(server: Arc<Shared>, transport: T, info: ConnectionInfo) {
    let id = random::id();
    let ConnectionInfo { remote_addr, headers, path } = info;
    tracing::debug!(session = id, path, user_agent = ?headers.get("user-agent"), "opened");
    // An idle connection keeps nothing that it does not need.
    drop((headers, path));
    let mailbox = Arc::new(Mailbox::new(server.config.queued_deltas_max));
    let connection = Connection {
        id: id.as_str().into(),
        remote_address: remote_addr,
        mailbox: Arc::clone(&mailbox),
    };
    let _registration = server.sessions.register(&connection);
    let driver = Driver {
        session: Session::new(id, server.config.session, Instant::now()),
        running: Running::new(Arc::clone(&server), connection),
        mailbox: Arc::clone(&mailbox),
        framing: transport.framing(),
        transport,
        stalled_since: None,
        server,
    };
    driver.run().await;
    mailbox.close();
}

/// What woke the task.
enum Wake {
    Mail,
    Message(String),
    Timer,
    Gone(Option<TransportError>),
}

/// How a connection ends.
enum End {
    /// The client closed, broke the WebSocket protocol, or is gone.
    Gone,
    /// The server ends it with the closing handshake.
    Close(u16, String),
    /// The client takes nothing.
    Stalled,
}

struct Driver<T> {
    session: Session,
    running: Running,
    mailbox: Arc<Mailbox>,
    framing: Framing,
    transport: T,
    /// Since when the socket takes nothing.
    stalled_since: Option<Instant>,
    server: Arc<Shared>,
}

impl<T: Transport> Driver<T> {
    async fn run(mut self) {
        match self.serve().await {
            End::Gone => {}
            End::Close(code, reason) => self.transport.close(code, &reason),
            End::Stalled => {
                let timeout = self.server.config.write_timeout;
                let id = self.session.id();
                return tracing::info!(session = id, "disconnected: took nothing for {timeout:?}");
            }
        }
        // Publications end now, not when the client has answered.
        drop(self.running);
        let closed = poll_fn(|cx| self.transport.poll_closed(cx));
        // A client that does not answer, or a broken socket, is simply dropped.
        let _ = tokio::time::timeout(self.server.config.close_timeout, closed).await;
    }

    async fn serve(&mut self) -> End {
        let mut timer = Box::pin(tokio::time::sleep_until(Instant::now().into()));
        let mut mail = VecDeque::new();
        let mut unwritten = 0;
        loop {
            let deadline = match self.drain().await {
                Ok(deadline) => deadline,
                Err(reason) => {
                    tracing::debug!(session = self.session.id(), "closing: {reason}");
                    return End::Close(CLOSED, reason.to_string());
                }
            };
            let stalled = self.stalled_since.map(|since| since + self.server.config.write_timeout);
            if let Some(deadline) = [deadline, stalled].into_iter().flatten().min()
                && timer.deadline().into_std() != deadline
            {
                timer.as_mut().reset(deadline.into());
            }
            let write_first = unwritten >= MESSAGES_PER_WRITE;
            let wake = poll_fn(|cx| self.poll_wake(cx, timer.as_mut(), &mut mail, write_first));
            unwritten = if write_first { 0 } else { unwritten + 1 };
            match wake.await {
                Wake::Message(text) => {
                    self.session.handle_input(Input::Message(Instant::now(), &text));
                }
                Wake::Mail => {
                    for mail in mail.drain(..) {
                        match mail_input(mail, &mut self.running) {
                            Some(input) => self.session.handle_input(input),
                            None if self.running.is_closed() => {
                                return End::Close(GOING_AWAY, "server closed".to_owned());
                            }
                            None => {}
                        }
                    }
                }
                Wake::Timer => {
                    let now = Instant::now();
                    if stalled.is_some_and(|stalled| stalled <= now) {
                        return End::Stalled;
                    }
                    self.session.handle_input(Input::Timeout(now));
                }
                Wake::Gone(error) => {
                    let id = self.session.id();
                    match error {
                        Some(error) => tracing::debug!(session = id, "connection lost: {error}"),
                        None => tracing::debug!(session = id, "closed by the client"),
                    }
                    return End::Gone;
                }
            }
        }
    }

    /// Does all that the session wants done. The answer is when it wants to be woken.
    async fn drain(&mut self) -> Result<Option<Instant>, CloseReason> {
        let mut texts = FrameBuilder::new(self.framing);
        let mut has_texts = false;
        let deadline = loop {
            match self.session.poll_output() {
                Output::Send(Outgoing::Text(text)) => {
                    texts.message(&text);
                    has_texts = true;
                }
                Output::Send(Outgoing::Shared(delta)) => {
                    if std::mem::take(&mut has_texts) {
                        let next = FrameBuilder::new(self.framing);
                        self.transport.queue(std::mem::replace(&mut texts, next).finish());
                    }
                    let framing = self.framing;
                    self.transport.queue(delta.frames(framing.index(), |delta| {
                        let mut frames = FrameBuilder::new(framing);
                        delta.for_each_message(|text| frames.message(text));
                        frames.finish()
                    }));
                }
                Output::Event(Event::Connected(_)) => {}
                Output::Event(Event::Subscribe { subscription, name, params }) => {
                    self.running.subscribe(subscription, name, params).await;
                }
                Output::Event(Event::Unsubscribe(subscription)) => {
                    self.running.unsubscribe(subscription);
                }
                Output::Event(Event::Call { call, method, params, random_seed }) => {
                    self.running.call(call, method, params, random_seed.as_deref()).await;
                }
                Output::Close(reason) => break Err(reason),
                Output::Timeout(deadline) => break Ok(deadline),
            }
        };
        if has_texts {
            self.transport.queue(texts.finish());
        }
        deadline
    }

    /// Waits for whatever comes first. While much waits for the socket, nothing is read and no mail
    /// is taken, so that a slow client costs no memory.
    fn poll_wake(
        &mut self,
        cx: &mut Context<'_>,
        timer: Pin<&mut Sleep>,
        mail: &mut VecDeque<Mail>,
        write_first: bool,
    ) -> Poll<Wake> {
        if write_first && let Poll::Ready(wake) = self.poll_write(cx) {
            return Poll::Ready(wake);
        }
        let has_room = self.transport.queued_bytes() < self.server.config.queued_bytes_max;
        if has_room {
            if self.mailbox.poll_take(cx, mail).is_ready() {
                return Poll::Ready(Wake::Mail);
            }
            if self.session.wants_input()
                && let Poll::Ready(received) = self.transport.poll_recv(cx)
            {
                return Poll::Ready(match received {
                    Ok(Some(text)) => Wake::Message(text),
                    Ok(None) => Wake::Gone(None),
                    Err(error) => Wake::Gone(Some(error)),
                });
            }
        }
        if let Poll::Ready(wake) = self.poll_write(cx) {
            return Poll::Ready(wake);
        }
        if !has_room && self.transport.queued_bytes() < self.server.config.queued_bytes_max {
            // There is room now; look at once what was left for later.
            cx.waker().wake_by_ref();
        }
        timer.poll(cx).map(|()| Wake::Timer)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        let before = self.transport.queued_bytes();
        match self.transport.poll_flush(cx) {
            Poll::Ready(Err(error)) => return Poll::Ready(Wake::Gone(Some(error.into()))),
            Poll::Ready(Ok(())) => self.stalled_since = None,
            Poll::Pending => {
                let moves = self.transport.queued_bytes() < before;
                if moves || self.stalled_since.is_none() {
                    self.stalled_since = Some(Instant::now());
                }
            }
        }
        Poll::Pending
    }
}

/// What a piece of mail means to the session, if it means anything to it.
fn mail_input(mail: Mail, running: &mut Running) -> Option<Input<'static>> {
    Some(match mail {
        Mail::Delta(subscription, delta) => Input::Delta(subscription, delta),
        Mail::Ready(subscription) => Input::Ready(subscription),
        Mail::Stop(subscription, error) => {
            running.unsubscribe(subscription);
            Input::Stop(subscription, error)
        }
        Mail::SubscriptionUnblocked(subscription) => Input::SubscriptionUnblocked(subscription),
        Mail::MethodUnblocked(call) => Input::MethodUnblocked(call),
        Mail::Result(call, result) => Input::Result(call, result),
        Mail::Updated(call) => Input::Updated(call),
        Mail::Observing(subscription, observations) => {
            running.observing(subscription, observations);
            return None;
        }
        Mail::Close => {
            running.close();
            return None;
        }
    })
}
