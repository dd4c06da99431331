//! Timestamps and calendar months, in UTC. Nothing here reads a clock.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Datelike, SecondsFormat, TimeZone, Timelike, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Microseconds since 1970-01-01 UTC. RFC 3339 with six decimals and `Z` in text, an `i64` in rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const MIN: Self = Self(0);

    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Saturates.
    pub fn plus(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros))
    }

    /// Zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// 0 to 23.
    pub fn hour(self) -> u8 {
        u8::try_from(self.calendar().hour()).unwrap_or(0)
    }

    pub fn month(self) -> Month {
        let date = self.calendar();
        let year = u32::try_from(date.year()).unwrap_or(0);
        Month(year * 12 + date.month0())
    }

    /// Reads RFC 3339 with any offset; truncated to microseconds.
    pub fn parse(text: &str) -> Option<Self> {
        let moment = DateTime::parse_from_rfc3339(text).ok()?;
        Some(Self(moment.with_timezone(&Utc).timestamp_micros()))
    }

    fn calendar(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0).unwrap_or(DateTime::UNIX_EPOCH)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.calendar().to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_i64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 time"))
        } else {
            i64::deserialize(deserializer).map(Self)
        }
    }
}

/// A calendar month in UTC, the period of a quota. Stored as `year * 12 + month - 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Month(u32);

impl Month {
    /// The first moment after this month.
    pub fn end(self) -> Timestamp {
        let next = self.0 + 1;
        let year = i32::try_from(next / 12).unwrap_or(i32::MAX);
        Utc.with_ymd_and_hms(year, next % 12 + 1, 1, 0, 0, 0)
            .single()
            .map_or(Timestamp(i64::MAX), |first| {
                Timestamp(first.timestamp_micros())
            })
    }
}

/// Parses `90s`, `15m`, `24h` or `7d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let invalid = || "must be an integer and a unit (s, m, h or d), as in `15m`".to_owned();
    let unit = text.chars().last().ok_or_else(invalid)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(invalid()),
    };
    let number: u64 = text.trim_end_matches(unit).parse().map_err(|_| invalid())?;
    number
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_six_decimals_and_comes_back() {
        let moment = Timestamp::from_micros(1_764_000_000_000_001);
        assert_eq!(moment.to_string(), "2025-11-24T16:00:00.000001Z");
        assert_eq!(
            Timestamp::parse("2025-11-24T17:00:00.000001+01:00"),
            Some(moment)
        );
        assert_eq!(Timestamp::parse("yesterday"), None);
    }

    #[test]
    fn a_month_ends_where_the_next_begins() {
        let december = Timestamp::parse("2026-12-31T23:59:59.999999Z")
            .unwrap()
            .month();
        assert_eq!(december.end().to_string(), "2027-01-01T00:00:00.000000Z");
        assert!(december.end().month() > december);
        let february = Timestamp::parse("2028-02-29T00:00:00Z").unwrap().month();
        assert_eq!(february.end().to_string(), "2028-03-01T00:00:00.000000Z");
    }

    #[test]
    fn durations_are_a_number_and_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        for bad in ["", "h", "1.5h", "10", "10w", "-1s", "99999999999999999d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
