//! The task that owns a connection: it alone drives the session and the transport.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
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
    let ConnectionInfo { remote_addr, headers, path, protocol } = info;
    tracing::debug!(session = id, path, %protocol, user_agent = ?headers.get("user-agent"), "opened");
    // An idle connection keeps nothing that it does not need.
    drop((headers, path));
    let mailbox = Arc::new(Mailbox::new(server.config.queued_deltas_max));
    let connection = Connection {
        id: id.as_str().into(),
        remote_address: remote_addr,
        mailbox: Arc::clone(&mailbox),
    };
    let _registration = server.sessions.register(&connection);
    let _end = CloseMailbox(Arc::clone(&mailbox));
    let driver = Driver {
        session: Session::new(id, server.config.session, Instant::now()),
        running: Running::new(Arc::clone(&server), connection),
        mailbox,
        framing: transport.framing(),
        transport,
        backlog: Backlog::default(),
        messages_since_write: 0,
        mail_is_next: true,
        server,
    };
    driver.run().await;
}

/// Closes a mailbox however its connection ends.
struct CloseMailbox(Arc<Mailbox>);

impl Drop for CloseMailbox {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What woke the task.
enum Wake {
    /// The server or the application ends the connection, after the mail.
    End,
    Mail,
    Message(String),
    Timer,
    Stalled,
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

/// How the client takes what it is sent.
#[derive(Default)]
struct Backlog {
    /// Bytes given to the transport so far.
    queued_total: u64,
    /// How many of them the socket had taken when the task last looked.
    written: u64,
    /// Since when it has taken nothing although something waits.
    stalled_since: Option<Instant>,
    /// Whether since the last timer the client was not read because it did not keep up, or took
    /// something after it had not.
    was_behind: bool,
}

struct Driver<T> {
    session: Session,
    running: Running,
    mailbox: Arc<Mailbox>,
    framing: Framing,
    transport: T,
    backlog: Backlog,
    messages_since_write: usize,
    /// Mail and messages take turns, so that neither waits for the other to end.
    mail_is_next: bool,
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
        loop {
            let deadline = match self.drain().await {
                Ok(deadline) => deadline,
                Err(reason) => {
                    tracing::debug!(session = self.session.id(), "closing: {reason}");
                    return End::Close(CLOSED, reason.to_string());
                }
            };
            match poll_fn(|cx| self.poll_wake(cx, deadline, timer.as_mut(), &mut mail)).await {
                Wake::Message(text) => {
                    self.session.handle_input(Input::Message(Instant::now(), &text));
                }
                Wake::Mail => self.handle_mail(&mut mail),
                Wake::End => {
                    self.handle_mail(&mut mail);
                    // What the session makes of the last mail still goes out.
                    let _ = self.drain().await;
                    return End::Close(GOING_AWAY, "server closed".to_owned());
                }
                Wake::Timer => {
                    if std::mem::take(&mut self.backlog.was_behind) {
                        self.session.handle_input(Input::Backlogged);
                    }
                    self.session.handle_input(Input::Timeout(Instant::now()));
                }
                Wake::Stalled => return End::Stalled,
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

    fn handle_mail(&mut self, mail: &mut VecDeque<Mail>) {
        for mail in mail.drain(..) {
            if let Some(input) = mail_input(mail, &mut self.running) {
                self.session.handle_input(input);
            }
        }
    }

    fn queue(&mut self, frames: Bytes) {
        self.backlog.queued_total += frames.len() as u64;
        self.transport.queue(frames);
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
                        self.queue(std::mem::replace(&mut texts, next).finish());
                    }
                    let framing = self.framing;
                    self.queue(delta.frames(framing.index(), |delta| {
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
            self.queue(texts.finish());
        }
        deadline
    }

    /// Waits for whatever comes first. While much waits for the socket, nothing is read and no mail
    /// is taken, so that a slow client costs no memory.
    fn poll_wake(
        &mut self,
        cx: &mut Context<'_>,
        deadline: Option<Instant>,
        timer: Pin<&mut Sleep>,
        mail: &mut VecDeque<Mail>,
    ) -> Poll<Wake> {
        if self.mailbox.poll_end(cx, mail).is_ready() {
            return Poll::Ready(Wake::End);
        }
        if self.messages_since_write >= MESSAGES_PER_WRITE
            && let Poll::Ready(gone) = self.poll_write(cx)
        {
            return Poll::Ready(gone);
        }
        if self.has_room()
            && let Poll::Ready(wake) = self.poll_mail_and_messages(cx, mail)
        {
            self.messages_since_write += 1;
            return Poll::Ready(wake);
        }
        let had_room = self.has_room();
        if let Poll::Ready(gone) = self.poll_write(cx) {
            return Poll::Ready(gone);
        }
        if !had_room {
            self.backlog.was_behind = true;
            if self.has_room() {
                // There is room now; look at once what was left for later.
                cx.waker().wake_by_ref();
            }
        }
        self.poll_timer(cx, deadline, timer)
    }

    fn has_room(&self) -> bool {
        self.transport.queued_bytes() < self.server.config.queued_bytes_max
    }

    /// Takes mail or a message, by turns if there are both.
    fn poll_mail_and_messages(
        &mut self,
        cx: &mut Context<'_>,
        mail: &mut VecDeque<Mail>,
    ) -> Poll<Wake> {
        let mail_is_next = std::mem::replace(&mut self.mail_is_next, true);
        if mail_is_next && self.mailbox.poll_take(cx, mail).is_ready() {
            self.mail_is_next = false;
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
        if !mail_is_next && self.mailbox.poll_take(cx, mail).is_ready() {
            return Poll::Ready(Wake::Mail);
        }
        Poll::Pending
    }

    /// Writes what the socket takes. Ready only if the socket failed.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        self.messages_since_write = 0;
        let flushed = match self.transport.poll_flush(cx) {
            Poll::Ready(Err(error)) => return Poll::Ready(Wake::Gone(Some(error.into()))),
            Poll::Ready(Ok(())) => true,
            Poll::Pending => false,
        };
        let backlog = &mut self.backlog;
        let written = backlog.queued_total.saturating_sub(self.transport.queued_bytes() as u64);
        let moves = written > backlog.written;
        backlog.written = written;
        backlog.was_behind |= moves && backlog.stalled_since.is_some();
        if flushed {
            backlog.stalled_since = None;
        } else if moves || backlog.stalled_since.is_none() {
            backlog.stalled_since = Some(Instant::now());
        }
        Poll::Pending
    }

    fn poll_timer(
        &self,
        cx: &mut Context<'_>,
        deadline: Option<Instant>,
        mut timer: Pin<&mut Sleep>,
    ) -> Poll<Wake> {
        let write_timeout = self.server.config.write_timeout;
        let stalled = self.backlog.stalled_since.map(|since| since + write_timeout);
        let Some(next) = [deadline, stalled].into_iter().flatten().min() else {
            return Poll::Pending;
        };
        if timer.deadline().into_std() != next {
            timer.as_mut().reset(next.into());
        }
        if timer.poll(cx).is_pending() {
            return Poll::Pending;
        }
        let is_stalled = stalled.is_some_and(|stalled| stalled <= Instant::now());
        Poll::Ready(if is_stalled { Wake::Stalled } else { Wake::Timer })
    }
}

/// What a piece of mail means to the session, if it means anything to it.
fn mail_input(mail: Mail, running: &mut Running) -> Option<Input<'static>> {
    Some(match mail {
        Mail::Delta(subscription, source, delta) => Input::Delta(subscription, source, delta),
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
    })
}
