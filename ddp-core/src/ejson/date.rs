//! JavaScript's dates.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The furthest a JavaScript date can be from 1970, in milliseconds.
const MILLIS_MAX: i64 = 8_640_000_000_000_000;
const DAY_MS: i64 = 86_400_000;

/// A JavaScript date: whole milliseconds since 1970 UTC, or the invalid date.
///
/// JavaScript has an invalid date, `new Date(NaN)`, which it prints as `Invalid Date`. Clients can
/// send it without meaning to, so it exists here as well. It sorts before all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(i64);

impl Date {
    /// The invalid date. Meteor writes it as `{"$date":null}`, which it reads back as 1970.
    pub const INVALID: Self = Self(i64::MIN);

    /// The date this many milliseconds after the start of 1970 in UTC. As in JavaScript, the
    /// invalid date if that is more than 100,000,000 days away.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        if millis < -MILLIS_MAX || millis > MILLIS_MAX { Self::INVALID } else { Self(millis) }
    }

    /// The same for a double, in which JavaScript counts; a fraction is truncated.
    #[must_use]
    pub fn from_millis_f64(millis: f64) -> Self {
        // The conversion saturates, and either end of i64 is out of range for a date.
        if millis.is_nan() { Self::INVALID } else { Self::from_millis(millis as i64) }
    }

    /// Milliseconds since 1970, or `None` for the invalid date.
    #[must_use]
    pub const fn millis(self) -> Option<i64> {
        if self.is_valid() { Some(self.0) } else { None }
    }

    /// Whether it is a valid date.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0 != Self::INVALID.0
    }

    /// The point in time, if the date is valid and the platform can represent it.
    #[must_use]
    pub fn to_system_time(self) -> Option<SystemTime> {
        let distance = Duration::from_millis(self.millis()?.unsigned_abs());
        if self.0 < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) }
    }

    /// Reads the date-time format of the ECMAScript specification, a subset of ISO 8601:
    /// `2024-05-01`, `2024-05-01T10:00Z`, `2024-05-01T10:00:00.000+02:00`.
    ///
    /// `None` for anything else, including formats that only some engines read. A time without a
    /// zone is taken as UTC, where JavaScript takes the zone of the machine.
    #[must_use]
    pub fn from_iso(text: &str) -> Option<Self> {
        let (date, time) = text.split_once('T').map_or((text, None), |(d, t)| (d, Some(t)));
        let millis = date_millis(date)?.checked_add(time.map_or(Some(0), time_millis)?)?;
        Some(Self::from_millis(millis)).filter(|date| date.is_valid())
    }

    /// The text that JavaScript's `toISOString` gives: `1970-01-01T00:00:00.000Z`, with a sign and
    /// six digits for years before 0 and after 9999. `None` for the invalid date.
    #[must_use]
    pub fn to_iso(self) -> Option<String> {
        let millis = self.millis()?;
        let (year, month, day) = civil_date(millis.div_euclid(DAY_MS));
        let time = millis.rem_euclid(DAY_MS);
        let (hours, minutes) = (time / 3_600_000, time / 60_000 % 60);
        let (seconds, millis) = (time / 1000 % 60, time % 1000);
        let year =
            if (0..=9999).contains(&year) { format!("{year:04}") } else { format!("{year:+07}") };
        Some(format!(
            "{year}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z"
        ))
    }
}

impl From<SystemTime> for Date {
    /// Truncates to milliseconds.
    fn from(time: SystemTime) -> Self {
        let millis = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()),
            Err(before) => i64::try_from(before.duration().as_millis()).map(|millis| -millis),
        };
        millis.map_or(Self::INVALID, Self::from_millis)
    }
}

/// The start of a day given as `YYYY[-MM[-DD]]`, with a sign if the year has six digits.
fn date_millis(text: &str) -> Option<i64> {
    let (sign, unsigned, year_digits) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..], 6),
        b'-' => (-1, &text[1..], 6),
        _ => (1, text, 4),
    };
    let mut parts = unsigned.split('-');
    let year = sign * digits(parts.next()?, year_digits)?;
    let month = parts.next().map_or(Some(1), |part| digits(part, 2))?;
    let day = parts.next().map_or(Some(1), |part| digits(part, 2))?;
    let valid = parts.next().is_none() && (1..=12).contains(&month) && (1..=31).contains(&day);
    valid.then(|| days_since_1970(year, month, day) * DAY_MS)
}

/// Milliseconds to add to the day for `HH:mm[:ss[.fraction]][Z|±HH:mm]`.
fn time_millis(text: &str) -> Option<i64> {
    let (clock, offset) = if let Some(clock) = text.strip_suffix('Z') {
        (clock, 0)
    } else if let Some(at) = text.rfind(['+', '-']) {
        let sign = if text.as_bytes()[at] == b'+' { 1 } else { -1 };
        let (hours, minutes) = text[at + 1..].split_once(':')?;
        (&text[..at], sign * (digits(hours, 2)? * 60 + digits(minutes, 2)?) * 60_000)
    } else {
        (text, 0)
    };
    let (whole, fraction) = clock.split_once('.').map_or((clock, None), |(w, f)| (w, Some(f)));
    let mut parts = whole.split(':');
    let hours = digits(parts.next()?, 2)?;
    let minutes = digits(parts.next()?, 2)?;
    let seconds = parts.next().map(|part| digits(part, 2));
    if parts.next().is_some() || (fraction.is_some() && seconds.is_none()) {
        return None;
    }
    let fraction = fraction.map_or(Some(0), fraction_millis)?;
    let millis = (minutes * 60 + seconds.unwrap_or(Some(0))?) * 1000 + fraction;
    let valid = minutes < 60 && seconds.flatten().unwrap_or(0) < 60;
    let valid = valid && (hours < 24 || (hours == 24 && millis == 0));
    valid.then_some(hours * 3_600_000 + millis - offset)
}

fn fraction_millis(text: &str) -> Option<i64> {
    let valid = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let digit = |at| text.as_bytes().get(at).map_or(0, |byte| i64::from(byte - b'0'));
    valid.then(|| digit(0) * 100 + digit(1) * 10 + digit(2))
}

/// The number made of exactly this many digits.
fn digits(text: &str, count: usize) -> Option<i64> {
    let valid = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    if valid { text.parse().ok() } else { None }
}

/// Days in the proleptic Gregorian calendar. Years start in March, so that the leap day is the last
/// of its year.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month < 3 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The year, month and day of a day; the inverse of [`days_since_1970`].
fn civil_date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let leap_days = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // March is 0.
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + i64::from(month < 3), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected values are those of `new Date(text).getTime()` in Node 20 with TZ=UTC.
    #[test]
    fn reads_the_specified_format() {
        for (text, millis) in [
            ("1970", 0),
            ("2024-02", 1_706_745_600_000),
            ("2024-02-29", 1_709_164_800_000),
            ("2024-02-29T23:59:59.999Z", 1_709_251_199_999),
            ("2024-02-29T23:59:59.9999Z", 1_709_251_199_999),
            ("2024-05-01T10:00+02:00", 1_714_550_400_000),
            ("2024-05-01T24:00Z", 1_714_608_000_000),
            ("1969-12-31T23:59:59.5Z", -500),
            ("-000001-01-01T00:00:00Z", -62_198_755_200_000),
            ("+275760-09-13T00:00:00.000Z", MILLIS_MAX),
        ] {
            assert_eq!(Date::from_iso(text).and_then(Date::millis), Some(millis), "{text}");
        }
        for text in [
            "",
            "T",
            "x",
            "2024-13",
            "2024-00",
            "24-01-01",
            "2024-01-01T",
            "2024-01-01T10Z",
            "2024-01-01T25:00Z",
            "2024-01-01T10:60Z",
            "2024-01-01T10:00:60Z",
            "2024-01-01T10:00:00.Z",
            "2024-01-01T10:00.5Z",
            "2024-01-01T10:00:00:00Z",
            "+275760-09-13T00:00:00.001Z",
            "é024-01-01",
            "2024-01-01Té",
        ] {
            assert_eq!(Date::from_iso(text), None, "{text}");
        }
    }

    /// The expected values are those of `new Date(millis).toISOString()` in Node 20.
    #[test]
    fn writes_what_javascript_writes() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (-62_198_755_200_000, "-000001-01-01T00:00:00.000Z"),
            (253_402_300_800_000, "+010000-01-01T00:00:00.000Z"),
            (MILLIS_MAX, "+275760-09-13T00:00:00.000Z"),
            (-MILLIS_MAX, "-271821-04-20T00:00:00.000Z"),
        ] {
            assert_eq!(Date::from_millis(millis).to_iso().as_deref(), Some(text));
        }
        assert_eq!(Date::INVALID.to_iso(), None);
        for day in -100_000_000..=100_000_000 {
            if day % 997 == 0 || (-1000..1000).contains(&day) {
                let date = Date::from_millis(day * DAY_MS + 1);
                assert_eq!(date.to_iso().as_deref().and_then(Date::from_iso), Some(date));
            }
        }
    }

    #[test]
    fn clips_as_javascript_does() {
        assert_eq!(Date::from_millis_f64(1.9).millis(), Some(1));
        assert_eq!(Date::from_millis_f64(-1.9).millis(), Some(-1));
        assert_eq!(Date::from_millis_f64(8.64e15).millis(), Some(MILLIS_MAX));
        for millis in [8.64e15 + 2.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300] {
            assert_eq!(Date::from_millis_f64(millis), Date::INVALID);
        }
    }

    #[test]
    fn converts_to_system_time_and_back() {
        for millis in [0, 1, -1, 1_714_550_400_123, -62_198_755_200_000] {
            let date = Date::from_millis(millis);
            assert_eq!(date.to_system_time().map(Date::from), Some(date));
        }
        assert_eq!(Date::INVALID.to_system_time(), None);
    }
}
