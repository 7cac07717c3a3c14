//! A table for people, aligned, and the same rows as JSON and as CSV.
//!
//! Knows cells and nothing of what they mean; prints nothing.

use serde_json::{Map, Value};

use super::text::{self, Digits};

/// One cell: how it is written for people follows from what it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Nothing is known.
    Absent,
    /// Words.
    Text(String),
    /// How something ended; it may have a colour.
    Outcome(String),
    /// A count.
    Count(u64),
    /// A measured number: five digits for people.
    Number(f64),
    /// A change between two numbers, with its sign.
    Change(f64),
    /// A duration.
    Seconds(f64),
    /// A moment in UTC as the history has it.
    Time(String),
    /// A param's value.
    Param(Value),
    /// What people read, and what programs do.
    Both(String, Value),
}

impl Cell {
    /// Makes a cell of what may be absent.
    pub fn maybe<T>(value: Option<T>, cell: impl FnOnce(T) -> Cell) -> Cell {
        value.map_or(Cell::Absent, cell)
    }

    fn for_people(&self) -> String {
        let text = match self {
            Cell::Absent => String::new(),
            Cell::Text(text) | Cell::Outcome(text) | Cell::Both(text, _) => text.clone(),
            Cell::Count(count) => text::count(*count),
            Cell::Number(number) => text::number(*number),
            Cell::Change(change) if *change > 0.0 => format!("+{}", text::number(*change)),
            Cell::Change(change) => text::number(*change),
            Cell::Seconds(seconds) => text::duration(*seconds),
            Cell::Time(time) => time.split('.').next().unwrap_or_default().to_owned(),
            Cell::Param(value) => text::value(value, Digits::Few),
        };
        text.replace(char::is_control, " ")
    }

    /// Gives the cell as JSON; what is not a number is null, for which JSON has no other word.
    pub fn to_value(&self) -> Value {
        match self {
            Cell::Absent => Value::Null,
            Cell::Text(text) | Cell::Outcome(text) => text.clone().into(),
            Cell::Count(count) => (*count).into(),
            Cell::Number(number) | Cell::Change(number) | Cell::Seconds(number) => (*number).into(),
            Cell::Time(time) => format!("{}Z", time.replacen(' ', "T", 1)).into(),
            Cell::Param(value) | Cell::Both(_, value) => value.clone(),
        }
    }

    fn to_csv(&self) -> String {
        match self {
            Cell::Number(number) | Cell::Change(number) | Cell::Seconds(number) => {
                number.to_string()
            }
            Cell::Both(text, _) => text.clone(),
            other => match other.to_value() {
                Value::Null => String::new(),
                Value::String(text) => text,
                value => value.to_string(),
            },
        }
    }

    fn is_right(&self) -> bool {
        matches!(self, Cell::Count(_) | Cell::Number(_) | Cell::Change(_) | Cell::Seconds(_))
            || matches!(self, Cell::Param(value) if value.is_number())
    }

    fn colour(&self) -> Option<u8> {
        let Cell::Outcome(word) = self else { return None };
        match word.as_str() {
            "failed" => Some(31),
            "done" | "ran" | "complete" => Some(32),
            "interrupted" | "cancelled" | "skipped" | "pruned" | "unfinished" | "running" => {
                Some(33)
            }
            _ => None,
        }
    }
}

/// Rows of cells under named columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Makes a table without rows.
    pub fn new<S: Into<String>>(columns: impl IntoIterator<Item = S>) -> Table {
        Table { columns: columns.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row: a cell for each column.
    pub fn push(&mut self, row: impl IntoIterator<Item = Cell>) {
        let row: Vec<Cell> = row.into_iter().collect();
        debug_assert_eq!(row.len(), self.columns.len(), "a row has a cell for each column");
        self.rows.push(row);
    }

    /// Says whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Gives the lines for people: columns in which nothing is known are left out, numbers stand on
    /// the right, and outcomes have a colour where there are colours.
    pub fn lines(&self, colour: bool) -> Vec<String> {
        let has_any = |at: &usize| self.rows.iter().any(|row| !row[*at].for_people().is_empty());
        let shown: Vec<usize> = (0..self.columns.len()).filter(has_any).collect();
        let texts: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| shown.iter().map(|at| row[*at].for_people()).collect())
            .collect();
        let header: Vec<&str> = shown.iter().map(|at| self.columns[*at].as_str()).collect();
        let width = |place: usize| {
            let cells = texts.iter().map(|row| row[place].as_str());
            cells.chain([header[place]]).map(|text| text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..shown.len()).map(width).collect();
        let right: Vec<bool> =
            shown.iter().map(|at| self.rows.iter().any(|row| row[*at].is_right())).collect();
        let join = |cells: Vec<String>| cells.join("  ").trim_end().to_owned();
        let head = (0..shown.len()).map(|at| padded(header[at], widths[at], right[at], None));
        let rule = widths.iter().map(|width| "─".repeat(*width));
        let body = self.rows.iter().zip(&texts).map(|(row, texts)| {
            let cell = |place: usize| {
                let paint = row[shown[place]].colour().filter(|_| colour);
                padded(&texts[place], widths[place], right[place], paint)
            };
            join((0..shown.len()).map(cell).collect())
        });
        let heads = [join(head.collect()), join(rule.collect())];
        heads.into_iter().chain(body).collect()
    }

    /// Gives each row as a JSON object by column.
    pub fn to_values(&self) -> Vec<Value> {
        let object = |row: &Vec<Cell>| {
            let fields = self.columns.iter().cloned().zip(row.iter().map(Cell::to_value));
            Value::Object(fields.collect::<Map<_, _>>())
        };
        self.rows.iter().map(object).collect()
    }

    /// Gives the rows as CSV (RFC 4180 with bare line feeds) under a line of column names.
    pub fn csv(&self) -> String {
        let line = |cells: Vec<String>| {
            cells.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(",") + "\n"
        };
        let rows = self.rows.iter().map(|row| line(row.iter().map(Cell::to_csv).collect()));
        [line(self.columns.clone())].into_iter().chain(rows).collect()
    }
}

fn padded(text: &str, width: usize, right: bool, colour: Option<u8>) -> String {
    let space = " ".repeat(width.saturating_sub(text.chars().count()));
    let text = match colour {
        Some(colour) => format!("\x1b[{colour}m{text}\x1b[0m"),
        None => text.to_owned(),
    };
    if right { space + &text } else { text + &space }
}

fn quoted(cell: &str) -> String {
    match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["stage", "outcome", "time", "none", "rate"]);
        table.push([
            Cell::Text("train, \"a\"".to_owned()),
            Cell::Outcome("ran".to_owned()),
            Cell::Seconds(62.1),
            Cell::Absent,
            Cell::Param(json!(0.5)),
        ]);
        table.push([
            Cell::Text("tune".to_owned()),
            Cell::Outcome("failed".to_owned()),
            Cell::Seconds(0.5),
            Cell::Absent,
            Cell::Number(f64::NAN),
        ]);
        table
    }

    #[test]
    fn people_see_aligned_columns_that_hold_something() {
        let lines = [
            "stage       outcome      time  rate",
            "──────────  ───────  ────────  ────",
            "train, \"a\"  ran      1 m 02 s   0.5",
            "tune        failed     0.50 s   NaN",
        ];
        assert_eq!(table().lines(false), lines);
        assert!(table().lines(true)[3].contains("  \x1b[31mfailed\x1b[0m   "));
    }

    #[test]
    fn programs_see_every_digit() {
        assert_eq!(
            table().csv(),
            "stage,outcome,time,none,rate\n\"train, \"\"a\"\"\",ran,62.1,,0.5\ntune,failed,0.5,,NaN\n"
        );
        assert_eq!(
            table().to_values()[1],
            json!({ "stage": "tune", "outcome": "failed", "time": 0.5, "none": null, "rate": null })
        );
    }
}
