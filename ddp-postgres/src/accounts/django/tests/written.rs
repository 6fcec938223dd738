//! What Django 5.2 wrote with this key, for the user 7 with this stored password.

/// Its `SECRET_KEY`.
pub(super) const KEY: &str = "of a test";

/// The password of the user, as it is stored.
pub(super) const PASSWORD: &str = "pbkdf2_sha256$1000$GkhDMTZma9WLyGrMjOSY31$zpFvcUnRaywaFnxilcL7oD/3WzIPN1KZD5NqmJ\
    VVmaU=";

/// The time, in seconds since 1970.
pub(super) const WHEN: i64 = 1_700_000_000;

/// The same as it is signed.
pub(super) const TIME: &str = "1r31eq";

/// Of the table, with no more than is read, and not compressed.
pub(super) const IN_TABLE: &str = "eyJfYXV0aF91c2VyX2lkIjoiNyIsIl9hdXRoX3VzZXJfaGFzaCI6IjFmMTkwMmQ4NDIxYjk3ZTg3ZWRj\
    MmUwMzljYjc4Mjg4NzQyMjhhZGQ3MmQzYjYzZDI2ZWVhMDk1ZTMwZDkzOTAifQ:1r31eq:t0SIEVVIhk\
    VMXzNyBRQA14rs_zLgRf9JNM6VfC8JqyU";

/// Of the table, as a login makes it.
pub(super) const IN_TABLE_COMPRESSED: &str = ".eJxVjEEOwiAQRe_C2hAYaplx6d4zEGBGqRpISrsy3l2bdKHb_977LxXiupSwdpnDxOqkvDr8binmh9Q\
    N8D3WW9O51WWekt4UvdOuL43led7dv4MSe_nW9mrJAOMANpEX9MIZxDjKySMg-gEAI7MHdml0DKNINHQ\
    UZ5gcGfX-ANFYN1U:1r31eq:x6JjOI8_xaReTV9hLKqFmu2MAl2C2hZYzJgrUPRBLPY";

/// A cookie.
pub(super) const COOKIE: &str = ".eJxVjEEOwiAQRe_C2hAYaplx6d4zEGBGqRpISrsy3l2bdKHb_977LxXiupSwdpnDxOqkvDr8binmh9Q\
    N8D3WW9O51WWekt4UvdOuL43led7dv4MSe_nW9mrJAOMANpEX9MIZxDjKySMg-gEAI7MHdml0DKNINHQ\
    UZ5gcGfX-ANFYN1U:1r31eq:68Ew2djPzu45ISHhK01ex5MX9ntzEgQXdnWkg3KqsRQ";

/// Of the table, in which nobody has logged in.
pub(super) const NOBODY: &str =
    "eyJiYXNrZXQiOlsxLDJdfQ:1r31eq:HYSJ7kdRpaaEz4MxJ3-cYUBwUM5iEbwyFjtAgtGqdYI";

/// Of the table, by a serializer that pickles.
pub(super) const PICKLE: &str = ".eJxNjDsKAjEURbWwFMFVaBMyL-Mk6cTeNQxJ3tPMKAnMpxRcQMq4DreoosLc8pzDvS8ez9l3t7xJy9q\
    Mg6_Hnrq6wZzmMqf1hFnjLhTeYoutCefIXAxD11j2SdjP9uwYka6Hf7uaHHjT-5z2xanQHFCVUFgtSUl\
    CB8SFdlYqUEqWAMogSkBhK4FQERmudyQ4aqF5HtkL5EI-vA:1r31eq:zwZfHKetJVfJm1X2_RUwebace\
    fnXX-G_XMNASmOz-nE";
