//! Users in each shape that Meteor gives them, in each form that `mongoexport` has had.

use std::time::SystemTime;

use ddp_server::ejson::Date;
use serde_json::{Value, json};

/// How `mongoexport` writes values.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// Version 2, with `--jsonFormat canonical`.
    Canonical,
    /// Version 2, as it is by default.
    Relaxed,
    /// Version 1, before 4.2.
    Old,
}

/// `SHA-256` of this is what clients send, and what is hashed by bcrypt and Argon2.
pub(crate) const DIGEST: &str = "9ae82d97eba6f44eca8f6fa322fa2351538acd03fceacf60bbfa78b3090aa190";
pub(crate) const BCRYPT: &str = "$2b$04$CVzwkQLhgaeq0p09U1fO6OLueOzVfbMKQMnItbeUVy9LI9kGSFfsu";
pub(crate) const ARGON2: &str = "$argon2id$v=19$m=64,t=1,p=1$C6uI0H0JGcjqM7MPjv4daw$6T0OcIFOuaotJy2rGRh0CeNtm+CINT8pPsgmeyY/C/s";

pub(crate) const ADA: &str = "6bjBdidQrjM7t2g5J";
pub(crate) const GRACE: &str = "gracegracegrace17";
pub(crate) const LINUS: &str = "PAewJbfFRWoSmDv58";
pub(crate) const BARBARA: &str = "507f1f77bcf86cd799439011";

/// A login token, and its hash as Meteor stores it.
pub(crate) const TOKEN: &str = "password";
const TOKEN_HASH: &str = "XohImNooBHFR0OVvjcYpJ3NgPQ1qq73WKhHvch0VQtg=";

pub(crate) const UNHASHED: &str = "an-old-login-token-that-was-never-hashed-43";
pub(crate) const RESET: &str = "a-token-that-resets-a-password-and-is-plain";
pub(crate) const VERIFY: &str = "a-token-that-verifies-an-address-in-a-mail-";
pub(crate) const ENROLL: &str = "a-token-by-which-somebody-is-to-be-enrolled";
pub(crate) const TOTP: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
pub(crate) const ACCESS: &str = "ya29.an-access-token";

/// Mailed to linus@example.com, and the hash of both, by `sha256sum`.
pub(crate) const SEQUENCE: &str = "ABCDEF";
const SEQUENCE_HASH: &str = "aae669c720164f2bd14e4b183cb644807d01517b5921eb0ec45c3f63e8dc6226";

pub(crate) fn now() -> i64 {
    Date::from(SystemTime::now()).millis().expect("the clock shows a date")
}

impl Form {
    pub(crate) const ALL: [Self; 3] = [Self::Canonical, Self::Relaxed, Self::Old];

    fn date(self, millis: i64) -> Value {
        let iso = Date::from_millis(millis).to_iso().expect("a date");
        match self {
            Self::Canonical => json!({"$date": {"$numberLong": millis.to_string()}}),
            Self::Relaxed => json!({"$date": iso}),
            Self::Old => json!({"$date": iso.replace('Z', "+0000")}),
        }
    }

    fn integer(self, number: i32) -> Value {
        match self {
            Self::Canonical => json!({"$numberInt": number.to_string()}),
            Self::Relaxed => json!(number),
            Self::Old => json!({"$numberLong": number.to_string()}),
        }
    }

    fn double(self, number: f64) -> Value {
        match self {
            Self::Canonical => json!({"$numberDouble": number.to_string()}),
            Self::Relaxed | Self::Old => json!(number),
        }
    }

    fn bytes(self, base64: &str) -> Value {
        match self {
            Self::Canonical | Self::Relaxed => {
                json!({"$binary": {"base64": base64, "subType": "00"}})
            }
            Self::Old => json!({"$binary": base64, "$type": "00"}),
        }
    }

    /// With a password of bcrypt, all kinds of tokens, and a profile with all kinds of values.
    fn ada(self) -> Value {
        let soon = self.date(now() - 60_000);
        json!({
            "_id": ADA,
            "createdAt": self.date(1_704_067_200_123),
            "username": "Ada",
            "emails": [
                {"address": "Ada@example.com", "verified": false},
                {"address": "ada@example.org", "verified": true},
            ],
            "profile": {
                "name": "Ada \"the first\"",
                "born": self.date(-4_858_185_600_000),
                "picture": self.bytes("AQID"),
                "score": self.integer(7),
                "ratio": self.double(48.856_614_000_000_01),
                "friend": {"$oid": BARBARA},
                "nested": [{"at": self.date(-1)}],
            },
            "services": {
                "password": {
                    "bcrypt": BCRYPT,
                    "reset": {"token": RESET, "email": "Ada@example.com", "when": soon, "reason": "reset"},
                },
                "resume": {
                    "loginTokens": [
                        {"when": soon, "hashedToken": TOKEN_HASH},
                        {"when": self.double(now() as f64 - 60_000.0), "token": UNHASHED},
                    ],
                    "haveLoginTokensToDelete": true,
                },
                "email": {"verificationTokens": [
                    {"token": VERIFY, "address": "Ada@example.com", "when": soon}
                ]},
            },
        })
    }

    /// With a password of Argon2, a second factor and a login service.
    fn grace(self) -> Value {
        json!({
            "_id": GRACE,
            "createdAt": self.date(1_704_067_200_000),
            "username": "grace",
            "services": {
                "password": {"argon2": ARGON2},
                "twoFactorAuthentication": {"secret": TOTP, "type": "otp"},
                "google": {
                    "id": "1084",
                    "accessToken": ACCESS,
                    // Made by Node's `crypto` in the way of `oauth-encryption`.
                    "idToken": {
                        "iv": "lW/uhRIJHUXMZCcl",
                        "ciphertext": "xwKWGy4mrT38kDvncoqsH0K5YZmLXTlkFGMzRVH4h0BVfMFrlv9ZTmzOSyAgB3cCPW/z",
                        "algorithm": "aes-128-gcm",
                        "authTag": "ZKetE4LnDgc4ZEGKVoPitw==",
                    },
                    "expiresAt": self.double(1_704_067_200_000.0),
                    "email": "grace@example.com",
                },
                "github": {"id": self.integer(9), "username": "grace"},
            },
        })
    }

    /// Without a password, and with a token that was mailed to log in.
    fn linus(self) -> Value {
        json!({
            "_id": LINUS,
            "emails": [{"address": "linus@example.com", "verified": false}],
            "services": {"passwordless": {
                "createdAt": self.date(now() - 60_000),
                "token": "00".repeat(32),
                "tokens": [{"email": "linus@example.com", "token": SEQUENCE_HASH}],
                "isNewUser": true,
            }},
        })
    }

    /// With an ObjectID, and not enrolled yet, in the place where old versions kept that.
    fn barbara(self) -> Value {
        json!({
            "_id": {"$oid": BARBARA},
            "createdAt": self.date(now()),
            "emails": [{"address": "barbara@example.com", "verified": false}],
            "profile": {},
            "services": {"password": {"reset": {
                "token": ENROLL,
                "email": "barbara@example.com",
                "when": self.date(now() - 10 * 24 * 60 * 60 * 1000),
                "reason": "enroll",
            }}},
        })
    }

    /// All of them, a line each.
    pub(crate) fn lines(self) -> String {
        lines([self.ada(), self.grace(), self.linus(), self.barbara()])
    }
}

/// Documents as lines.
pub(crate) fn lines(documents: impl IntoIterator<Item = Value>) -> String {
    documents.into_iter().map(|document| format!("{document}\n")).collect()
}

/// A user who has a number, and a login token.
pub(crate) fn numbered(number: usize) -> Value {
    json!({
        "_id": format!("user{number:013}"),
        "username": format!("user{number}"),
        "emails": [{"address": format!("user{number}@example.com"), "verified": true}],
        "services": {
            "password": {"bcrypt": BCRYPT},
            "resume": {"loginTokens": [
                {"when": {"$date": now()}, "token": format!("token of user {number}")}
            ]},
            "google": {"id": format!("g{number}")},
        },
    })
}
