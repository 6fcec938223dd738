//! Sessions as Django wrote them, and others.

mod written;

use std::io::Write;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use self::written::*;
use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Signs as Django does, whatever it is.
fn sign(salt: &str, text: &str, key: &str) -> Vec<u8> {
    let key = Sha256::new().chain_update(salt).chain_update(key).finalize();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// `signing.dumps` of any bytes.
fn dumps(data: &[u8], is_compressed: bool, salt: &str) -> String {
    let data = if is_compressed {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(data).unwrap();
        format!(".{}", BASE64URL_NOPAD.encode(&encoder.finish().unwrap()))
    } else {
        BASE64URL_NOPAD.encode(data)
    };
    signed(&format!("{data}:{TIME}"), salt)
}

fn signed(text: &str, salt: &str) -> String {
    let signature = sign(&format!("{salt}signer"), text, KEY);
    format!("{text}:{}", BASE64URL_NOPAD.encode(&signature))
}

fn of_table() -> DjangoSessions {
    DjangoSessions::database(KEY)
}

fn of_cookies() -> DjangoSessions {
    DjangoSessions::signed_cookies(KEY)
}

/// So much after Django signed.
fn after(duration: Duration) -> Date {
    Date::from_millis(WHEN * 1000 + i64::try_from(duration.as_millis()).unwrap())
}

fn read_row(session: &str) -> Result<SessionUser, Refusal> {
    of_table().read_row(Some(session))
}

fn read_cookie(cookie: &str) -> Result<SessionUser, Refusal> {
    of_cookies().read_cookie(cookie, after(DAY)).map(|(user, _)| user)
}

#[test]
fn what_django_wrote_is_read() {
    for session in [IN_TABLE, IN_TABLE_COMPRESSED] {
        let user = read_row(session).unwrap();
        assert_eq!(user.id, "7");
        assert_eq!(of_table().check_password(&user, Some(PASSWORD)), Ok(()));
    }
    let (user, expires) = of_cookies().read_cookie(COOKIE, after(DAY)).unwrap();
    assert_eq!((user.id.as_str(), expires), ("7", after(14 * DAY)));
    assert_eq!(of_cookies().check_password(&user, Some(PASSWORD)), Ok(()));
    assert_eq!(read_row(NOBODY), Err(Refusal::Nobody));
    assert_eq!(read_row(PICKLE), Err(Unreadable::Pickle.into()));
}

#[test]
fn another_password_ends_a_session() {
    let user = read_row(IN_TABLE).unwrap();
    let other = Err(Refusal::OtherPassword("7".to_owned()));
    for password in [None, Some(""), Some("pbkdf2_sha256$1000$other$"), Some(&PASSWORD[1..])] {
        assert_eq!(of_table().check_password(&user, password), other, "{password:?}");
    }
    // As long as the key is known by which it was hashed, also if that is no longer used.
    let new = DjangoSessions::database("a new key");
    assert_eq!(new.check_password(&user, Some(PASSWORD)), other);
    let new = new.secret_key_fallbacks(["an older one", KEY]);
    assert_eq!(new.check_password(&user, Some(PASSWORD)), Ok(()));
    // A hash is 64 digits in lower case, and nothing else is one.
    let hash = HEXLOWER.encode(&sign(
        "django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash",
        PASSWORD,
        KEY,
    ));
    let with = |hash: &str| {
        let session = format!(r#"{{"_auth_user_id":"7","_auth_user_hash":"{hash}"}}"#);
        read_row(&dumps(session.as_bytes(), false, TABLE_SALT)).unwrap()
    };
    assert_eq!(of_table().check_password(&with(&hash), Some(PASSWORD)), Ok(()));
    for wrong in ["", &hash[..62], &hash.to_uppercase(), &format!("{hash}00"), "é"] {
        assert_eq!(of_table().check_password(&with(wrong), Some(PASSWORD)), other, "{wrong}");
    }
}

#[test]
fn what_another_key_or_another_purpose_has_signed_is_refused() {
    let other = DjangoSessions::database("of a test ");
    assert_eq!(other.read_row(Some(IN_TABLE)), Err(Refusal::Signature));
    let fallbacks = DjangoSessions::database("new").secret_key_fallbacks(["older", KEY]);
    assert_eq!(fallbacks.read_row(Some(IN_TABLE)).unwrap().id, "7");
    // What is signed for one kind is refused as the other.
    assert_eq!(read_row(COOKIE), Err(Refusal::Signature));
    assert_eq!(read_cookie(IN_TABLE), Err(Refusal::Signature));
    let json = br#"{"_auth_user_id":"7","_auth_user_hash":"00"}"#;
    assert!(read_row(&dumps(json, false, TABLE_SALT)).is_ok());
    for salt in ["django.core.signing", "django.contrib.sessions.SessionStor", ""] {
        assert_eq!(read_row(&dumps(json, false, salt)), Err(Refusal::Signature), "{salt}");
    }
}

#[test]
fn a_change_anywhere_is_noticed() {
    for index in 0..COOKIE.len() {
        for other in ["A", "b", ":", ".", "="] {
            let mut changed = COOKIE.to_owned();
            changed.replace_range(index..=index, other);
            if changed != COOKIE {
                let refusal = read_cookie(&changed).unwrap_err();
                let expected = [Refusal::Signature, Refusal::Malformed];
                assert!(expected.contains(&refusal), "{changed}: {refusal}");
            }
        }
        assert!(
            read_cookie(&COOKIE[..index]).is_err() && read_cookie(&COOKIE[index + 1..]).is_err()
        );
    }
    // Another time with the signature of this one.
    let (text, signature) = COOKIE.rsplit_once(':').unwrap();
    let (data, _) = text.rsplit_once(':').unwrap();
    assert_eq!(read_cookie(&format!("{data}:zzzzzz:{signature}")), Err(Refusal::Signature));
    for text in ["", ":", "::", ":::", "a", "a:b", "\u{e9}:\u{e9}:\u{e9}"] {
        assert!(read_cookie(text).is_err(), "{text}");
    }
}

#[test]
fn a_signed_cookie_ends() {
    let second = Duration::from_secs(1);
    let read = |sessions: DjangoSessions, at| sessions.read_cookie(COOKIE, at).map(|(_, end)| end);
    assert_eq!(read(of_cookies(), after(14 * DAY - second)), Ok(after(14 * DAY)));
    assert_eq!(read(of_cookies(), after(14 * DAY)), Err(Refusal::Expired));
    let short = of_cookies().cookie_age(second);
    assert_eq!(read(short.clone(), after(Duration::ZERO)), Ok(after(second)));
    assert_eq!(read(short, after(second)), Err(Refusal::Expired));
    assert!(read(of_cookies().cookie_age(Duration::MAX), after(1000 * DAY)).is_ok());
    let json = br#"{"_auth_user_id":"7","_auth_user_hash":"00"}"#;
    let data = BASE64URL_NOPAD.encode(json);
    // What is too far away to be a date has passed.
    for (time, expected) in [
        ("0", Refusal::Expired),
        ("zzzzzzzzzz", Refusal::Expired),
        ("zzzzzzzzzzz", Unreadable::NoJson.into()),
        ("-1", Unreadable::NoJson.into()),
        ("", Unreadable::NoJson.into()),
        ("+5", Unreadable::NoJson.into()),
    ] {
        let cookie = signed(&format!("{data}:{time}"), COOKIE_SALT);
        assert_eq!(read_cookie(&cookie), Err(expected), "{time}");
    }
}

#[test]
fn a_signed_cookie_ends_as_the_session_says() {
    let read = |expiry: &str, at: Duration| {
        let session =
            format!(r#"{{"_auth_user_id":"7","_auth_user_hash":"00","_session_expiry":{expiry}}}"#);
        let cookie = dumps(session.as_bytes(), false, COOKIE_SALT);
        of_cookies().read_cookie(&cookie, after(at)).map(|(_, end)| end)
    };
    let minute = Duration::from_secs(60);
    // The fraction and the zone are as Python writes them, `WHEN` and a minute.
    for expiry in [
        "60",
        "60.9",
        r#""2023-11-14T22:14:20""#,
        r#""2023-11-14T22:14:20+00:00""#,
        r#""2023-11-14T22:14:20.000123+00:00""#,
        r#""2023-11-15T00:14:20+02:00""#,
    ] {
        let just = minute.saturating_sub(Duration::from_secs(1));
        assert_eq!(read(expiry, just), Ok(after(minute)), "{expiry}");
        assert_eq!(read(expiry, minute), Err(Refusal::Expired), "{expiry}");
    }
    // No longer than others, and as long as they where the browser's end is meant.
    for expiry in ["null", "0", "0.0", "31536000", "1e300", r#""2123-11-14T22:14:20+00:00""#] {
        assert_eq!(read(expiry, minute), Ok(after(14 * DAY)), "{expiry}");
        assert_eq!(read(expiry, 14 * DAY), Err(Refusal::Expired), "{expiry}");
    }
    for expiry in ["-1", "-1e300"] {
        assert_eq!(read(expiry, Duration::ZERO), Err(Refusal::Expired), "{expiry}");
    }
    for expiry in ["true", "[]", "{}", r#""""#, r#""tomorrow""#] {
        assert_eq!(read(expiry, Duration::ZERO), Err(Unreadable::NoJson.into()), "{expiry}");
    }
}

#[test]
fn what_is_signed_is_bounded_and_json() {
    let user = r#""_auth_user_id":"7","_auth_user_hash":"00""#;
    let padded = |length: usize| {
        let start = format!("{{{user},\"basket\":\"");
        let padding = "x".repeat(length - start.len() - 2);
        format!("{start}{padding}\"}}").into_bytes()
    };
    let (fits, long) = (padded(JSON_BYTES_MAX), padded(JSON_BYTES_MAX + 1));
    for is_compressed in [false, true] {
        let read = |json: &[u8]| read_row(&dumps(json, is_compressed, TABLE_SALT));
        assert_eq!(read(&fits).unwrap().id, "7");
        assert_eq!(read(&long), Err(Unreadable::TooLong.into()));
    }
    // A megabyte for each kilobyte that was sent.
    let bomb = dumps(&vec![b' '; 16 * 1024 * 1024], true, TABLE_SALT);
    assert_eq!(read_row(&bomb), Err(Unreadable::TooLong.into()));
    assert!(dumps(&fits, false, TABLE_SALT).len() <= STORED_BYTES_MAX);
    assert_eq!(of_table().read_row(None), Err(Unreadable::TooLong.into()));
    let deep = format!("{{{user},\"a\":{}", "[".repeat(10_000));
    for json in [
        "",
        "[]",
        "null",
        "7",
        "{",
        &format!("{{{user}}} x"),
        &format!("{{{user},\"a\":NaN}}"),
        r#"{"_auth_user_id":7,"_auth_user_hash":"00"}"#,
        &format!("{{{user},{user}}}"),
        &deep,
    ] {
        let read = read_row(&dumps(json.as_bytes(), true, TABLE_SALT));
        assert_eq!(read, Err(Unreadable::NoJson.into()), "{json:.40}");
    }
    for json in [
        "{}",
        r#"{"_auth_user_id":"7"}"#,
        r#"{"_auth_user_hash":"00"}"#,
        r#"{"_auth_user_id":null,"_auth_user_hash":"00"}"#,
    ] {
        assert_eq!(read_row(&dumps(json.as_bytes(), false, TABLE_SALT)), Err(Refusal::Nobody));
    }
    // Signed, but not what `dumps` writes.
    for text in ["", "a", ".:0", ".AAAA:0", "*:0", "a:0:"] {
        let read = read_row(&signed(text, TABLE_SALT));
        assert_eq!(read, Err(Unreadable::NoJson.into()), "{text}");
    }
}

#[test]
fn only_what_can_be_a_key_is_looked_up() {
    let key = "abcdefghijklmnopqrstuvwxyz012345";
    assert_eq!(of_table().row_key(key), Ok(Some(key)));
    assert_eq!(of_cookies().row_key(key), Ok(None));
    for wrong in ["", "seven77", &key.repeat(2), "abcdefgh'", "abcdefgh:", "abcdefg\u{e9}"] {
        assert_eq!(of_table().row_key(wrong), Err(Refusal::Malformed), "{wrong}");
    }
}

#[test]
fn nothing_shows_the_keys() {
    let shown = format!("{:?}", of_table().secret_key_fallbacks(["older"]));
    assert!(!shown.contains(KEY) && !shown.contains("older"), "{shown}");
}

#[test]
#[should_panic(expected = "give Django's settings.SECRET_KEY")]
fn an_empty_key_is_refused() {
    let _ = DjangoSessions::signed_cookies("");
}

#[test]
#[should_panic(expected = "give Django's settings.SECRET_KEY")]
fn an_empty_key_is_no_fallback_either() {
    let _ = of_table().secret_key_fallbacks([KEY, ""]);
}

proptest! {
    #[test]
    fn any_cookie_is_refused_or_read(cookie in ".{0,200}", data in any::<Vec<u8>>(), zips: bool) {
        prop_assert!(read_cookie(&cookie).is_err());
        let _ = read_cookie(&dumps(&data, zips, COOKIE_SALT));
        let _ = read_cookie(&signed(&cookie, COOKIE_SALT));
        let _ = of_table().row_key(&cookie);
    }
}
