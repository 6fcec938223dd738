//! Names and addresses: whose they are, and that nobody else gets them.

use std::collections::{HashMap, HashSet};

/// Letters without regard to case, one by one, so that no letter depends on its neighbours.
pub(super) fn fold(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// What is unique without regard to case. An exact spelling is found first, and another one if it is
/// the only one.
#[derive(Debug, Default)]
pub(super) struct Unique {
    /// By the fold: spellings, and whose they are. More than one only if one of them was
    /// skipped.
    owners: HashMap<String, Vec<(String, String)>>,
    /// Spellings that may be had beside others that differ from them in case only.
    skipped: HashSet<String>,
}

impl Unique {
    /// Whose it is.
    pub(super) fn find(&self, text: &str) -> Option<&String> {
        let owners = self.owners.get(&fold(text))?;
        let exact = owners.iter().find(|(spelling, _)| spelling == text);
        let owner = exact.or(if let [owner] = &owners[..] { Some(owner) } else { None });
        owner.map(|(_, user_id)| user_id)
    }

    /// Whether somebody else than this user has it.
    pub(super) fn is_taken(&self, text: &str, user_id: &str) -> bool {
        let Some(owners) = self.owners.get(&fold(text)) else { return false };
        owners.iter().any(|(spelling, owner)| {
            owner != user_id && (spelling == text || !self.skipped.contains(text))
        })
    }

    /// Whether this spelling may be had beside others that differ from it in case only.
    #[cfg(feature = "testing")]
    pub(super) fn skip(&mut self, text: &str, is_skipped: bool) {
        if is_skipped {
            self.skipped.insert(text.to_owned());
        } else {
            self.skipped.remove(text);
        }
    }

    /// Gives it to a user, in place of another spelling of it.
    pub(super) fn insert(&mut self, text: &str, user_id: &str) {
        let owners = self.owners.entry(fold(text)).or_default();
        owners.retain(|(_, owner)| owner != user_id);
        owners.push((text.to_owned(), user_id.to_owned()));
    }

    /// Gives it to a user beside other spellings of it.
    #[cfg(feature = "testing")]
    pub(super) fn add(&mut self, text: &str, user_id: &str) {
        self.owners.entry(fold(text)).or_default().push((text.to_owned(), user_id.to_owned()));
    }

    /// Takes it from a user.
    pub(super) fn remove(&mut self, text: &str, user_id: &str) {
        let folded = fold(text);
        let Some(owners) = self.owners.get_mut(&folded) else { return };
        owners.retain(|(_, owner)| owner != user_id);
        if owners.is_empty() {
            self.owners.remove(&folded);
        }
    }
}
