//! Time: the only place that reads the wall clock, and the forms in which people and programs write it.

use jiff::{SpanRelativeTo, Timestamp, fmt::friendly::SpanParser, tz::TimeZone};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// A moment, in milliseconds since the Unix epoch; in JSON it is RFC 3339, UTC, with three decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(i64);

/// What was written is no time or duration that we know.
#[derive(Debug, thiserror::Error)]
#[error("`{given}` is not {wanted}")]
pub struct Unreadable {
    given: String,
    wanted: Cow<'static, str>,
}

impl Time {
    /// Reads the wall clock.
    #[must_use]
    pub fn now() -> Self {
        Self(Timestamp::now().as_millisecond())
    }

    /// A moment from milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// This moment, `by` later, but not later than can be written down.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        let latest = Timestamp::MAX.as_second() * 1000;
        Self(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)).min(latest))
    }

    /// This moment, `by` earlier, but not earlier than can be written down.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        let earliest = Timestamp::MIN.as_second() * 1000;
        Self(self.0.saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)).max(earliest))
    }

    /// How long it is from `earlier` until this moment; zero when it lies before `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// For people: local time, `2026-11-23 09:00:00`.
    #[must_use]
    pub fn local(self) -> String {
        Timestamp::from_millisecond(self.0)
            .map(|t| t.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string())
            .unwrap_or_else(|_| self.0.to_string())
    }

    /// Reads a moment (contract 3): RFC 3339, with a zone in brackets or without, a civil date or date-time in local
    /// time or in the zone in brackets, a clock time, `now`, `today`, `yesterday`, `tomorrow` (their first moment),
    /// `@UNIXSECONDS`, or a duration, which lies in the past for `2h ago` and, as `bare` says, before or after `now` for a
    /// bare `2h`. Clock times are civil: across a change of the clocks, too, `09:00` is nine o'clock.
    ///
    /// # Errors
    /// When the text is none of these, or a bare number, which could mean three things.
    pub fn parse(text: &str, now: Self, bare: Bare) -> Result<Self, Unreadable> {
        Self::parse_in(text, now, bare, &TimeZone::system())
    }

    fn parse_in(text: &str, now: Self, bare: Bare, zone: &TimeZone) -> Result<Self, Unreadable> {
        let text = text.trim();
        let bad = || Unreadable {
            given: text.to_owned(),
            wanted: "a time (try 2026-11-23T09:00:00Z, 2026-11-23 09:00, 09:00, yesterday or 2h ago)".into(),
        };
        let of = |moment: Timestamp| {
            let time = Self(moment.as_millisecond());
            if time >= YEAR_ONE { Ok(time) } else { Err(bad()) }
        };
        if text.parse::<f64>().is_ok_and(f64::is_finite) {
            let third = match bare {
                Bare::Ago => format!("`#{text}` for a position in the log"),
                Bare::Ahead => "a date and time as 2026-11-23 09:00".to_owned(),
            };
            let wanted =
                format!("a moment by itself; write `{text}s` for seconds, `@{text}` for Unix time, or {third}");
            return Err(Unreadable { given: text.to_owned(), wanted: wanted.into() });
        }
        if let Some(unix) = text.strip_prefix('@') {
            return unix_moment(unix).ok_or_else(bad).and_then(of);
        }
        if !is_civil(text) {
            return Err(bad());
        }
        // A zone that is named counts, be it beside an offset or instead of one.
        if text.contains('[') {
            let zoned = text.parse::<jiff::ZonedDateTime>().map_err(|_| bad())?;
            // The brackets may hold an offset instead of a zone.
            let is_sound = zoned.offset().seconds().unsigned_abs() < 86_400;
            return if is_sound { of(zoned.timestamp()) } else { Err(bad()) };
        }
        if let Ok(moment) = text.parse::<Timestamp>() {
            return of(moment);
        }
        let here = Timestamp::from_millisecond(now.0).map_err(|_| bad())?.to_zoned_datetime(zone.clone());
        let local = |civil: jiff::civil::DateTime| {
            civil.to_zoned_datetime(zone.clone()).map_err(|_| bad()).and_then(|zoned| of(zoned.timestamp()))
        };
        let (today, day) = (here.date(), jiff::Span::new().days(1));
        let (yesterday, tomorrow) =
            (today.checked_sub(day).map_err(|_| bad()), today.checked_add(day).map_err(|_| bad()));
        let midnight = jiff::civil::Time::midnight();
        match text {
            "now" => return Ok(now),
            "today" => return local(today.to_datetime(midnight)),
            "yesterday" => return local(yesterday?.to_datetime(midnight)),
            "tomorrow" => return local(tomorrow?.to_datetime(midnight)),
            _ => {}
        }
        if let Ok(date_time) = text.parse::<jiff::civil::DateTime>()
            && text.contains('-')
        {
            return local(date_time);
        }
        if text.contains(':') {
            // Nothing else has a colon: what is no time of a day (24:00:00) is not taken for a length of time.
            let time = text.parse::<jiff::civil::Time>().map_err(|_| bad())?;
            // A bare clock time means the next one when we look ahead, the last one when we look back.
            let at = local(today.to_datetime(time))?;
            return match bare {
                Bare::Ahead if at < now => local(tomorrow?.to_datetime(time)),
                Bare::Ago if at > now => local(yesterday?.to_datetime(time)),
                _ => Ok(at),
            };
        }
        if let Some(ago) = text.strip_suffix("ago") {
            return Ok(now.before(duration(ago).map_err(|_| bad())?));
        }
        let span = duration(text).map_err(|_| bad())?;
        Ok(match bare {
            Bare::Ago => now.before(span),
            Bare::Ahead => now.after(span),
        })
    }
}

/// The first moment of the year 1; what lies before it is a slip, whoever counts years so.
const YEAR_ONE: Time = Time(-62_135_596_800_000);

/// Whether what may be a date and time is one of a clock that counts seconds as we do: without the 61st second of a
/// minute, and less than a day away from UTC. jiff takes both, and makes another moment of them.
fn is_civil(text: &str) -> bool {
    let text = text.split('[').next().unwrap_or(text);
    let (clock, offset) = match text.rsplit_once(['T', 't', ' ']) {
        Some((_, clock)) => clock.find(['+', '-']).map_or((clock, ""), |at| clock.split_at(at)),
        None => (text, ""),
    };
    let whole = clock.split(|c: char| !c.is_ascii_digit() && c != ':').next().unwrap_or(clock);
    let is_leap = whole.ends_with("60") && whole.bytes().filter(u8::is_ascii_digit).count() == 6;
    // A sign and two digits of hours.
    let is_far = offset.get(1..3).and_then(|hours| hours.parse::<u8>().ok()).is_some_and(|hours| hours > 23);
    !is_leap && !is_far
}

/// Seconds since the Unix epoch, whole or not.
fn unix_moment(text: &str) -> Option<Timestamp> {
    let seconds: f64 = text.parse().ok()?;
    let since = jiff::SignedDuration::try_from_secs_f64(seconds).ok()?;
    Timestamp::from_duration(since).ok()
}

/// How long the machine has been up, sleep included: a clock that nobody sets.
#[must_use]
pub fn uptime() -> Duration {
    let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(up.tv_sec).unwrap_or(0), u32::try_from(up.tv_nsec).unwrap_or(0))
}

/// On which side of now a bare duration lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bare {
    /// In the past (`--since 2h`).
    Ago,
    /// In the future (`--at 2h`).
    Ahead,
}

/// Reads a duration as people write it: `30s`, `10m`, `1h30m`, `3d`, `2 weeks`; a bare number counts seconds.
///
/// # Errors
/// When the text is no duration, is negative, or lies beyond a hundred years.
pub fn duration(text: &str) -> Result<Duration, Unreadable> {
    let text = text.trim();
    let bad = || Unreadable { given: text.to_owned(), wanted: "a duration (try 30s, 10m, 2h or 3d)".into() };
    const CENTURY: Duration = Duration::from_secs(100 * 366 * 86_400);
    if let Ok(seconds) = text.parse::<f64>() {
        let whole = Duration::try_from_secs_f64(seconds).map_err(|_| bad())?;
        return if whole <= CENTURY { Ok(whole) } else { Err(bad()) };
    }
    let span = SpanParser::new().parse_span(text).map_err(|_| bad())?;
    let span = span.to_duration(SpanRelativeTo::days_are_24_hours()).or_else(|_| {
        // Weeks, months and years need a calendar; any will do for a length.
        span.to_duration(jiff::civil::date(2026, 1, 1))
    });
    let span = Duration::try_from(span.map_err(|_| bad())?).map_err(|_| bad())?;
    if span <= CENTURY { Ok(span) } else { Err(bad()) }
}

impl Time {
    /// The moment as JSON has it, for the years that have four digits. Every line of every event holds one.
    fn rfc3339(self) -> Option<[u8; 24]> {
        /// Milliseconds of a day.
        const DAY: i64 = 86_400_000;
        let (days, millis) = (self.0.div_euclid(DAY), self.0.rem_euclid(DAY));
        // Howard Hinnant's civil_from_days: years begin in March, so that a leap day comes last; 146097 days are 400
        // years.
        let days = days + 719_468;
        let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = year + era * 400 + i64::from(month <= 2);
        if !(0..=9999).contains(&year) {
            return None;
        }
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut put = |end: usize, mut value: i64| {
            let mut at = end;
            while value > 0 {
                text[at] = b'0' + u8::try_from(value % 10).unwrap_or(0);
                value /= 10;
                at = at.saturating_sub(1);
            }
        };
        put(3, year);
        put(6, month);
        put(9, day);
        put(12, millis / 3_600_000);
        put(15, millis / 60_000 % 60);
        put(18, millis / 1000 % 60);
        put(22, millis % 1000);
        Some(text)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = self.rfc3339()
            && let Ok(text) = std::str::from_utf8(&text)
        {
            return f.write_str(text);
        }
        match Timestamp::from_millisecond(self.0) {
            Ok(moment) => write!(f, "{moment:.3}"),
            Err(_) => self.0.fmt(f),
        }
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.rfc3339() {
            Some(text) => serializer.serialize_str(std::str::from_utf8(&text).map_err(serde::ser::Error::custom)?),
            None => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        if !is_civil(&text) {
            return Err(serde::de::Error::custom("that is no date and time of this world (try 2026-11-23T09:00:00Z)"));
        }
        text.parse::<Timestamp>().map(|t| Self(t.as_millisecond())).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Time {
        Time::from_millis(1_795_510_800_123)
    }

    #[test]
    fn json_has_three_decimals_and_utc() {
        assert_eq!(serde_json::to_string(&now()).unwrap(), r#""2026-11-24T09:00:00.123Z""#);
        assert_eq!(serde_json::from_str::<Time>(r#""2026-11-24T09:00:00.123Z""#).unwrap(), now());
        assert_eq!(serde_json::to_string(&Time::from_millis(0)).unwrap(), r#""1970-01-01T00:00:00.000Z""#);
    }

    #[test]
    fn every_moment_that_can_be_reckoned_can_be_written_down_and_read_again() {
        let century = Duration::from_secs(100 * 366 * 86_400);
        let latest = Time::parse("9999-12-30T00:00:00Z", now(), Bare::Ahead).unwrap();
        for time in [latest.after(century), now().after(Duration::MAX), now().before(Duration::MAX)] {
            let text = serde_json::to_string(&time).unwrap();
            assert_eq!(serde_json::from_str::<Time>(&text).unwrap(), time, "{text}");
        }
    }

    #[test]
    fn moments_are_written_as_jiff_writes_them() {
        let mut state = 1_u64;
        for n in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Random moments of the years 0 to 9999, and each day around the turn of a century.
            let span = 62_167_219_200_000 + 253_402_207_200_000;
            let millis = match n % 2 {
                0 => i64::try_from(state % span).unwrap() - 62_167_219_200_000,
                _ => (n - 10_000) * 86_400_000 + 951_782_399_999,
            };
            let jiff = format!("{:.3}", Timestamp::from_millisecond(millis).unwrap());
            assert_eq!(Time::from_millis(millis).to_string(), jiff, "{millis}");
        }
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("30s", 30),
            ("10m", 600),
            ("2h", 7200),
            ("3d", 259_200),
            ("1h30m", 5400),
            ("2 weeks", 1_209_600),
            ("5", 5),
        ] {
            assert_eq!(duration(text).unwrap(), Duration::from_secs(seconds), "{text}");
        }
        for text in ["", "x", "-3s", "3 parsecs", "1e30", "NaN"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_read_in_every_form() {
        let before = |s: u64| now().before(Duration::from_secs(s));
        assert_eq!(Time::parse("2h ago", now(), Bare::Ago).unwrap(), before(7200));
        assert_eq!(Time::parse("3d", now(), Bare::Ago).unwrap(), before(259_200));
        assert_eq!(Time::parse("2h", now(), Bare::Ahead).unwrap(), now().after(Duration::from_secs(7200)));
        assert_eq!(Time::parse("1970-01-01T00:00:01Z", now(), Bare::Ago).unwrap(), Time::from_millis(1000));
        assert!(Time::parse("2026-11-23", now(), Bare::Ago).is_ok());
        assert!(Time::parse("2026-11-23 09:00", now(), Bare::Ago).is_ok());
        assert!(Time::parse("09:00", now(), Bare::Ahead).unwrap() >= now());
        assert!(Time::parse("yesterdayish", now(), Bare::Ago).is_err());
        for (bare, third) in [(Bare::Ago, "`#4`"), (Bare::Ahead, "date and time")] {
            let error = Time::parse(" 4 ", now(), bare).unwrap_err().to_string();
            assert!(["`4s`", "`@4`", third].iter().all(|way| error.contains(way)), "{error}");
            for number in ["0", "-4", "+4", "1.5", "1e9", "1790000000", "20261123"] {
                assert!(Time::parse(number, now(), bare).is_err(), "{number}");
            }
            assert_eq!(Time::parse("@1790000000", now(), bare).unwrap(), Time::from_millis(1_790_000_000_000));
            assert_eq!(Time::parse("@1.5", now(), bare).unwrap(), Time::from_millis(1500));
            for bad in ["@", "@x", "@1e300", "@NaN", "@inf", "#4", ""] {
                assert!(Time::parse(bad, now(), bare).is_err(), "{bad}");
            }
        }
    }

    #[test]
    fn what_is_no_moment_of_a_calendar_is_refused() {
        let zone = TimeZone::get("Asia/Shanghai").unwrap();
        for text in [
            "2026-11-23T09:00:00+25:00",
            "2026-11-23T09:00:00-24:00",
            "20261123T090000+2400",
            "2026-11-23T09:00:00+23:75",
            "2026-11-23T09:00:00[+25:00]",
            "2026-02-30",
            "2026-02-30T00:00:00Z",
            "2026-13-01",
            "24:00",
            "24:01",
            "24:00:00",
            "23:59:60",
            "2026-12-31T23:59:60Z",
            "2026-12-31T23:59:60.5+08:00",
            "20261231T235960Z",
            "2026-12-31 23:59:60[Asia/Shanghai]",
            "0000-01-01",
            "0000-12-31T23:59:59Z",
            "-000001-01-01T00:00:00Z",
            "@-99999999999",
            "9999-12-31T23:59:59Z",
            "10000-01-01",
            "+010000-01-01T00:00:00Z",
            "99999999999d",
            "99999999999d ago",
            "9999999999999999999999h",
            "inf",
            "nan",
            "1e400",
        ] {
            for bare in [Bare::Ago, Bare::Ahead] {
                let moment = Time::parse_in(text, now(), bare, &zone).map(|time| time.to_string());
                assert!(moment.is_err(), "{text}: {moment:?}");
            }
        }
        for bad in ["2026-11-23T09:00:00+25:00", "2026-12-31T23:59:60Z"] {
            assert!(serde_json::from_str::<Time>(&format!("{bad:?}")).is_err(), "{bad}");
        }
        for good in
            ["2026-11-23T09:00:00+23:59", "0001-01-01T00:00:00Z", "2026-11-23 09:00:59,60", "2026-11-23T09:00-04"]
        {
            assert!(Time::parse_in(good, now(), Bare::Ago, &zone).is_ok(), "{good}");
        }
    }

    proptest::proptest! {
        /// Whatever is typed, and wherever the clock stands.
        #[test]
        fn no_text_makes_a_reader_of_times_panic(
            text in r"\PC{0,40}|[-+@#]?[0-9]{0,20}[-+:.TtZzdhmswyago \[\]0-9]{0,30}|[0-9]{4,6}-[0-9]{2}-[0-9]{2}[T ][0-9:.,]{4,12}[-+Zz0-9:]{0,7}",
            now in proptest::prelude::any::<i64>(),
        ) {
            drop(duration(&text));
            drop(serde_json::from_str::<Time>(&format!("{text:?}")));
            for bare in [Bare::Ago, Bare::Ahead] {
                if let Ok(time) = Time::parse(&text, Time(now), bare) {
                    drop((time.local(), serde_json::to_string(&time)));
                }
            }
        }

        #[test]
        fn what_is_written_is_read_again(millis in YEAR_ONE.0..253_402_207_200_000, seconds in 0..3_000_000_000_u64) {
            let time = Time(millis);
            proptest::prop_assert_eq!(Time::parse(&time.to_string(), now(), Bare::Ago).unwrap(), time);
            proptest::prop_assert_eq!(Time::parse(&format!("@{}", millis / 1000), now(), Bare::Ago).unwrap(), Time(millis / 1000 * 1000));
            let length = Duration::from_secs(seconds);
            let (days, rest) = (seconds / 86_400, seconds % 86_400);
            let written = format!("{days}d{}h{}m{}s", rest / 3600, rest / 60 % 60, rest % 60);
            for text in [written, format!("{seconds}"), format!("{seconds}s")] {
                proptest::prop_assert_eq!(duration(&text).unwrap(), length, "{}", text);
            }
        }
    }

    #[test]
    fn a_clock_time_is_civil_across_a_change_of_the_clocks() {
        let zone = TimeZone::get("America/New_York").unwrap();
        let at = |text, now: &str, bare| {
            let now = Time::from_millis(now.parse::<Timestamp>().unwrap().as_millisecond());
            Time::parse_in(text, now, bare, &zone).unwrap().to_string()
        };
        // The evening before the clocks go back, and before they go forward; and the evening after.
        let evening = "2026-10-31T20:00:00-04:00";
        assert_eq!(at("09:00", evening, Bare::Ahead), "2026-11-01T14:00:00.000Z");
        assert_eq!(at("21:00", evening, Bare::Ahead), "2026-11-01T01:00:00.000Z");
        assert_eq!(at("09:00", "2026-03-07T20:00:00-05:00", Bare::Ahead), "2026-03-08T13:00:00.000Z");
        assert_eq!(at("21:00", "2026-11-01T20:00:00-05:00", Bare::Ago), "2026-11-01T01:00:00.000Z");
        assert_eq!(at("yesterday", "2026-11-02T20:00:00-05:00", Bare::Ago), "2026-11-01T04:00:00.000Z");
        assert_eq!(at("today", "2026-11-01T20:00:00-05:00", Bare::Ago), "2026-11-01T04:00:00.000Z");
        assert_eq!(at("tomorrow", evening, Bare::Ahead), "2026-11-01T04:00:00.000Z");
        assert_eq!(at("2026-11-01 09:00", evening, Bare::Ahead), "2026-11-01T14:00:00.000Z");
    }

    #[test]
    fn a_zone_in_brackets_counts() {
        let at = |text| Time::parse(text, now(), Bare::Ago).map(|time| time.to_string()).ok();
        for text in [
            "2026-11-23T09:00:00+08:00[Asia/Shanghai]",
            "2026-11-23T09:00:00[Asia/Shanghai]",
            "2026-11-23 09:00[Asia/Shanghai]",
            "2026-11-23T01:00:00Z[Asia/Shanghai]",
            "2026-11-23T09:00:00+08:00",
        ] {
            assert_eq!(at(text).as_deref(), Some("2026-11-23T01:00:00.000Z"), "{text}");
        }
        assert_eq!(at("2026-11-23T09:00:00+08:00[America/New_York]"), None, "they do not agree");
        assert_eq!(at("2026-11-23T09:00:00[Nowhere/Land]"), None);
    }
}
