//! Codes of an authenticator app: TOTP of RFC 6238 with HMAC-SHA-1, 6 digits and steps of 30 seconds.

use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use subtle::ConstantTimeEq;

use crate::ejson::Date;
use crate::random;

/// How many digits a code has.
pub(super) const DIGITS: usize = 6;

const STEP_MS: i64 = 30_000;

/// How many steps a code may be early or late, as in Meteor: 5 minutes.
const WINDOW: u64 = 10;

/// As many bytes as SHA-1 gives.
const SECRET_BYTES: usize = 20;

/// A new secret as base32, which is what apps take: 32 letters.
pub(super) fn new_secret() -> String {
    let mut secret = [0; SECRET_BYTES];
    random::fill(&mut secret);
    BASE32_NOPAD.encode(&secret)
}

/// The bytes of a secret as Meteor stores it, perhaps in small letters or in groups. As for Meteor, bits
/// that make no whole byte count for nothing.
pub(super) fn decode(secret: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for letter in secret.bytes().filter(u8::is_ascii_alphanumeric) {
        let value = match letter.to_ascii_uppercase() {
            letter @ b'A'..=b'Z' => letter - b'A',
            digit @ b'2'..=b'7' => digit - b'2' + 26,
            _ => return None,
        };
        bits = (bits << 5 | u32::from(value)) & 0xfff;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    (!bytes.is_empty()).then_some(bytes)
}

/// The step of a time.
pub(super) fn step_at(date: Date) -> u64 {
    u64::try_from(date.millis().unwrap_or_default() / STEP_MS).unwrap_or_default()
}

/// The code of a step.
pub(in crate::accounts) fn code(secret: &[u8], step: u64) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret).expect("a key of any length");
    mac.update(&step.to_be_bytes());
    let hash: [u8; 20] = mac.finalize().into_bytes().into();
    let at = usize::from(hash[19] & 0xf);
    let number = [hash[at] & 0x7f, hash[at + 1], hash[at + 2], hash[at + 3]];
    format!("{:06}", u32::from_be_bytes(number) % 1_000_000)
}

/// The step that a code is for, if it is one around this one and later than the last one that was
/// used. If there are several, it is the last of them, so that the code does not work again.
pub(super) fn step_of(secret: &[u8], sent: &str, now: u64, last: Option<u64>) -> Option<u64> {
    let steps = now.saturating_sub(WINDOW)..=now.saturating_add(WINDOW);
    // Each is compared, so that the time tells nothing.
    let mut found = None;
    for step in steps.filter(|step| last.is_none_or(|last| *step > last)) {
        if code(secret, step).as_bytes().ct_eq(sent.as_bytes()).into() {
            found = Some(step);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_rfc() {
        let secret = b"12345678901234567890";
        // The last six digits of the table in appendix B.
        for (seconds, expected) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            let step = step_at(Date::from_millis(seconds * 1000));
            assert_eq!(code(secret, step), expected);
        }
    }

    #[test]
    fn a_code_is_good_ten_steps_early_or_late_and_never_before_the_last() {
        let secret = b"12345678901234567890";
        let finds = |step: u64, last| step_of(secret, &code(secret, step), 1000, last);
        for (step, is_good) in
            [(989, false), (990, true), (1000, true), (1010, true), (1011, false)]
        {
            assert_eq!(finds(step, None).is_some(), is_good, "{step}");
        }
        assert_eq!(finds(1000, Some(999)), Some(1000));
        assert_eq!(finds(1000, Some(1000)), None);
        assert_eq!(finds(995, Some(1000)), None);
        assert_eq!(step_of(secret, &code(secret, 0), 0, None), Some(0));
        assert_eq!(step_of(secret, "", 1000, None), None);
    }

    #[test]
    fn secrets_are_read_as_meteor_wrote_them() {
        let secret = new_secret();
        assert_eq!(secret.len(), 32);
        assert_eq!(decode(&secret).map(|bytes| bytes.len()), Some(SECRET_BYTES));
        assert_eq!(decode("jbsw y3dp-ehpk 3pxp"), decode("JBSWY3DPEHPK3PXP"));
        assert_eq!(decode("shhhh").map(|bytes| bytes.len()), Some(3));
        for bad in ["", "-", "A", "0189"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
