//! Version negotiation.
//!
//! ```
//! use ddp_core::Version;
//!
//! let support = ["pre2".to_owned(), "1".to_owned()];
//! assert_eq!(Version::negotiate(Some("pre2"), Some(&support)), Ok(Version::Pre2));
//! // The client proposes what it likes less: it is told what to try instead.
//! assert_eq!(Version::negotiate(Some("1"), Some(&support)), Err(Version::Pre2));
//! ```

use std::fmt;

/// A version of DDP that this server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `1`, spoken by every Meteor since 1.0.
    V1,
    /// `pre2`, the same under another name.
    Pre2,
    /// `pre1`, which knows no heartbeats.
    Pre1,
}

impl Version {
    /// The versions that the server speaks, the best first.
    pub const SUPPORTED: [Self; 3] = [Self::V1, Self::Pre2, Self::Pre1];

    /// The name used in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "1",
            Self::Pre2 => "pre2",
            Self::Pre1 => "pre1",
        }
    }

    /// Whether the version knows `ping` and `pong`.
    #[must_use]
    pub fn has_heartbeats(self) -> bool {
        self != Self::Pre1
    }

    /// Agrees on a version like Meteor's server: the first of the client's `support` that the
    /// server speaks, provided that the client proposed exactly that one.
    ///
    /// # Errors
    /// The version that the client should try instead, for the `failed` message.
    pub fn negotiate(proposed: Option<&str>, support: Option<&[String]>) -> Result<Self, Self> {
        let best = Self::SUPPORTED[0];
        let (Some(proposed), Some(support)) = (proposed, support) else { return Err(best) };
        if !support.iter().any(|version| version == proposed) {
            return Err(best);
        }
        let common = support
            .iter()
            .find_map(|name| Self::SUPPORTED.into_iter().find(|version| version.as_str() == name));
        match common {
            Some(version) if version.as_str() == proposed => Ok(version),
            Some(version) => Err(version),
            None => Err(best),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_first_supported_version_wins() {
        let negotiate = |proposed: &str, support: &[&str]| {
            let support: Vec<String> = support.iter().map(|&s| s.to_owned()).collect();
            Version::negotiate(Some(proposed), Some(&support))
        };
        assert_eq!(negotiate("1", &["1", "pre2", "pre1"]), Ok(Version::V1));
        assert_eq!(negotiate("pre2", &["pre2", "pre1"]), Ok(Version::Pre2));
        assert_eq!(negotiate("pre1", &["pre1"]), Ok(Version::Pre1));
        assert_eq!(negotiate("pre1", &["1", "pre1"]), Err(Version::V1));
        assert_eq!(negotiate("2", &["2", "pre2"]), Err(Version::Pre2));
        assert_eq!(negotiate("2", &["2"]), Err(Version::V1));
        assert_eq!(negotiate("1", &["pre2"]), Err(Version::V1));
        assert_eq!(Version::negotiate(None, Some(&["1".to_owned()])), Err(Version::V1));
        assert_eq!(Version::negotiate(Some("1"), None), Err(Version::V1));
    }
}
