//! What a connection's task waits for.

use std::task::{Context, Poll};
use std::time::Instant;

use super::{Driver, Wake};
use crate::connection::mailbox::EndReason;
use crate::transport::Transport;

/// How many messages are read before what they made is written.
const MESSAGES_PER_WRITE: usize = 32;

impl Driver {
    /// Waits for whatever comes first. While too much waits for the socket, it reads nothing and
    /// takes no mail, so that a slow client costs no memory.
    pub(super) fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        self.is_draining = self.mailbox.is_draining();
        if self.is_draining && !self.session.is_busy() {
            self.mailbox.request_end();
        }
        if let Some(reason) = self.mailbox.take_end(&mut self.tray.mail) {
            return self.poll_ending(reason, cx);
        }
        if self.messages_since_write >= MESSAGES_PER_WRITE
            && let Poll::Ready(gone) = self.poll_write(cx)
        {
            return Poll::Ready(gone);
        }
        // Looked at once, for others of its address change it at any time: what is read and taken below
        // must not meet documents that are left.
        let has_room = self.outbound.has_room();
        if self.goes_on(has_room) {
            return Poll::Ready(Wake::Mail);
        }
        let has_more = self.messages_since_write > 0 || self.running.has_to_start();
        let is_tired = has_more && self.inbound.is_tired();
        if self.running.has_to_start() && !is_tired {
            return Poll::Ready(Wake::Rerun);
        }
        if has_room
            && !is_tired
            && let Poll::Ready(wake) = self.poll_mail_and_messages(cx)
        {
            self.messages_since_write += 1;
            return Poll::Ready(wake);
        }
        if !has_room && let Poll::Ready(wake) = self.poll_paused(cx) {
            return Poll::Ready(wake);
        }
        if has_more {
            // One more look before resting: whoever calls one method after the other has often sent
            // the next by then, and looking costs less than falling asleep and being woken.
            cx.waker().wake_by_ref();
        }
        if let Poll::Ready(gone) = self.poll_write(cx) {
            return Poll::Ready(gone);
        }
        if self.outbound.transport.is_held_back() || self.inbound.holds_back(&self.session) {
            self.outbound.note_behind();
        }
        if !has_room {
            self.outbound.note_behind();
            if self.outbound.has_room() {
                // There is room now; look at once what was left for later.
                cx.waker().wake_by_ref();
            }
        }
        let timer = self.poll_timer(cx);
        if timer.is_pending()
            && (!self.mailbox.rest(cx.waker(), has_room && !self.tray.waits())
                || self.mailbox.is_draining() != self.is_draining)
        {
            // It came after it was looked for.
            cx.waker().wake_by_ref();
        }
        timer
    }

    /// Nothing is taken for a while.
    fn poll_paused(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        self.tray.pause();
        if let Poll::Ready(late) = self.inbound.poll_no_more(cx) {
            return Poll::Ready(Wake::Memory(late));
        }
        let paused = self.inbound.poll_paused(&mut self.outbound.transport, cx);
        paused.map(|error| Wake::Gone(Some(error)))
    }

    /// The end has come. If it was asked for, the last mail and the documents that are left still go out
    /// as the client takes them, for as long as closing may take.
    fn poll_ending(&mut self, reason: EndReason, cx: &mut Context<'_>) -> Poll<Wake> {
        if reason == EndReason::Behind || !self.has_left() {
            return Poll::Ready(Wake::End(reason));
        }
        if !std::mem::replace(&mut self.is_ending, true) {
            let close_timeout = self.registry.config.close_timeout;
            self.timer.as_mut().reset(tokio::time::Instant::now() + close_timeout);
        }
        if !self.outbound.has_room()
            && let Poll::Ready(gone) = self.poll_write(cx)
        {
            return Poll::Ready(gone);
        }
        if self.outbound.has_room() {
            return Poll::Ready(Wake::Mail);
        }
        self.timer.as_mut().poll(cx).map(|()| Wake::End(reason))
    }

    /// Takes mail or a message, by turns if there are both.
    fn poll_mail_and_messages(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        let mail_is_next = std::mem::replace(&mut self.mail_is_next, true);
        if mail_is_next && self.poll_mail(cx) {
            self.mail_is_next = false;
            return Poll::Ready(Wake::Mail);
        }
        if let Poll::Ready(more) = self.inbound.poll_more(&self.session, cx) {
            return Poll::Ready(Wake::Memory(more));
        }
        self.inbound.before(&mut self.session);
        if !self.session.wants_input() || self.is_draining {
            let paused = self.inbound.poll_paused(&mut self.outbound.transport, cx);
            if let Poll::Ready(error) = paused {
                return Poll::Ready(Wake::Gone(Some(error)));
            }
        } else if let Poll::Ready(received) =
            self.inbound.poll_message(&mut self.outbound.transport, &self.registry.large, cx)
        {
            return Poll::Ready(match received {
                Ok(Some(text)) => Wake::Message(text),
                Ok(None) => Wake::Gone(None),
                Err(error) => Wake::Gone(Some(error)),
            });
        }
        if !mail_is_next && self.poll_mail(cx) {
            return Poll::Ready(Wake::Mail);
        }
        Poll::Pending
    }

    fn poll_mail(&mut self, cx: &mut Context<'_>) -> bool {
        self.tray.poll(&self.mailbox, &self.registry.large, self.running.address(), cx)
    }

    /// Writes what the socket takes. Ready only if the socket failed.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        self.messages_since_write = 0;
        let failed = self.outbound.poll_write(cx).map(|error| Wake::Gone(Some(error.into())));
        self.inbound.note_large(&self.session, &self.outbound);
        failed
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        let write_timeout = self.registry.config.write_timeout;
        let stalled = self.outbound.gives_up_at(write_timeout);
        let Some(next) = [self.deadline, stalled].into_iter().flatten().min() else {
            return Poll::Pending;
        };
        if self.timer.deadline().into_std() != next {
            self.timer.as_mut().reset(next.into());
        }
        if self.timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let is_stalled = stalled.is_some_and(|stalled| stalled <= Instant::now());
        Poll::Ready(if is_stalled { Wake::Stalled } else { Wake::Timer })
    }
}
