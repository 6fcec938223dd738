//! Dates and timestamps as milliseconds since 1970.

use std::fmt::Write as _;

use super::number::push_infinity_or_nan;
use super::text::plain_string;

/// The range of JavaScript's `Date` in either direction from 1970.
const JAVASCRIPT_MILLISECONDS_MAX: u64 = 8_640_000_000_000_000;
const DAY_SECONDS: i64 = 86_400;
/// 4712 BC, the first whole year of PostgreSQL's calendar and the one after.
const YEAR_MIN: i64 = -4711;
/// PostgreSQL's `date`, from 4714-11-24 BC to 5874897-12-31, in days since 1970.
const DATE_DAYS: std::ops::Range<i64> = -2_440_588..2_145_042_906;

/// Writes a date or timestamp as a `$date`.
pub(super) fn instant(raw: &str, out: &mut String) -> Option<()> {
    let text = plain_string(raw)?;
    match text {
        "infinity" => push_infinity_or_nan(1, out),
        "-infinity" => push_infinity_or_nan(-1, out),
        _ => {
            let (seconds, microseconds) = parse(text)?;
            let milliseconds = seconds * 1000 + microseconds / 1000;
            if milliseconds.unsigned_abs() <= JAVASCRIPT_MILLISECONDS_MAX {
                // Writing to a string cannot fail.
                let _ = write!(out, r#"{{"$date":{milliseconds}}}"#);
            } else {
                out.push_str(raw);
            }
        }
    }
    Some(())
}

/// Microseconds since 1970, from a timestamp's JSON text.
pub(crate) fn microseconds(raw: &str) -> Option<i64> {
    let (seconds, microseconds) = parse(plain_string(raw)?)?;
    // PostgreSQL's last 29 years overflow; they still compare as later than any constant.
    Some(seconds.saturating_mul(1_000_000).saturating_add(microseconds).min(i64::MAX - 1))
}

/// A point in time, from microseconds since 1970, as PostgreSQL reads it in UTC. Anything before
/// its calendar is the infinite past.
pub(crate) fn timestamp_text(microseconds: i64) -> String {
    let seconds = microseconds.div_euclid(1_000_000);
    let (days, clock) = (seconds.div_euclid(DAY_SECONDS), seconds.rem_euclid(DAY_SECONDS));
    let (year, month, day) = date_of(days);
    if microseconds == i64::MAX {
        return "infinity".to_owned();
    }
    if year < YEAR_MIN {
        return "-infinity".to_owned();
    }
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    let fraction = microseconds.rem_euclid(1_000_000);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{fraction:06}{era}")
}

/// Maps anything before PostgreSQL's calendar to the infinite past, as [`timestamp_text`] does.
pub(crate) fn within_calendar(microseconds: i64) -> i64 {
    let days = microseconds.div_euclid(1_000_000).div_euclid(DAY_SECONDS);
    if date_of(days).0 < YEAR_MIN { i64::MIN } else { microseconds }
}

/// Days since 1970, from a date as PostgreSQL writes it; infinity is beyond all others.
pub(crate) fn date_days(text: &str) -> Option<i64> {
    match text {
        "infinity" => return Some(i64::MAX),
        "-infinity" => return Some(i64::MIN),
        _ => {}
    }
    if text.contains('T') {
        return None;
    }
    let days = parse(text)?.0 / DAY_SECONDS;
    let is_written_so = DATE_DAYS.contains(&days) && date_text(days) == text;
    is_written_so.then_some(days)
}

/// The date this many days after 1970-01-01, as PostgreSQL reads and writes it.
pub(crate) fn date_text(days: i64) -> String {
    match days {
        i64::MAX => "infinity".to_owned(),
        i64::MIN => "-infinity".to_owned(),
        _ => {
            let (year, month, day) = date_of(days);
            let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
            format!("{year:04}-{month:02}-{day:02}{era}")
        }
    }
}

/// Microseconds since midnight of `12:30`, `12:30:15` or `12:30:15.123456`.
pub(crate) fn time_microseconds(text: &str) -> Option<i64> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_exact = fraction.len() <= 6 && (clock.len() == 5 || clock.len() == 8);
    let mut parts = clock.split(':').skip(1);
    let are_sixtieths =
        parts.all(|part| part.parse::<i64>().is_ok_and(|number| (0..60).contains(&number)));
    let microseconds = clock_seconds(clock)? * 1_000_000 + fraction_microseconds(fraction)?;
    let is_time = is_exact && are_sixtieths && microseconds <= DAY_SECONDS * 1_000_000;
    is_time.then_some(microseconds)
}

/// The time this many microseconds after midnight, as PostgreSQL reads it.
pub(crate) fn time_text(microseconds: i64) -> String {
    let (seconds, fraction) = (microseconds / 1_000_000, microseconds % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hour:02}:{minute:02}:{second:02}.{fraction:06}")
}

/// Seconds since 1970, and microseconds, from text like `2024-02-29T12:30:00.123456+05:45`. The
/// time, its fraction, the offset and a trailing ` BC` are optional, and the year may be longer.
fn parse(text: &str) -> Option<(i64, i64)> {
    let (text, before_christ) = match text.strip_suffix(" BC") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00"));
    let mut date_parts = date.splitn(3, '-');
    let year = number(date_parts.next()?, 4..=7)?;
    let month = number(date_parts.next()?, 2..=2).filter(|month| (1..=12).contains(month))?;
    let day = number(date_parts.next()?, 2..=2).filter(|day| (1..=31).contains(day))?;
    let year = if before_christ { 1 - year } else { year };

    let (clock, offset_seconds) = match time.find(['+', '-']) {
        Some(at) => {
            let sign = if time.as_bytes()[at] == b'-' { -1 } else { 1 };
            (&time[..at], sign * clock_seconds(&time[at + 1..])?)
        }
        None => (time, 0),
    };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let microseconds = fraction_microseconds(fraction)?;
    let seconds = clock_seconds(clock)? - offset_seconds;
    let seconds = days_since_1970(year, month, day) * DAY_SECONDS + seconds;
    Some((seconds, microseconds))
}

/// `12:30:15` in seconds; minutes and seconds are optional.
fn clock_seconds(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, ':');
    let hours = number(parts.next()?, 2..=2)?;
    let minutes = parts.next().map_or(Some(0), |part| number(part, 2..=2))?;
    let seconds = parts.next().map_or(Some(0), |part| number(part, 2..=2))?;
    Some(hours * 3600 + minutes * 60 + seconds)
}

/// The digits after the decimal point, truncated.
fn fraction_microseconds(digits: &str) -> Option<i64> {
    number(digits, 1..=9)?;
    let first_six = digits.bytes().chain([b'0'; 5]).take(6);
    Some(first_six.fold(0, |value, digit| value * 10 + i64::from(digit - b'0')))
}

/// A number without a sign, with this many digits.
fn number(text: &str, lengths: std::ops::RangeInclusive<usize>) -> Option<i64> {
    let valid = lengths.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    valid.then(|| text.parse().ok())?
}

/// The year, month and day this many days after 1970-01-01, in the calendar used below.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar, where the year 0 is 1 BC.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    // With years starting in March, the leap day comes last.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}
