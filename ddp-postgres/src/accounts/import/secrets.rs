//! What must not lie open in the records of login services.

use ddp_server::accounts::Sealer;
use ddp_server::ejson::{Ejson, Object};

use super::losses::{Losses, Why};

/// Encrypts the secrets of one service and user, such as `accessToken`. Without a key they are left out.
pub(super) struct Secrets<'a> {
    pub(super) sealer: &'a Sealer,
    pub(super) service: &'a str,
    pub(super) user_id: &'a str,
}

impl Secrets<'_> {
    /// The members of a record, whose path ends with a dot.
    pub(super) fn protect(&self, members: Object, path: &str, losses: &mut Losses) -> Object {
        self.members(members, false, path, losses)
    }

    fn members(&self, members: Object, is_within: bool, path: &str, losses: &mut Losses) -> Object {
        let mut kept = Object::with_capacity(members.len());
        for (name, value) in members {
            let is_secret = is_within || is_secret(&name);
            let value = self.value(value, is_secret, &format!("{path}{name}"), losses);
            kept.extend(value.map(|value| (name, value)));
        }
        kept
    }

    fn value(
        &self,
        value: Ejson,
        is_secret: bool,
        path: &str,
        losses: &mut Losses,
    ) -> Option<Ejson> {
        if is_sealed(&value) {
            let opened = self.sealer.open_meteor(&value, self.user_id);
            let Some(Ejson::String(secret)) = opened else {
                losses.field(path, Why::Sealed);
                return None;
            };
            return Some(self.sealer.seal(&secret, self.service, self.user_id));
        }
        match value {
            Ejson::String(secret) if is_secret && self.sealer.has_key() => {
                Some(self.sealer.seal(&secret, self.service, self.user_id))
            }
            Ejson::String(_) if is_secret => {
                losses.field(path, Why::NoKey);
                None
            }
            Ejson::Binary(_) | Ejson::Custom { .. } | Ejson::RegExp { .. } if is_secret => {
                losses.field(path, Why::Form);
                None
            }
            Ejson::Object(members) => {
                let members = self.members(members, is_secret, &format!("{path}."), losses);
                Some(Ejson::Object(members))
            }
            Ejson::Array(items) => {
                let item = |item| self.value(item, is_secret, path, losses);
                Some(Ejson::Array(items.into_iter().filter_map(item).collect()))
            }
            other => Some(other),
        }
    }
}

/// Whether a member of this name is for nobody to read: `accessToken`, `refreshToken`, `secret`, ….
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["token", "secret", "password", "privatekey"].iter().any(|word| name.contains(word))
}

/// Whether Meteor's `oauth-encryption` has made it.
fn is_sealed(value: &Ejson) -> bool {
    let is_text = |name: &&str| value.get(name).and_then(Ejson::as_str).is_some();
    ["iv", "ciphertext", "algorithm", "authTag"].iter().all(is_text)
}

#[cfg(test)]
mod tests {
    use ddp_server::ejson;

    use super::*;

    const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";
    const RECORD: &str = r#"{"email":"a@example.com","accessToken":"one","expiresAt":5,"scope":["a"],
        "tokens":{"refresh":"two","list":["three"],"bytes":{"$binary":"AQID"}},
        "more":[{"idToken":"four","name":"Ada"}],"tokenExpires":null}"#;
    /// For the user `ada`, made by Node's `crypto` in the way of `oauth-encryption`.
    const SEALED: &str = r#"{"secret":{"iv":"lkTEZFqIfk2wudDs","ciphertext":
        "Ld0ctBJcRF6YYDWW8wmJJQY9ZLdKHE+f1eggRPrxn2uNKRZhOw==","algorithm":"aes-128-gcm",
        "authTag":"dDxY7JKRjbjTrDulq3ZKdw=="}}"#;

    fn protect(record: &str, sealer: &Sealer, user_id: &str) -> (Ejson, Vec<String>) {
        let Ejson::Object(record) = ejson::parse(record).unwrap() else { panic!("an object") };
        let mut losses = Losses::default();
        let secrets = Secrets { sealer, service: "google", user_id };
        let kept = secrets.protect(record, "g.", &mut losses);
        let lost = losses.fields.into_iter().map(|(name, why)| format!("{name} {why:?}"));
        (Ejson::Object(kept), lost.collect())
    }

    #[test]
    fn secrets_are_encrypted_wherever_they_are() {
        let sealer = Sealer::new(KEY).unwrap();
        let (kept, lost) = protect(RECORD, &sealer, "ada");
        assert_eq!(lost, ["g.tokens.bytes Form"]);
        let text = kept.to_text();
        for secret in ["one", "two", "three", "four"] {
            assert!(!text.contains(&format!("\"{secret}\"")), "{text}");
        }
        let open = |value: &Ejson| sealer.open(value, "google", "ada");
        let at = |path: &[&str]| path.iter().fold(&kept, |value, name| value.get(name).unwrap());
        assert_eq!(open(at(&["accessToken"])).as_deref(), Some("one"));
        assert_eq!(open(at(&["tokens", "refresh"])).as_deref(), Some("two"));
        let list = at(&["tokens", "list"]).as_array().unwrap();
        assert_eq!(open(&list[0]).as_deref(), Some("three"));
        let more = &at(&["more"]).as_array().unwrap()[0];
        assert_eq!(open(more.get("idToken").unwrap()).as_deref(), Some("four"));
        assert_eq!(more.get("name").unwrap().as_str(), Some("Ada"));
        assert_eq!(at(&["email"]).as_str(), Some("a@example.com"));
    }

    #[test]
    fn without_a_key_secrets_are_left_out() {
        let (kept, lost) = protect(RECORD, &Sealer::default(), "ada");
        let rest = r#"{"email":"a@example.com","expiresAt":5,"scope":["a"],"tokens":{"list":[]},"more":[{"name":"Ada"}],"tokenExpires":null}"#;
        assert_eq!(kept.to_text(), rest);
        let expected = [
            "g.accessToken NoKey",
            "g.more.idToken NoKey",
            "g.tokens.bytes Form",
            "g.tokens.list NoKey",
            "g.tokens.refresh NoKey",
        ];
        assert_eq!(lost, expected);
    }

    #[test]
    fn what_meteor_has_encrypted_is_encrypted_anew() {
        let sealer = Sealer::new(KEY).unwrap();
        let (kept, lost) = protect(SEALED, &sealer, "ada");
        let opened = sealer.open(kept.get("secret").unwrap(), "google", "ada");
        assert_eq!((opened.as_deref(), lost.len()), (Some("ya29.access"), 0));
        for (sealer, user_id) in [(&sealer, "alan"), (&Sealer::default(), "ada")] {
            let (kept, lost) = protect(SEALED, sealer, user_id);
            assert_eq!((kept.to_text().as_str(), lost), ("{}", vec!["g.secret Sealed".to_owned()]));
        }
    }
}
