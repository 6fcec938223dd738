//! Drives a connection's session and transport, for the connection's own task and for couriers.

mod wake;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use ddp_core::session::{CloseReason, Event, Input, Output};
use ddp_core::{DdpError, Session, SubscriptionKey};
use futures::future::BoxFuture;
use tokio::time::Sleep;

use super::delivery;
use super::end::{CLOSED, End};
use super::handlers::Running;
use super::inbound::Inbound;
use super::input;
use super::kept::{Kept, More};
use super::mail::Mail;
use super::mailbox::{Drive, EndReason, Mailbox};
use super::outbound::{Messages, Outbound};
use super::tray::Tray;
use super::waits;
use crate::handler::callbacks::guard;
use crate::registry::Registry;
use crate::transport::{Address, AnyTransport, TransportError};

/// The WebSocket close code of a server that goes away (RFC 6455 section 7.4.1).
const GOING_AWAY: u16 = 1001;

/// What woke the task.
enum Wake {
    /// The connection is to end, after the mail.
    End(EndReason),
    Mail,
    Message(String),
    /// Of a `sub` that wants memory.
    Memory(More),
    /// Publications are still to run again.
    Rerun,
    Timer,
    Stalled,
    Gone(Option<TransportError>),
}

/// The session and its transport. The connection's task drives them; couriers
/// [deliver](Drive::deliver) the steps of live queries.
pub(crate) struct Driver {
    /// Dropped first: publications end before the transport does.
    running: Running,
    session: Session,
    outbound: Outbound,
    mailbox: Arc<Mailbox>,
    tray: Tray,
    messages_since_write: usize,
    /// Whether the client has sent something after the first message, which is `connect`.
    has_asked: bool,
    /// Mail and messages take turns, so that neither waits for the other to end.
    mail_is_next: bool,
    /// When the session wants to be woken.
    deadline: Option<Instant>,
    /// Why the session wants to be closed.
    closing: Option<CloseReason>,
    /// Whether nothing more is read from the client, and the connection ends with its methods.
    is_draining: bool,
    /// Whether the end is asked for, and what is left is sent until the timer rings.
    is_ending: bool,
    /// How the connection ends, once it does.
    end: End,
    inbound: Inbound,
    /// Wakes the connection's task.
    waker: Waker,
    timer: Pin<Box<Sleep>>,
    registry: Arc<Registry>,
    /// How many universal publications have begun; none before the client is connected.
    universal_begun: Option<usize>,
}

impl Driver {
    pub(super) fn new(
        mut session: Session,
        running: Running,
        transport: AnyTransport,
        mailbox: Arc<Mailbox>,
        registry: Arc<Registry>,
        address: Option<Address>,
    ) -> Self {
        let outbox_bytes_max = registry.config.outbox_bytes_max;
        // What can never be given does not wait for it.
        session.set_subscription_bytes_max(registry.kept.session_bytes_max());
        let (large, results) = (Arc::clone(&registry.large), Arc::clone(&registry.results));
        let together = registry.kept.of(address.as_ref());
        let kept = Kept::new(Arc::clone(&registry.kept), large, results, address);
        Self {
            running,
            session,
            outbound: Outbound::new(transport, outbox_bytes_max, together),
            mailbox,
            tray: Tray::default(),
            messages_since_write: 0,
            has_asked: false,
            mail_is_next: true,
            deadline: None,
            closing: None,
            is_draining: false,
            is_ending: false,
            end: End::Gone,
            inbound: Inbound::new(kept),
            waker: Waker::noop().clone(),
            timer: Box::pin(tokio::time::sleep_until(Instant::now().into())),
            registry,
            universal_begun: None,
        }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.waker.clone_from(cx.waker());
        self.mailbox.attend();
        self.inbound.begin();
        let mut is_drained = false;
        loop {
            if !std::mem::take(&mut is_drained) {
                self.drain(cx);
            }
            self.inbound.after(&mut self.session, &self.outbound);
            if !self.session.has_more() {
                self.running.all_is_sent();
            }
            self.tray.end_turn();
            if let Some(reason) = self.closing {
                return Poll::Ready(End::closing(&self.registry, self.session.id(), reason));
            }
            let goes_on = self.goes_on(self.outbound.has_room());
            let wake = if goes_on { Wake::Mail } else { ready!(self.poll_wake(cx)) };
            match wake {
                Wake::Message(text) => {
                    self.has_asked = self.universal_begun.is_some();
                    self.session.handle_input(Input::Message(Instant::now(), &text));
                }
                Wake::Memory(More::Waits) => {
                    waits::sub(&self.registry, self.running.connection());
                }
                Wake::Memory(More::Given) => self.inbound.give(&mut self.session),
                Wake::Memory(More::Late) => {
                    return Poll::Ready(End::waited(&self.registry, self.running.connection()));
                }
                Wake::Rerun => self.start_some(cx),
                Wake::Mail => {
                    self.handle_mail(cx);
                    is_drained = true;
                }
                Wake::End(EndReason::Requested) => {
                    let is_closing = self.registry.open.is_closing();
                    let server_closed = (GOING_AWAY, "server closed");
                    let (code, reason) = if is_closing { server_closed } else { CLOSED };
                    return Poll::Ready(End::Close(code, reason.to_owned()));
                }
                Wake::End(EndReason::Behind) => {
                    return Poll::Ready(End::behind(&self.registry, self.session.id()));
                }
                Wake::Timer => {
                    if self.outbound.take_was_behind() {
                        self.session.handle_input(Input::Backlogged);
                    }
                    self.session.handle_input(Input::Timeout(Instant::now()));
                }
                Wake::Stalled => return Poll::Ready(End::Stalled),
                Wake::Gone(error) => return Poll::Ready(End::gone(self.session.id(), error)),
            }
        }
    }

    /// Hands mail to the session for as long as there is room for what it makes, up to what must be
    /// [first](Tray::next) in the next call. Documents that are left come before what it makes.
    fn handle_mail(&mut self, cx: &mut Context<'_>) {
        let mut messages = Messages::new(self.outbound.framing());
        let mut is_first = true;
        loop {
            // It is drained before there is mail, but for documents that are left.
            if !is_first || self.session.has_more() {
                self.drain_into(&mut messages, cx);
            }
            let has_room = !self.session.has_more() && self.outbound.has_room_beside(&messages);
            if self.closing.is_some() || !has_room && !self.tray.has_room_next() {
                break;
            }
            let Some(next) = self.tray.next(is_first, self.is_ending) else { break };
            is_first = false;
            if matches!(next, Mail::Universal) {
                // Documents that they show at once precede later mail, such as the result of the
                // method that started them.
                let begun = self.begin_universal(cx);
                self.mailbox.take_of(&begun, &mut self.tray.mail);
            } else if let Some(input) = input::of(next, &self.session, &mut self.running) {
                self.session.handle_input(input);
            }
        }
        self.outbound.queue(messages);
    }

    /// Whether something waits for room, or for its turn.
    fn has_left(&self) -> bool {
        !self.tray.mail.is_empty() || self.session.has_more()
    }

    /// Whether there is something that waits for neither.
    fn goes_on(&self, has_room: bool) -> bool {
        has_room && (self.tray.is_ready() || self.session.has_more())
    }

    /// Starts the universal publications that have not started yet, once the client is connected.
    /// Returns their subscriptions.
    fn begin_universal(&mut self, cx: &mut Context<'_>) -> Vec<SubscriptionKey> {
        let Some(begun) = self.universal_begun else { return Vec::new() };
        let publications = self.registry.universal(begun);
        self.universal_begun = Some(begun + publications.len());
        let mut subscriptions = Vec::with_capacity(publications.len());
        for publication in publications {
            let subscription = self.session.subscribe_universal();
            subscriptions.push(subscription);
            self.running.subscribe_universal(subscription, publication, cx);
        }
        subscriptions
    }

    fn connected(&mut self, cx: &mut Context<'_>) {
        self.universal_begun = Some(0);
        self.begin_universal(cx);
        for hook in &self.registry.hooks.on_connection {
            guard("on_connection", || hook(self.running.connection()));
        }
    }

    /// Starts publications that are to run again until others should have their turn, at least one.
    fn start_some(&mut self, cx: &mut Context<'_>) {
        while self.running.start_next(cx) && !self.inbound.is_tired() {}
    }

    /// Does everything that the session wants done, as far as there is room for documents.
    fn drain(&mut self, cx: &mut Context<'_>) {
        let mut messages = Messages::new(self.outbound.framing());
        self.drain_into(&mut messages, cx);
        self.outbound.queue(messages);
    }

    fn drain_into(&mut self, messages: &mut Messages, cx: &mut Context<'_>) {
        while !self.session.has_more() || self.outbound.has_room_beside(messages) {
            match self.session.poll_output() {
                Output::Send(outgoing) => self.outbound.send(outgoing, messages),
                Output::EndFrame => self.outbound.end_frame(messages),
                Output::Event(event) => self.handle_event(event, cx),
                Output::Close(reason) => {
                    self.closing = Some(reason);
                    return;
                }
                Output::Timeout(deadline) => {
                    self.deadline = deadline;
                    return;
                }
            }
        }
        // Nothing is read from the client meanwhile, so its silence means nothing.
        self.deadline = None;
    }

    fn handle_event(&mut self, event: Event, cx: &mut Context<'_>) {
        let running = &mut self.running;
        match event {
            Event::Connected(_) => self.connected(cx),
            Event::Message(text) => {
                for hook in &self.registry.hooks.on_message {
                    guard("on_message", || hook(running.connection(), &text));
                }
            }
            Event::Subscribe { subscription, name, params } => {
                if let Err(error) = running.subscribe(subscription, name, params, cx) {
                    self.session.handle_input(Input::Stop(subscription, Some(error)));
                }
            }
            Event::SubscribeAgain { id, name } => {
                if self.registry.publication(&name).is_none() {
                    self.session.refuse(&id, &DdpError::subscription_not_found(&name));
                }
            }
            Event::Unsubscribe(subscription) => running.unsubscribe(subscription),
            Event::Rerun(renamed) => {
                running.rerun(renamed);
                self.start_some(cx);
            }
            Event::RerunDone => running.rerun_done(),
            Event::Call { call, method, params, random_seed } => {
                running.call(call, method, params, random_seed.as_deref(), cx);
            }
        }
    }
}

impl Drive for Driver {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_end(cx).map(|end| self.end = end)
    }

    fn deliver(&mut self) -> bool {
        if self.has_left() || !self.outbound.has_room() {
            return false;
        }
        let alone = self.mailbox.take_alone();
        if alone.is_none() {
            if !self.mailbox.take_steps(&mut self.tray.mail) {
                return false;
            }
            if self.tray.mail.is_empty() {
                return true;
            }
        }
        let Self { session, outbound, tray, inbound, .. } = self;
        delivery::deliver(session, outbound, alone, &mut tray.mail);
        let is_pending = outbound.poll_write(&mut Context::from_waker(&self.waker)).is_pending();
        inbound.note_large(session, outbound);
        let is_pending = is_pending && tray.mail.is_empty() && !session.has_more();
        is_pending && outbound.is_empty() && outbound.stalled_since().is_none()
    }

    fn has_settled(&self) -> bool {
        // Large messages have turns of their own, and one that is given must be taken at once.
        let has_large = self.inbound.waits(&self.outbound.transport) || self.tray.waits();
        let has_begun = self.has_asked && self.session.is_ready() && !self.session.is_busy();
        has_large || has_begun && self.outbound.is_empty()
    }

    fn end(self: Box<Self>) -> BoxFuture<'static, ()> {
        let Self { end, running, outbound, inbound, session, registry, .. } = *self;
        end.finish(session, running, outbound, inbound, registry)
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Driver").field(&self.session.id()).finish()
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests;
