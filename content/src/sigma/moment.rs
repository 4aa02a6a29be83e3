//! When an event on record happened, as it says itself.

use serde_json::Value as Json;

/// Members of an event that tell its time, beside `time` of the line.
const TIMES: [&str; 4] = ["@timestamp", "UtcTime", "EventTime", "TimeCreated"];

/// Nanoseconds since 1970; `None` where the line does not say, or says it in another way.
pub(super) fn time_ns(line: &Json) -> Option<u64> {
    let event = line.get("event");
    let inside = TIMES.iter().filter_map(|name| event?.get(name));
    [line.get("time"), line.get("@timestamp")].into_iter().flatten().chain(inside).find_map(of)
}

fn of(json: &Json) -> Option<u64> {
    match json {
        Json::String(text) => of_text(text.trim()),
        Json::Number(number) => of_number(number.as_f64()?),
        _ => None,
    }
}

/// Unix time, whose unit is told by its size: seconds, milli-, micro- or nanoseconds of years before 5138.
fn of_number(unix: f64) -> Option<u64> {
    const SECONDS_MAX: f64 = 99_999_999_999.0;
    let mut scale = 1e9;
    let mut seconds = unix;
    while seconds > SECONDS_MAX && scale > 1.0 {
        (seconds, scale) = (seconds / 1000.0, scale / 1000.0);
    }
    let nanoseconds = unix * scale;
    (unix > 0.0 && nanoseconds < 1.8e19).then_some(nanoseconds as u64)
}

/// `2026-11-22T05:00:00.123456789Z`, with a space instead of T, with an offset, or without either: then it is UTC.
fn of_text(text: &str) -> Option<u64> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return of_number(text.parse().ok()?);
    }
    let digits = |from: usize, to: usize| -> Option<i64> {
        text.get(from..to).filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
    };
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
    let is_date = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
    let mut rest = text.get(19..)?;
    let mut nanosecond = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let end = fraction.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(fraction.len());
        let (fraction, behind) = fraction.split_at_checked(end)?;
        nanosecond = format!("{fraction:0<9}").get(..9)?.parse::<i64>().ok()?;
        rest = behind;
    }
    let offset_s = match rest.as_bytes() {
        [] | [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), ..] => {
            let number = |from: usize, to: usize| rest.get(from..to)?.parse::<i64>().ok();
            let seconds = number(1, 3)? * 3600 + number(rest.len().checked_sub(2)?, rest.len())? * 60;
            if *sign == b'-' {
                -seconds
            } else {
                seconds
            }
        }
        _ => return None,
    };
    let days = days_from_civil(year, month, day);
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset_s;
    let nanoseconds = i128::from(seconds) * 1_000_000_000 + i128::from(nanosecond);
    u64::try_from(nanoseconds).ok().filter(|_| is_date)
}

/// Days from 1970-01-01 to a Gregorian date of a year with four digits.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_in_the_forms_that_events_have() {
        let new_year = 1_767_225_600_000_000_000;
        for (text, expected) in [
            ("2026-01-01T00:00:00Z", new_year),
            ("2026-01-01 00:00:00.000000007", new_year + 7),
            ("2026-01-01T01:30:00.5+01:30", new_year + 500_000_000),
            ("2025-12-31T23:00:00-0100", new_year),
            ("1767225600", new_year),
        ] {
            assert_eq!(of_text(text), Some(expected), "{text}");
        }
        for unix in [1_767_225_600_u64, 1_767_225_600_000, 1_767_225_600_000_000] {
            assert_eq!(of(&Json::from(unix)), Some(new_year), "{unix}");
        }
        for text in ["", "yesterday", "2026-13-01T00:00:00Z", "2026-01-01", "2026-01-01T00:00:00 o'clock"] {
            assert_eq!(of_text(text), None, "{text}");
        }
    }
}
