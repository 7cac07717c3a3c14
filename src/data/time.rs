//! Times of every kind as microseconds since 1970, and what a day and a year make of them.
//!
//! Inside, a time is an `i64` of microseconds since 1970-01-01 UTC: finer digits are not told
//! apart. Knows nothing of files.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::compute::kernels::cast_utils::string_to_datetime;
use arrow::datatypes::{DataType, Date32Type, Float64Type, Int64Type};
use arrow::datatypes::{Field, TimeUnit as ArrowUnit};
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Utc};

use super::{Cyclical, DataError, TimeColumn, TimeUnit};

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// 0001-01-01 and 10000-01-01 in seconds: what lies outside is a mistaken unit, not a time.
const YEARS: (i64, i64) = (-62_135_596_800, 253_402_300_800);

/// How a date may be written, beside ISO 8601.
const DATE_TIMES: [&str; 5] =
    ["%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y/%m/%d %H:%M:%S%.f", "%Y/%m/%d %H:%M", "%Y%m%dT%H%M%S"];
const DATES: [&str; 1] = ["%Y/%m/%d"];

/// Gives the times of a column in microseconds since 1970; a missing or non-finite one is null.
///
/// Numbers count in `time.unit`; text holds dates, in UTC where no zone is named; Arrow's dates
/// and timestamps are what they are. `first_row` is the number of the first row, for messages.
///
/// # Errors
///
/// [`DataError`] where a value is not a time or is outside the years 1 to 9999.
pub fn micros(
    column: &ArrayRef,
    time: &TimeColumn,
    first_row: u64,
) -> Result<Int64Array, DataError> {
    let whole = |per_unit: Ratio| {
        let numbers = cast(column, &DataType::Int64)?;
        per_unit.of(numbers.as_primitive::<Int64Type>(), time, first_row)
    };
    match column.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => dates(column, time, first_row),
        DataType::Date32 => {
            let days = column.as_primitive::<Date32Type>();
            Ok(days.unary(|day| i64::from(day) * DAY))
        }
        DataType::Date64 => whole(Ratio::of_unit(ArrowUnit::Millisecond)),
        DataType::Timestamp(unit, _) => whole(Ratio::of_unit(*unit)),
        kind if kind.is_integer() => whole(Ratio::of_unit(arrow_unit(time.unit))),
        kind if kind.is_numeric() => floats(column, time, first_row),
        kind => {
            let message = format!("it is the time and has the type {kind}");
            Err(DataError::column(&time.column, message)
                .with_help("times are numbers, date strings, dates or timestamps"))
        }
    }
}

/// Gives the values of a time column as preprocessed tables hold them: text becomes
/// timestamps in milliseconds, in UTC; all else stays as it is.
pub(super) fn stored(column: &ArrayRef, micros: &Int64Array) -> Result<ArrayRef, DataError> {
    if !stored_as_timestamp(column.data_type()) {
        return Ok(column.clone());
    }
    let millis: Int64Array = micros.unary(|micros| micros.div_euclid(1000));
    Ok(cast(&millis, &timestamp())?)
}

/// Gives the field of a time column as preprocessed tables hold it.
pub(super) fn stored_field(raw: &Field) -> Field {
    let kind = match stored_as_timestamp(raw.data_type()) {
        true => timestamp(),
        false => raw.data_type().clone(),
    };
    Field::new(raw.name(), kind, false)
}

fn stored_as_timestamp(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn timestamp() -> DataType {
    DataType::Timestamp(ArrowUnit::Millisecond, Some("+00:00".into()))
}

fn arrow_unit(unit: TimeUnit) -> ArrowUnit {
    match unit {
        TimeUnit::S => ArrowUnit::Second,
        TimeUnit::Ms => ArrowUnit::Millisecond,
        TimeUnit::Us => ArrowUnit::Microsecond,
        TimeUnit::Ns => ArrowUnit::Nanosecond,
    }
}

/// Microseconds a unit: one of the two is 1.
#[derive(Clone, Copy)]
struct Ratio {
    times: i64,
    over: i64,
}

impl Ratio {
    fn of_unit(unit: ArrowUnit) -> Ratio {
        match unit {
            ArrowUnit::Second => Ratio { times: SECOND, over: 1 },
            ArrowUnit::Millisecond => Ratio { times: 1000, over: 1 },
            ArrowUnit::Microsecond => Ratio { times: 1, over: 1 },
            ArrowUnit::Nanosecond => Ratio { times: 1, over: 1000 },
        }
    }

    fn of(
        self,
        numbers: &Int64Array,
        time: &TimeColumn,
        first_row: u64,
    ) -> Result<Int64Array, DataError> {
        let (least, most) = (YEARS.0 * (SECOND / self.times), YEARS.1 * (SECOND / self.times));
        let (least, most) = (least.saturating_mul(self.over), most.saturating_mul(self.over));
        let outside = (0..numbers.len())
            .find(|row| numbers.is_valid(*row) && !(least..most).contains(&numbers.value(*row)));
        match outside {
            Some(row) => Err(far(first_row + row as u64, time, numbers.value(row))),
            None => Ok(numbers.unary(|number| {
                // A null's slot may hold anything, so that its product may wrap.
                number.div_euclid(self.over).wrapping_mul(self.times)
            })),
        }
    }
}

fn far(row: u64, time: &TimeColumn, number: impl std::fmt::Display) -> DataError {
    DataError::value(row, &time.column, format!("the time {number} is outside the years 1 to 9999"))
        .with_help("say the unit of the numbers: `time: { column: …, unit: s | ms | us | ns }`")
}

fn floats(column: &ArrayRef, time: &TimeColumn, first_row: u64) -> Result<Int64Array, DataError> {
    let numbers = cast(column, &DataType::Float64)?;
    let Ratio { times, over } = Ratio::of_unit(arrow_unit(time.unit));
    let (least, most) = ((YEARS.0 * SECOND) as f64, (YEARS.1 * SECOND) as f64);
    let value = |(row, number): (usize, Option<f64>)| {
        let Some(number) = number.filter(|number| number.is_finite()) else { return Ok(None) };
        let micros = (number * times as f64 / over as f64).round();
        match (least..most).contains(&micros) {
            true => Ok(Some(micros as i64)),
            false => Err(far(first_row + row as u64, time, number)),
        }
    };
    numbers.as_primitive::<Float64Type>().iter().enumerate().map(value).collect()
}

fn dates(column: &ArrayRef, time: &TimeColumn, first_row: u64) -> Result<Int64Array, DataError> {
    let text = cast(column, &DataType::Utf8)?;
    let value = |(row, date): (usize, Option<&str>)| {
        let Some(date) = date else { return Ok(None) };
        parse_date(date.trim()).map(Some).ok_or_else(|| {
            let message = format!("`{date}` is not a date");
            DataError::value(first_row + row as u64, &time.column, message)
                .with_help("dates are ISO 8601, or like `2024-01-31 23:59:00`")
        })
    };
    text.as_string::<i32>().iter().enumerate().map(value).collect()
}

fn parse_date(date: &str) -> Option<i64> {
    if let Ok(time) = string_to_datetime(&Utc, date) {
        return Some(time.timestamp_micros());
    }
    let date_time =
        || DATE_TIMES.iter().find_map(|format| NaiveDateTime::parse_from_str(date, format).ok());
    let midnight = || {
        let day = DATES.iter().find_map(|format| NaiveDate::parse_from_str(date, format).ok())?;
        day.and_hms_opt(0, 0, 0)
    };
    Some(date_time().or_else(midnight)?.and_utc().timestamp_micros())
}

impl Cyclical {
    /// Gives the word for it, which also names its features: `hour_sin` and `hour_cos`.
    pub fn name(self) -> &'static str {
        match self {
            Cyclical::Minute => "minute",
            Cyclical::Hour => "hour",
            Cyclical::Weekday => "weekday",
            Cyclical::Month => "month",
        }
    }

    /// Gives the names of its two features.
    pub fn features(self) -> [String; 2] {
        [format!("{}_sin", self.name()), format!("{}_cos", self.name())]
    }

    /// Gives the share of the cycle that has passed, from 0 to 1, at a time in microseconds since
    /// 1970, in UTC. The hour has its fraction; minute, weekday and month are whole.
    pub fn phase(self, micros: i64) -> f64 {
        let in_day = micros.rem_euclid(DAY);
        match self {
            Cyclical::Hour => in_day as f64 / DAY as f64,
            Cyclical::Minute => (in_day / (60 * SECOND) % 60) as f64 / 60.0,
            // 1970-01-01 was a Thursday, the fourth day from Monday.
            Cyclical::Weekday => (micros.div_euclid(DAY) + 3).rem_euclid(7) as f64 / 7.0,
            Cyclical::Month => {
                // The years 1 to 9999, to which times are held, are all within chrono's.
                let day = DateTime::from_timestamp_micros(micros).unwrap_or_default();
                f64::from(day.month0()) / 12.0
            }
        }
    }
}

/// Gives times of every zone in UTC: the instants are the same, and the names of zones, which
/// would need a database, are not.
pub(super) fn in_utc(batch: &RecordBatch) -> Result<RecordBatch, DataError> {
    let utc = |(field, column): (&Arc<Field>, &ArrayRef)| match field.data_type() {
        DataType::Timestamp(unit, Some(_)) => {
            let kind = DataType::Timestamp(*unit, Some("+00:00".into()));
            Ok((field.name().clone(), cast(column, &kind)?))
        }
        _ => Ok((field.name().clone(), column.clone())),
    };
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).map(utc);
    Ok(RecordBatch::try_from_iter(columns.collect::<Result<Vec<_>, DataError>>()?)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Date32Array, Float64Array, StringArray, TimestampNanosecondArray};

    use super::*;

    fn time(unit: TimeUnit) -> TimeColumn {
        TimeColumn { column: "t".to_owned(), unit }
    }

    #[test]
    fn every_kind_of_time_is_the_same_instant() {
        let seconds = 1_704_067_200_i64 + 3661;
        let instant = seconds * SECOND;
        let whole = |number| Arc::new(Int64Array::from(vec![number])) as ArrayRef;
        let text = |date| Arc::new(StringArray::from(vec![date])) as ArrayRef;
        let columns: [(ArrayRef, TimeUnit); 9] = [
            (whole(seconds), TimeUnit::S),
            (whole(seconds * 1000), TimeUnit::Ms),
            (whole(seconds * SECOND * 1000), TimeUnit::Ns),
            (Arc::new(Float64Array::from(vec![seconds as f64])), TimeUnit::S),
            (text("2024-01-01 01:01:01"), TimeUnit::S),
            (text("2024-01-01T03:01:01+02:00"), TimeUnit::S),
            (text("2024-01-01T01:01:01.000Z"), TimeUnit::S),
            (text("2024/01/01 01:01:01"), TimeUnit::S),
            (
                Arc::new(
                    TimestampNanosecondArray::from(vec![instant * 1000])
                        .with_timezone("Europe/Berlin"),
                ),
                TimeUnit::S,
            ),
        ];
        for (column, unit) in columns {
            let times = micros(&column, &time(unit), 0).unwrap();
            assert_eq!(times.value(0), instant, "{column:?}");
        }
        let days: ArrayRef = Arc::new(Date32Array::from(vec![Some(19_723), None]));
        let times = micros(&days, &time(TimeUnit::S), 0).unwrap();
        assert_eq!(times, Int64Array::from(vec![Some(1_704_067_200 * SECOND), None]));
        for date in ["2024-01-01", "2024/01/01", "2024-01-01 00:00"] {
            assert_eq!(parse_date(date), Some(1_704_067_200 * SECOND), "{date}");
        }
    }

    #[test]
    fn what_is_not_a_time_is_named() {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["2024-01-01", "31.12.2024"]));
        let error = micros(&text, &time(TimeUnit::S), 10).unwrap_err();
        assert_eq!(error.to_string(), "row 12, column `t`: `31.12.2024` is not a date");
        let millis: ArrayRef = Arc::new(Int64Array::from(vec![1_704_067_200_000]));
        let error = micros(&millis, &time(TimeUnit::S), 0).unwrap_err();
        assert!(error.help().unwrap().contains("unit"), "{error}");
        let gaps: ArrayRef = Arc::new(Float64Array::from(vec![Some(f64::NAN), None, Some(1.5)]));
        let times = micros(&gaps, &time(TimeUnit::S), 0).unwrap();
        assert_eq!(times, Int64Array::from(vec![None, None, Some(1_500_000)]));
    }

    #[test]
    fn phases_follow_the_calendar() {
        // Sunday, 2024-03-31 18:45:30 UTC.
        let sunday = parse_date("2024-03-31 18:45:30").unwrap();
        assert_eq!(Cyclical::Hour.phase(sunday), (18.0 * 3600.0 + 45.0 * 60.0 + 30.0) / 86_400.0);
        assert_eq!(Cyclical::Minute.phase(sunday), 45.0 / 60.0);
        assert_eq!(Cyclical::Weekday.phase(sunday), 6.0 / 7.0);
        assert_eq!(Cyclical::Month.phase(sunday), 2.0 / 12.0);
        let before_1970 = parse_date("1969-12-29 23:00:00").unwrap();
        assert_eq!(Cyclical::Weekday.phase(before_1970), 0.0, "a Monday");
        assert_eq!(Cyclical::Hour.phase(before_1970), 23.0 / 24.0);
    }
}
