use super::*;

const PASSWORD: &str = "analytical engine";

/// Made by Django 5.2, by `bcrypt` and by `argon2-cffi`, for this password or its digest.
const DJANGO: [&str; 5] = [
    "pbkdf2_sha256$1000$GkhDMTZma9WLyGrMjOSY31$zpFvcUnRaywaFnxilcL7oD/3WzIPN1KZD5NqmJVVmaU=",
    "pbkdf2_sha1$1000$AdzMCwj7CPX3dVg4Z9eJJO$J6vC+Yx4gUNk8+f488xSlQPm38g=",
    "argon2$argon2id$v=19$m=64,t=2,p=8$aFIyQW5NSkVTb3RGYTF1THVCdTBZZA$d3KZEsmE114TvZYUiLDbTcmKKcr4zwDezw31+1Op6uU",
    "bcrypt$$2b$04$X/bdLR5Y7xgfNvc5fwKkfO7vb6mV7APcHqeQ6mlkCGBYN0fCboG6m",
    "scrypt$1024$6ElYQCGdvFgj5bNuGvjZbq$8$5$PkWCJ+sfmIwbW57Kfwmtz7ZzXx9KU6iOFYB0OCc7QmLjtPymWvWUMNr65olrTXKsxaa8L62YTtns9SgG8ICYsA==",
];
const DJANGO_BCRYPT_SHA256: &str =
    "bcrypt_sha256$$2b$04$kYxNf1g95on2bHgRhA/gB.qmKgzvf/F0FJ3DRX8Wpof/aJQKHu1t6";
const METEOR: [&str; 2] = [
    "$2b$04$CVzwkQLhgaeq0p09U1fO6OLueOzVfbMKQMnItbeUVy9LI9kGSFfsu",
    "$argon2id$v=19$m=64,t=1,p=1$C6uI0H0JGcjqM7MPjv4daw$6T0OcIFOuaotJy2rGRh0CeNtm+CINT8pPsgmeyY/C/s",
];
const DEVISE: &str = "$2a$04$jj4cmBOCxImguaTexiI0lOTQZHq19pJFfgRclwrXgj3F5ehwlxdne";

const BCRYPT: PasswordAlgorithm = PasswordAlgorithm::Bcrypt { cost: 4 };
const ARGON2ID: PasswordAlgorithm =
    PasswordAlgorithm::Argon2id { memory_kib: 64, passes: 1, parallelism: 1 };

fn plain(text: &str) -> Password {
    Password::Plain(text.to_owned())
}

fn digest(text: &str) -> Password {
    Password::Digest(plain(text).digest())
}

fn is_upgraded(stored: &str, password: &Password) -> bool {
    let Verdict::Right(Some(new)) = BCRYPT.check(Some(stored), password) else {
        panic!("{stored} is not upgraded");
    };
    // From then on, a digest suffices.
    BCRYPT.check(Some(new.as_str()), &digest(PASSWORD)) == Verdict::Right(None)
}

#[test]
fn each_of_djangos_hashers_is_verified_and_upgraded() {
    for stored in DJANGO {
        assert!(is_upgraded(stored, &plain(PASSWORD)), "{stored}");
        assert_eq!(BCRYPT.check(Some(stored), &plain("x")), Verdict::Wrong, "{stored}");
        let verdict = BCRYPT.check(Some(stored), &digest(PASSWORD));
        assert_eq!(verdict, Verdict::NeedsPlain, "{stored}");
    }
    // Its bcrypt_sha256 is of what Meteor's clients send.
    for password in [plain(PASSWORD), digest(PASSWORD)] {
        assert!(is_upgraded(DJANGO_BCRYPT_SHA256, &password));
    }
    assert_eq!(BCRYPT.check(Some(DJANGO_BCRYPT_SHA256), &digest("x")), Verdict::Wrong);
}

#[test]
fn devises_bcrypt_is_verified_if_the_password_is_sent() {
    assert!(is_upgraded(DEVISE, &plain(PASSWORD)));
    assert_eq!(BCRYPT.check(Some(DEVISE), &digest(PASSWORD)), Verdict::Wrong);
    assert_eq!(BCRYPT.check(Some(DEVISE), &plain("x")), Verdict::Wrong);
    // One that says so tells what is missing.
    let marked = format!("bcrypt${DEVISE}");
    assert_eq!(BCRYPT.check(Some(&marked), &digest(PASSWORD)), Verdict::NeedsPlain);
}

#[test]
fn what_has_the_wanted_parameters_stays_and_all_else_is_replaced() {
    for (own, other, cost) in [
        (BCRYPT, METEOR[0], PasswordAlgorithm::Bcrypt { cost: 5 }),
        (
            ARGON2ID,
            METEOR[1],
            PasswordAlgorithm::Argon2id { memory_kib: 64, passes: 2, parallelism: 1 },
        ),
    ] {
        for password in [plain(PASSWORD), digest(PASSWORD)] {
            assert_eq!(own.check(Some(other), &password), Verdict::Right(None));
        }
        for stored in METEOR {
            let new = cost.check(Some(stored), &digest(PASSWORD));
            let Verdict::Right(Some(new)) = new else { panic!("{stored} stays") };
            assert_eq!(cost.check(Some(new.as_str()), &digest(PASSWORD)), Verdict::Right(None));
            assert_eq!(cost.check(Some(new.as_str()), &digest("x")), Verdict::Wrong);
        }
    }
}

#[test]
fn what_asks_for_too_much_is_not_computed() {
    for stored in [
        "",
        "$",
        "!unusable",
        "md5$salt$5f4dcc3b5aa765d61d8327deb882cf99",
        "$2b$31$CVzwkQLhgaeq0p09U1fO6OLueOzVfbMKQMnItbeUVy9LI9kGSFfsu",
        "bcrypt$$2b$04$é",
        "pbkdf2_sha256$4000000000$salt$zpFvcUnRaywaFnxilcL7oD/3WzIPN1KZD5NqmJVVmaU=",
        "pbkdf2_sha256$1000$salt$",
        "pbkdf2_sha256$0$salt$zpFvcUnRaywaFnxilcL7oD/3WzIPN1KZD5NqmJVVmaU=",
        "scrypt$1099511627776$salt$8$5$PkWCJ+sfmIwbW57Kfwmtz7ZzXx9KU6iOFYB0OCc7QmI=",
        "scrypt$1024$salt$4000000000$5$PkWCJ+sfmIwbW57Kfwmtz7ZzXx9KU6iOFYB0OCc7QmI=",
        "scrypt$1000$salt$8$5$PkWCJ+sfmIwbW57Kfwmtz7ZzXx9KU6iOFYB0OCc7QmI=",
        "$argon2id$v=19$m=4294967295,t=1,p=1$C6uI0H0JGcjqM7MPjv4daw$6T0OcIFOuaotJy2rGRh0CeNtm+CINT8pPsgmeyY/C/s",
        "$argon2id$v=19$m=65536,t=4294967295,p=1$C6uI0H0JGcjqM7MPjv4daw$6T0OcIFOuaotJy2rGRh0CeNtm+CINT8pPsgmeyY/C/s",
        "$argon2id$v=19$m=64,t=1,p=1$C6uI0H0JGcjqM7MPjv4daw$",
    ] {
        assert_eq!(BCRYPT.check(Some(stored), &plain(PASSWORD)), Verdict::Unreadable, "{stored}");
        assert!(!is_password_hash(stored), "{stored}");
    }
}

#[test]
fn dummies_are_like_real_hashes() {
    for algorithm in [BCRYPT, ARGON2ID, PasswordAlgorithm::BCRYPT, PasswordAlgorithm::ARGON2ID] {
        let dummy = algorithm.dummy();
        let stored = Stored::read(&dummy).expect("a hash");
        assert!(algorithm.is_of(&stored) && stored.is_as_ours(), "{dummy}");
        assert!(algorithm.is_possible() && is_password_hash(&dummy));
        assert_ne!(dummy, algorithm.dummy());
    }
    assert!(!PasswordAlgorithm::Bcrypt { cost: 17 }.is_possible());
    let much = PasswordAlgorithm::Argon2id { memory_kib: u32::MAX, passes: 1, parallelism: 1 };
    assert!(!much.is_possible());
}

#[tokio::test]
async fn an_unknown_user_has_a_wrong_password() {
    let passwords = Passwords::new(BCRYPT, Some(1));
    assert_eq!(passwords.check(None, plain(PASSWORD), None).await.unwrap(), Verdict::Wrong);
    let hash = passwords.hash(digest(PASSWORD), None).await.unwrap();
    let verdict = passwords.check(Some(&hash), plain(PASSWORD), None).await.unwrap();
    assert_eq!(verdict, Verdict::Right(None));
    assert!(!format!("{hash:?}").contains("$2b$"));
}
