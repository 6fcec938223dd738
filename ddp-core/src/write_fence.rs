//! The write fence: when has everything that a method wrote been sent?
//!
//! ```
//! use ddp_core::WriteFence;
//!
//! let mut fence = WriteFence::default();
//! fence.begin_write();
//! assert!(!fence.arm(), "the method has returned, but its write is still on its way");
//! assert!(fence.end_write(), "now the client may be told `updated`");
//! ```

/// Counts a method's writes, as Meteor's `WriteFence` does.
///
/// Writes start while the method runs. The end of the method arms the fence; from then on it fires,
/// once, as soon as no write is outstanding.
#[derive(Debug, Default)]
pub struct WriteFence {
    outstanding: usize,
    armed: bool,
    fired: bool,
}

impl WriteFence {
    /// A write starts. If the fence has fired already, it is not waited for.
    pub fn begin_write(&mut self) {
        self.outstanding += 1;
    }

    /// A write was delivered to the sessions, or failed. True if this fires the fence.
    pub fn end_write(&mut self) -> bool {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.try_fire()
    }

    /// The method has ended. True if this fires the fence.
    pub fn arm(&mut self) -> bool {
        self.armed = true;
        self.try_fire()
    }

    fn try_fire(&mut self) -> bool {
        let fires = self.armed && self.outstanding == 0 && !self.fired;
        self.fired |= fires;
        fires
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fires_once_when_armed_and_nothing_is_outstanding() {
        let mut fence = WriteFence::default();
        fence.begin_write();
        fence.begin_write();
        assert!(!fence.end_write());
        assert!(!fence.arm());
        assert!(fence.end_write());
        fence.begin_write();
        assert!(!fence.end_write());

        assert!(WriteFence::default().arm());
    }
}
