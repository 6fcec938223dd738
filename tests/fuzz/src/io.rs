//! A stream whose input is available from the start.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Reads and writes in chunks of repeating sizes.
#[derive(Debug)]
pub struct Chunks {
    input: Arc<[u8]>,
    at: usize,
    sizes: Vec<usize>,
    calls: usize,
    written: Written,
}

/// What was written.
#[derive(Clone, Debug, Default)]
pub struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    /// What was written since the last time.
    #[must_use]
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Chunks {
    /// A stream with this input. A chunk of size 0 stands for a socket that is not ready.
    #[must_use]
    pub fn new(input: Arc<[u8]>, sizes: Vec<usize>) -> (Self, Written) {
        let written = Written::default();
        (Self { input, at: 0, sizes, calls: 0, written: written.clone() }, written)
    }

    /// How many bytes may pass now; `None` after it has arranged for the task to be woken.
    fn next_size(&mut self, cx: &Context<'_>) -> Option<usize> {
        let size = self.sizes.get(self.calls % self.sizes.len().max(1)).copied();
        self.calls += 1;
        let size = size.unwrap_or(usize::MAX);
        if size == 0 {
            cx.waker().wake_by_ref();
            return None;
        }
        Some(size)
    }
}

impl AsyncRead for Chunks {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(size) = self.next_size(cx) else { return Poll::Pending };
        let size = size.min(self.input.len() - self.at).min(buffer.remaining());
        buffer.put_slice(&self.input[self.at..self.at + size]);
        self.at += size;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Chunks {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some(size) = self.next_size(cx) else { return Poll::Pending };
        let size = size.min(bytes.len());
        let mut written = self.written.0.lock().unwrap_or_else(PoisonError::into_inner);
        written.extend_from_slice(&bytes[..size]);
        Poll::Ready(Ok(size))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
