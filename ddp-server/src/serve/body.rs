//! Bodies of requests that must keep coming.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::transport::Patience;

/// What has come at this speed extends the deadline by as long as it took.
const BYTES_PER_SECOND: u64 = 500;

/// A body with a deadline for the time that its reader spends waiting.
#[derive(Debug)]
pub(super) struct TimedBody<B = Incoming> {
    body: B,
    patience: Patience,
}

impl<B> TimedBody<B> {
    pub(super) fn new(body: B, timeout: Duration) -> Self {
        Self { body, patience: Patience::new(timeout, BYTES_PER_SECOND) }
    }
}

impl<B> Body for TimedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
            let bytes = data.map_or(0, Bytes::len);
            self.patience.goes_on(bytes);
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        ready!(self.patience.poll_over(cx));
        let error = io::Error::new(io::ErrorKind::TimedOut, "the body of the request is too slow");
        Poll::Ready(Some(Err(error.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
