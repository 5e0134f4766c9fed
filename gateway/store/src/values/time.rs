//! Dates and times, in ISO form. The gateway's sessions are in UTC with ISO dates, and read and print them so.

use super::{json::quoted, kind::modifiers, wrong::Wrong};

const SEND_DATE: &str = "the date as YYYY-MM-DD";
const SEND_TIME: &str = "the time as HH:MM:SS, with at most six digits of a second's fraction";
const SEND_TIMESTAMP: &str = "the time as YYYY-MM-DDTHH:MM:SSZ, with at most six digits of a second's fraction";

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// Microseconds from 1970 to 2000, from which PostgreSQL counts.
const Y2000: i64 = 10_957 * DAY;

/// Digits of a second's fraction that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digits(u32);

impl Digits {
    pub(super) fn of(type_name: &str) -> Option<Self> {
        match modifiers(type_name)[..] {
            [] => Some(Self(6)),
            [digits] => u32::try_from(digits).ok().filter(|digits| *digits <= 6).map(Self),
            _ => None,
        }
    }

    /// Half away from zero.
    fn round(self, micros: i64) -> i64 {
        let unit = 10_i64.pow(6 - self.0);
        let half = unit / 2;
        if micros >= 0 { (micros + half) / unit * unit } else { -((half - micros) / unit * unit) }
    }
}

/// A day, counted from 1970.
#[derive(Debug, Clone, Copy)]
struct Day(i64);

impl Day {
    /// Howard Hinnant's `days_from_civil`.
    fn from_civil(year: i64, month: i64, day: i64) -> Self {
        let year = if month <= 2 { year - 1 } else { year };
        let era = year.div_euclid(400);
        let of_era = year.rem_euclid(400);
        let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        Self(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
    }

    /// Year, month and day.
    fn to_civil(self) -> (i64, i64, i64) {
        let shifted = self.0 + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        (year + era * 400 + i64::from(month <= 2), month, day)
    }

    fn print(self) -> Result<String, Wrong> {
        match self.to_civil() {
            (year @ 1..=9999, month, day) => Ok(format!("{year:04}-{month:02}-{day:02}")),
            _ => Err(Wrong::Unsure { send: "a time of the years 1 to 9999" }),
        }
    }
}

/// Takes a number of exactly so many digits off the front.
fn take(text: &mut &str, digits: usize) -> Option<i64> {
    let (number, rest) = text.split_at_checked(digits)?;
    *text = rest;
    number.bytes().all(|b| b.is_ascii_digit()).then(|| number.parse().ok())?
}

fn skip(text: &mut &str, what: char) -> Option<()> {
    *text = text.strip_prefix(what)?;
    Some(())
}

/// Takes `YYYY-MM-DD` off the front. The error is for one that is not in the calendar.
fn take_date(text: &mut &str) -> Option<Result<Day, ()>> {
    let year = take(text, 4)?;
    skip(text, '-')?;
    let month = take(text, 2)?;
    skip(text, '-')?;
    let day = take(text, 2)?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        1..=12 => 31,
        _ => 0,
    };
    Some(if year >= 1 && (1..=length).contains(&day) { Ok(Day::from_civil(year, month, day)) } else { Err(()) })
}

/// Takes `HH:MM`, `HH:MM:SS` or `HH:MM:SS.ffffff` off the front: microseconds of the day.
fn take_time(text: &mut &str) -> Option<i64> {
    let hour = take(text, 2)?;
    skip(text, ':')?;
    let minute = take(text, 2)?;
    let mut micros = hour * HOUR + minute * MINUTE;
    let mut second = 0;
    if skip(text, ':').is_some() {
        second = take(text, 2)?;
        micros += second * SECOND;
        if skip(text, '.').is_some() {
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            if !(1..=6).contains(&digits) {
                return None;
            }
            let unit = 10_i64.pow(6 - u32::try_from(digits).ok()?);
            micros += take(text, digits)? * unit;
        }
    }
    (hour < 24 && minute < 60 && second < 60).then_some(micros)
}

/// Takes `Z`, `+HH`, `+HHMM` or `+HH:MM` off the front: microseconds east of Greenwich.
fn take_zone(text: &mut &str) -> Option<i64> {
    if skip(text, 'Z').is_some() {
        return Some(0);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    *text = &text[1..];
    let hour = take(text, 2)?;
    let minute = if text.is_empty() {
        0
    } else {
        skip(text, ':');
        take(text, 2)?
    };
    (hour < 16 && minute < 60).then_some(sign * (hour * HOUR + minute * MINUTE))
}

fn print_time(micros: i64) -> String {
    let (hour, minute, second) = (micros / HOUR, micros % HOUR / MINUTE, micros % MINUTE / SECOND);
    let fraction = format!("{:06}", micros % SECOND);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{hour:02}:{minute:02}:{second:02}{point}{fraction}")
}

fn out_of_range(text: &str) -> Wrong {
    Wrong::new("22008", format!("date/time field value out of range: \"{text}\""))
}

pub(super) fn date(text: &str) -> Result<String, Wrong> {
    let mut rest = text;
    match take_date(&mut rest) {
        Some(day) if rest.is_empty() => Ok(quoted(&day.map_err(|()| out_of_range(text))?.print()?)),
        _ => Err(Wrong::Unsure { send: SEND_DATE }),
    }
}

pub(super) fn time(text: &str, digits: Digits) -> Result<String, Wrong> {
    let mut rest = text;
    match take_time(&mut rest) {
        Some(micros) if rest.is_empty() => Ok(quoted(&print_time(digits.round(micros)))),
        _ => Err(Wrong::Unsure { send: SEND_TIME }),
    }
}

/// The offset of a time without a zone is read and means nothing, as in PostgreSQL.
pub(super) fn timestamp(text: &str, digits: Digits) -> Result<String, Wrong> {
    let (local, _) = instant(text)?;
    print(digits.round(local - Y2000) + Y2000, "")
}

pub(super) fn timestamptz(text: &str, digits: Digits) -> Result<String, Wrong> {
    let (local, offset) = instant(text)?;
    print(digits.round(local - offset - Y2000) + Y2000, "+00:00")
}

/// Microseconds since 1970 by the clock that is read, and how far it is ahead of UTC.
fn instant(text: &str) -> Result<(i64, i64), Wrong> {
    let unsure = Wrong::Unsure { send: SEND_TIMESTAMP };
    let mut rest = text;
    let Some(day) = take_date(&mut rest) else { return Err(unsure) };
    let (mut time, mut offset) = (0, 0);
    if !rest.is_empty() {
        let parts = skip(&mut rest, 'T').or_else(|| skip(&mut rest, ' ')).and_then(|()| take_time(&mut rest));
        time = parts.ok_or_else(|| unsure.clone())?;
        if !rest.is_empty() {
            offset = take_zone(&mut rest).ok_or_else(|| unsure.clone())?;
        }
    }
    if !rest.is_empty() {
        return Err(unsure);
    }
    let day = day.map_err(|()| out_of_range(text))?;
    Ok((day.0 * DAY + time, offset))
}

fn print(micros: i64, zone: &str) -> Result<String, Wrong> {
    let day = Day(micros.div_euclid(DAY)).print()?;
    Ok(quoted(&format!("{day}T{}{zone}", print_time(micros.rem_euclid(DAY)))))
}
