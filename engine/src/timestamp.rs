//! Parts of timestamps, for rules such as "at night".
//!
//! The parts are those that the event wrote: no time zone conversion, for a rule's author means the clock on the wall that the
//! event was stamped with. Whole numbers are Unix time in UTC, in seconds, milli-, micro- or nanoseconds by their size.

use crate::image::layout::{TIME_DAY, TIME_HOUR, TIME_MINUTE, TIME_MONTH, TIME_WEEK, TIME_YEAR};
use crate::Value;

/// A broken-down time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Clock {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
}

/// The part of the timestamp in `value`, `None` when it is no timestamp.
pub(crate) fn part_of(value: Value<'_>, part: u32) -> Option<i64> {
    let clock = match value {
        Value::Int(unix) => from_unix(unix)?,
        Value::Text(text) => from_text(text)?,
        Value::Null | Value::Bool(_) | Value::Real(_) => return None,
    };
    match part {
        TIME_MINUTE => Some(clock.minute),
        TIME_HOUR => Some(clock.hour),
        TIME_DAY => Some(clock.day),
        TIME_WEEK => iso_week(clock),
        TIME_MONTH => Some(clock.month),
        TIME_YEAR => Some(clock.year),
        _ => None,
    }
}

/// `YYYY-MM-DD`, optionally followed by `T` or a space and `HH:MM`; what follows does not matter. Digits alone are Unix time.
fn from_text(text: &[u8]) -> Option<Clock> {
    if text.len() >= 9 && text.iter().all(u8::is_ascii_digit) {
        return from_unix(std::str::from_utf8(text).ok()?.parse().ok()?);
    }
    let digits = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        std::str::from_utf8(digits).ok()?.parse().ok()
    };
    let is_date = matches!(text.get(4)?, b'-' | b'/') && matches!(text.get(7)?, b'-' | b'/');
    if !is_date {
        return None;
    }
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (hour, minute) = match text.get(10) {
        None => (0, 0),
        Some(b'T' | b't' | b' ') if text.get(13) == Some(&b':') => (digits(11, 13)?, digits(14, 16)?),
        Some(_) => return None,
    };
    ((0..=23).contains(&hour) && (0..=59).contains(&minute)).then_some(Clock { year, month, day, hour, minute })
}

/// Unix time whose unit is told by its size: each step of a thousand is tried until the year is before 5138.
fn from_unix(unix: i64) -> Option<Clock> {
    const SECONDS_MAX: i64 = 99_999_999_999;
    let mut seconds = unix;
    for _ in 0..3 {
        if seconds.checked_abs()? > SECONDS_MAX {
            seconds = seconds.div_euclid(1000);
        }
    }
    let days = seconds.div_euclid(86_400);
    let second_of_day = seconds.rem_euclid(86_400);
    let (year, month, day) = civil_from_days(days)?;
    Some(Clock {
        year,
        month,
        day,
        hour: second_of_day.div_euclid(3600),
        minute: second_of_day.div_euclid(60).rem_euclid(60),
    })
}

/// Gregorian date of a day counted from 1970-01-01, by the era method: years begin in March so that the leap day comes last.
fn civil_from_days(days: i64) -> Option<(i64, i64, i64)> {
    let shifted = days.checked_add(719_468)?;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let leap_days = day_of_era
        .checked_sub(day_of_era.div_euclid(1460))?
        .checked_add(day_of_era.div_euclid(36_524))?
        .checked_sub(day_of_era.div_euclid(146_096))?;
    let year_of_era = leap_days.div_euclid(365);
    let days_before = year_of_era
        .checked_mul(365)?
        .checked_add(year_of_era.div_euclid(4))?
        .checked_sub(year_of_era.div_euclid(100))?;
    let day_of_year = day_of_era.checked_sub(days_before)?;
    let month_from_march = day_of_year.checked_mul(5)?.checked_add(2)?.div_euclid(153);
    let day =
        day_of_year.checked_sub(month_from_march.checked_mul(153)?.checked_add(2)?.div_euclid(5))?.checked_add(1)?;
    let month =
        if month_from_march < 10 { month_from_march.checked_add(3)? } else { month_from_march.checked_sub(9)? };
    let year = era.checked_mul(400)?.checked_add(year_of_era)?.checked_add(i64::from(month <= 2))?;
    Some((year, month, day))
}

/// Days from 1970-01-01 to a Gregorian date.
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = month.checked_add(9)?.rem_euclid(12);
    let day_of_year =
        month_from_march.checked_mul(153)?.checked_add(2)?.div_euclid(5).checked_add(day)?.checked_sub(1)?;
    let day_of_era = year_of_era
        .checked_mul(365)?
        .checked_add(year_of_era.div_euclid(4))?
        .checked_sub(year_of_era.div_euclid(100))?
        .checked_add(day_of_year)?;
    era.checked_mul(146_097)?.checked_add(day_of_era)?.checked_sub(719_468)
}

/// ISO 8601 week: the week belongs to the year that its Thursday lies in.
fn iso_week(clock: Clock) -> Option<i64> {
    let days = days_from_civil(clock.year, clock.month, clock.day)?;
    // 1970-01-01 was a Thursday; Monday is 0.
    let weekday = days.checked_add(3)?.rem_euclid(7);
    let thursday = days.checked_sub(weekday)?.checked_add(3)?;
    let (year, _, _) = civil_from_days(thursday)?;
    let new_year = days_from_civil(year, 1, 1)?;
    thursday.checked_sub(new_year)?.div_euclid(7).checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_has_the_parts_it_shows() {
        let cases = [
            (Value::Text(b"2024-02-29T23:59:58.123Z"), [59, 23, 29, 9, 2, 2024]),
            (Value::Text(b"2021-01-03 05:07:00"), [7, 5, 3, 53, 1, 2021]),
            (Value::Text(b"2024-12-30"), [0, 0, 30, 1, 12, 2024]),
            (Value::Int(0), [0, 0, 1, 1, 1, 1970]),
            (Value::Int(1_709_251_198), [59, 23, 29, 9, 2, 2024]),
            (Value::Int(1_709_251_198_123), [59, 23, 29, 9, 2, 2024]),
            (Value::Int(-1), [59, 23, 31, 1, 12, 1969]),
        ];
        let parts = [TIME_MINUTE, TIME_HOUR, TIME_DAY, TIME_WEEK, TIME_MONTH, TIME_YEAR];
        for (value, expected) in cases {
            let found: Vec<i64> = parts.iter().filter_map(|part| part_of(value, *part)).collect();
            assert_eq!(found, expected, "{value:?}");
        }
    }

    #[test]
    fn what_is_no_timestamp_has_no_parts() {
        for text in ["", "yesterday", "2024-13-01", "2024-02-29X10:00", "2024-02-29T25:00", "20", "12:30"] {
            assert_eq!(part_of(Value::Text(text.as_bytes()), TIME_HOUR), None, "{text}");
        }
        assert_eq!(part_of(Value::Null, TIME_HOUR), None);
    }
}
