//! The same messages in several framings, each made only once.

use std::sync::OnceLock;

use bytes::Bytes;

/// A list that grows, without locks, by one link for each requested framing.
///
/// Usually all clients use one framing. So the first link is stored inline, and finding it is as
/// cheap as in an array.
#[derive(Debug, Default)]
pub(super) struct Frames(OnceLock<Link>);

#[derive(Debug)]
struct Link {
    framing: usize,
    bytes: OnceLock<Bytes>,
    next: OnceLock<Box<Self>>,
}

impl Frames {
    /// The frames of one framing, made by `encode` the first time. Others that want the same frames
    /// wait for it; those that want another framing do not.
    pub(super) fn get_or_init(&self, framing: usize, encode: impl FnOnce() -> Bytes) -> &Bytes {
        let mut link = self.0.get_or_init(|| Link::new(framing));
        while link.framing != framing {
            link = link.next.get_or_init(|| Box::new(Link::new(framing)));
        }
        link.bytes.get_or_init(encode)
    }
}

impl Link {
    fn new(framing: usize) -> Self {
        Self { framing, bytes: OnceLock::new(), next: OnceLock::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn each_framing_is_encoded_once_whoever_comes_first() {
        let frames = Frames::default();
        let encoded = AtomicUsize::new(0);
        let text = |framing: usize| Bytes::from(format!("frames {framing}"));
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (frames, encoded) = (&frames, &encoded);
                scope.spawn(move || {
                    for turn in 0..1000 {
                        let framing = (thread + turn) % 5;
                        let bytes = frames.get_or_init(framing, || {
                            encoded.fetch_add(1, Ordering::Relaxed);
                            text(framing)
                        });
                        assert_eq!(*bytes, text(framing));
                    }
                });
            }
        });
        assert_eq!(encoded.into_inner(), 5);
    }
}
