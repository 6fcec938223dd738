//! The task that owns a connection: it alone drives the session and the transport.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use ddp_core::merge_box::{Outgoing, Source};
use ddp_core::session::{CloseReason, Event, Input, Output};
use ddp_core::{DdpError, Delta, Session, SubscriptionKey};
use tokio::time::Sleep;

use crate::callbacks::guard;
use crate::extract::Connection;
use crate::mailbox::{EndReason, Mail, Mailbox};
use crate::random;
use crate::running::Running;
use crate::server::Server;
use crate::transport::framing::FrameBuilder;
use crate::transport::routes::ConnectionInfo;
use crate::transport::{Framing, Transport, TransportError};

const _: () = assert!(Framing::COUNT <= Delta::FRAMINGS, "a delta caches every framing");

/// How many messages are read before what they made is written.
const MESSAGES_PER_WRITE: usize = 32;

/// The WebSocket close code of a server that goes away (RFC 6455 section 7.4.1).
const GOING_AWAY: u16 = 1001;

/// The code and reason with which Meteor's server ends a connection, by WebSocket and by SockJS.
const CLOSED: (u16, &str) = (1000, "Normal closure");

/// The code for a client that is given up: one of those that are the application's.
const BEHIND: u16 = 3000;

/// Serves one client from its opening to its end.
pub(crate) async fn run<T: Transport>(server: Server, transport: T, info: ConnectionInfo) {
    let id = random::id();
    let ConnectionInfo { headers, path, protocol, .. } = &info;
    tracing::debug!(session = id, path, %protocol, user_agent = ?headers.get("user-agent"), "opened");
    let config = server.config();
    let mailbox = Arc::new(Mailbox::new(config.queued_deltas_max, config.queued_messages_max));
    let connection = Connection::new(&id, info, config.forwarded_count, Arc::clone(&mailbox));
    let _registration = server.sessions().register(&connection);
    let _end = Closed(connection.clone());
    let driver = Driver {
        session: Session::new(id, config.session.clone(), Instant::now()),
        running: Running::new(server.clone(), connection),
        universal_begun: None,
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

/// Tells of a connection's end however it comes.
struct Closed(Connection);

impl Drop for Closed {
    fn drop(&mut self) {
        self.0.closed();
    }
}

/// What woke the task.
enum Wake {
    /// The connection is to end, after the mail.
    End(EndReason),
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
    /// How many universal publications have begun; none before the client is connected.
    universal_begun: Option<usize>,
    mailbox: Arc<Mailbox>,
    framing: Framing,
    transport: T,
    backlog: Backlog,
    messages_since_write: usize,
    /// Mail and messages take turns, so that neither waits for the other to end.
    mail_is_next: bool,
    server: Server,
}

impl<T: Transport> Driver<T> {
    async fn run(mut self) {
        match self.serve().await {
            End::Gone => {}
            End::Close(code, reason) => self.transport.close(code, &reason),
            End::Stalled => {
                let timeout = self.server.config().write_timeout;
                let id = self.session.id();
                return tracing::info!(session = id, "disconnected: took nothing for {timeout:?}");
            }
        }
        // Publications end now, not when the client has answered.
        drop(self.running);
        let closed = poll_fn(|cx| self.transport.poll_closed(cx));
        // A client that does not answer, or a broken socket, is simply dropped.
        let _ = tokio::time::timeout(self.server.config().close_timeout, closed).await;
    }

    async fn serve(&mut self) -> End {
        let mut timer = Box::pin(tokio::time::sleep_until(Instant::now().into()));
        let mut mail = VecDeque::new();
        loop {
            let deadline = match self.drain().await {
                Ok(deadline) => deadline,
                Err(reason) => {
                    tracing::debug!(session = self.session.id(), "closing: {reason}");
                    return End::Close(CLOSED.0, CLOSED.1.to_owned());
                }
            };
            let wake = if mail.is_empty() {
                poll_fn(|cx| self.poll_wake(cx, deadline, timer.as_mut(), &mut mail)).await
            } else {
                Wake::Mail
            };
            match wake {
                Wake::Message(text) => {
                    self.session.handle_input(Input::Message(Instant::now(), &text));
                }
                Wake::Mail => self.handle_mail(&mut mail).await,
                Wake::End(EndReason::Requested) => {
                    // What the session makes of the last mail still goes out.
                    while !mail.is_empty() {
                        self.handle_mail(&mut mail).await;
                        let _ = self.drain().await;
                    }
                    let is_closing = self.server.sessions().is_closing();
                    let server_closed = (GOING_AWAY, "server closed");
                    let (code, reason) = if is_closing { server_closed } else { CLOSED };
                    return End::Close(code, reason.to_owned());
                }
                Wake::End(EndReason::Behind) => {
                    let count = self.server.config().queued_messages_max;
                    let id = self.session.id();
                    tracing::info!(session = id, "disconnected: more than {count} messages behind");
                    return End::Close(BEHIND, "too far behind".to_owned());
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

    /// Hands mail to the session, up to a change of the user, which is left for the next time: all
    /// that the session wants done because of earlier mail must have been done before.
    async fn handle_mail(&mut self, mail: &mut VecDeque<Mail>) {
        let mut is_first = true;
        while let Some(next) = mail.pop_front() {
            if matches!(next, Mail::SetUser(..)) && !std::mem::take(&mut is_first) {
                return mail.push_front(next);
            }
            is_first = false;
            if matches!(next, Mail::Universal) {
                // What they show at once precedes what has been mailed since, such as the result of
                // the method that made them.
                let begun = self.begin_universal().await;
                self.mailbox.take_of(&begun, mail);
            } else if let Some(input) = self.mail_input(next).await {
                self.session.handle_input(input);
            }
        }
    }

    /// What a piece of mail means to the session, if it means anything to it.
    async fn mail_input(&mut self, mail: Mail) -> Option<Input<'static>> {
        let running = &mut self.running;
        Some(match mail {
            Mail::Delta(subscription, source, delta) => Input::Delta(subscription, source, delta),
            Mail::Exact(subscription, delta) => Input::Delta(subscription, Source::ByHand, delta),
            Mail::Placed(subscription, delta, place) => Input::Placed(subscription, delta, place),
            Mail::Direct(subscription, text) => Input::Direct(subscription, text),
            Mail::Ready(subscription) => Input::Ready(subscription),
            Mail::Stop(subscription, error) => {
                // One that is about to run anew is stopped by that, and its run of before has
                // nothing more to say.
                if !self.session.has_subscription(subscription) {
                    return None;
                }
                running.unsubscribe(subscription);
                Input::Stop(subscription, error)
            }
            Mail::SubscriptionUnblocked(subscription) => Input::SubscriptionUnblocked(subscription),
            Mail::SubscriptionReturned(subscription) => Input::SubscriptionReturned(subscription),
            Mail::MethodUnblocked(call) => Input::MethodUnblocked(call),
            Mail::Result(call, result) => Input::Result(call, result),
            Mail::Updated(call) => Input::Updated(call),
            Mail::Observing(subscription, observations) => {
                running.observing(subscription, observations);
                return None;
            }
            Mail::SetUser(user_id, done) => {
                running.set_user(user_id, done);
                Input::Rerun
            }
            // Handled where the rest of the mail is at hand.
            Mail::Universal => return None,
        })
    }

    /// Begins the universal publications that have not begun yet, once the client is connected. The
    /// answer is their subscriptions.
    async fn begin_universal(&mut self) -> Vec<SubscriptionKey> {
        let Some(begun) = self.universal_begun else { return Vec::new() };
        let publications = self.server.universal(begun);
        self.universal_begun = Some(begun + publications.len());
        let mut subscriptions = Vec::with_capacity(publications.len());
        for publication in publications {
            let subscription = self.session.subscribe_universal();
            subscriptions.push(subscription);
            self.running.subscribe_universal(subscription, publication).await;
        }
        subscriptions
    }

    async fn connected(&mut self) {
        self.universal_begun = Some(0);
        self.begin_universal().await;
        for hook in &self.server.hooks().on_connection {
            guard("on_connection", || hook(self.running.connection()));
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
                Output::Event(event) => self.handle_event(event).await,
                Output::Close(reason) => break Err(reason),
                Output::Timeout(deadline) => break Ok(deadline),
            }
        };
        if has_texts {
            self.queue(texts.finish());
        }
        deadline
    }

    async fn handle_event(&mut self, event: Event) {
        let running = &mut self.running;
        match event {
            Event::Connected(_) => self.connected().await,
            Event::Message(text) => {
                for hook in &self.server.hooks().on_message {
                    guard("on_message", || hook(running.connection(), &text));
                }
            }
            Event::Subscribe { subscription, name, params } => {
                if let Err(error) = running.subscribe(subscription, name, params).await {
                    self.session.handle_input(Input::Stop(subscription, Some(error)));
                }
            }
            Event::SubscribeAgain { id, name } => {
                if self.server.publication(&name).is_none() {
                    self.session.refuse(&id, &DdpError::subscription_not_found(&name));
                }
            }
            Event::Unsubscribe(subscription) => running.unsubscribe(subscription),
            Event::Rerun(renamed) => running.rerun(renamed).await,
            Event::RerunDone => running.rerun_done(),
            Event::Call { call, method, params, random_seed } => {
                running.call(call, method, params, random_seed.as_deref()).await;
            }
        }
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
        if let Poll::Ready(reason) = self.mailbox.poll_end(cx, mail) {
            return Poll::Ready(Wake::End(reason));
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
        self.transport.queued_bytes() < self.server.config().queued_bytes_max
    }

    /// Takes mail or a message, by turns if there are both.
    fn poll_mail_and_messages(
        &mut self,
        cx: &mut Context<'_>,
        mail: &mut VecDeque<Mail>,
    ) -> Poll<Wake> {
        let mail_is_next = std::mem::replace(&mut self.mail_is_next, true);
        if mail_is_next && self.mailbox.take(mail) {
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
        if !mail_is_next && self.mailbox.take(mail) {
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
        let write_timeout = self.server.config().write_timeout;
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
