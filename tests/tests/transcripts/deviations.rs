//! Where this server deviates from Meteor on purpose.

/// What this server sends in the place of one block of a transcript.
pub(crate) struct Deviation {
    pub(crate) transcript: &'static str,
    /// Counted from 1.
    pub(crate) block: usize,
    #[expect(dead_code, reason = "for people")]
    pub(crate) reason: &'static str,
    /// Lines as in transcripts.
    pub(crate) ours: &'static [&'static str],
}

pub(crate) const DEVIATIONS: &[Deviation] = &[];

/// Transcripts that cannot be replayed, and why.
pub(crate) const NOT_REPLAYED: &[(&str, &str)] = &[];
