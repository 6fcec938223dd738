//! What an authenticator app scans: the address of a secret, and its picture.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use qrcodegen::{QrCode, QrCodeEcc};

use crate::error::Error;

/// What JavaScript's `encodeURIComponent` leaves as it is.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// The most bytes of an application's name, and what is shown of a user's: more makes a picture that
/// cameras do not read.
pub(in crate::accounts) const NAME_BYTES_MAX: usize = 64;

/// The blank edge that the standard wants, in modules.
const QUIET: i32 = 4;

/// `otpauth://totp/APP:ACCOUNT?secret=…&issuer=APP`.
pub(super) fn uri(app: &str, account: &str, secret: &str) -> String {
    let encode = |text| utf8_percent_encode(text, COMPONENT);
    let account = encode(&account[..account.floor_char_boundary(NAME_BYTES_MAX)]);
    if app.is_empty() {
        return format!("otpauth://totp/{account}?secret={secret}");
    }
    let app = encode(app);
    format!("otpauth://totp/{app}%3A{account}?secret={secret}&issuer={app}")
}

/// A QR code as a whole SVG document.
pub(super) fn svg(text: &str) -> Result<String, Error> {
    let picture = QrCode::encode_text(text, QrCodeEcc::Low)
        .map_err(|_| Error::internal("the address of a second factor is too long for a picture"))?;
    let (size, mut path) = (picture.size(), String::new());
    for y in 0..size {
        let mut x = 0;
        while x < size {
            let dark = (x..size).take_while(|x| picture.get_module(*x, y)).count();
            let dark = i32::try_from(dark).expect("a picture has at most 177 columns");
            if dark > 0 {
                write!(path, "M{} {}h{dark}v1h-{dark}z", x + QUIET, y + QUIET)
                    .expect("a string can be written to");
            }
            x += dark.max(1);
        }
    }
    let size = size + 2 * QUIET;
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" version=\"1.1\" width=\"256\" height=\"256\" \
         viewBox=\"0 0 {size} {size}\" shape-rendering=\"crispEdges\"><rect width=\"{size}\" \
         height=\"{size}\" fill=\"#ffffff\"/><path d=\"{path}\" fill=\"#000000\"/></svg>"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_meteors() {
        assert_eq!(
            uri("My & App", "ada", "JBSWY3DP"),
            "otpauth://totp/My%20%26%20App%3Aada?secret=JBSWY3DP&issuer=My%20%26%20App"
        );
        assert_eq!(uri("", "a@b.c", "JBSWY3DP"), "otpauth://totp/a%40b.c?secret=JBSWY3DP");
        // Not cut within a letter.
        assert_eq!(uri("", &"€".repeat(40), "A").matches("%E2%82%AC").count(), NAME_BYTES_MAX / 3);
    }

    #[test]
    fn the_longest_names_have_a_picture() {
        let name = "\u{1f600}".repeat(NAME_BYTES_MAX / 4);
        let picture = svg(&uri(&name, &name.repeat(9), &"A".repeat(32))).unwrap();
        assert!(picture.len() < 64 * 1024, "{}", picture.len());
    }

    /// Draws the picture again, and compares each module.
    #[test]
    fn the_picture_has_the_modules_of_the_code() {
        let text = uri("App", "ada", "JBSWY3DPEHPK3PXP");
        let picture = svg(&text).unwrap();
        let path = picture.split(" d=\"").nth(1).unwrap().split('"').next().unwrap();
        let mut dark = std::collections::HashSet::new();
        for run in path.split('M').skip(1) {
            let numbers = run.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
            let numbers: Vec<i32> = numbers.map(|part| part.parse().unwrap()).collect();
            dark.extend(
                (numbers[0]..numbers[0] + numbers[2]).map(|x| (x - QUIET, numbers[1] - QUIET)),
            );
        }
        let code = QrCode::encode_text(&text, QrCodeEcc::Low).unwrap();
        for y in 0..code.size() {
            for x in 0..code.size() {
                assert_eq!(dark.contains(&(x, y)), code.get_module(x, y), "{x} {y}");
            }
        }
    }
}
