//! Reads which values a searched parameter may take, and says what is wrong with them.

use serde_json::Value;

use super::SearchParam;
use super::space::{Domain, Range, rounded, same};

/// The largest whole number up to which all whole numbers are exact as `f64`.
const LARGEST_WHOLE: i64 = 1 << 53;

/// A mistake in a parameter: the field (empty for the whole), what is wrong, and a way out.
pub(super) type Wrong = (&'static str, String, String);

impl SearchParam {
    /// Reads which values the parameter may take.
    ///
    /// # Errors
    ///
    /// The first mistake.
    pub(super) fn domain(&self) -> Result<Domain, Wrong> {
        let given = self.given();
        let [field] = given[..] else {
            let message = match given.len() {
                0 => "no domain says which values the parameter may take".to_owned(),
                _ => format!("{} say which values the parameter may take", quoted(&given)),
            };
            let help = "give exactly one of `choice`, `float`, `log_float`, `int`, `log_int`";
            return Err(("", message, help.to_owned()));
        };
        if let Some(choices) = &self.choice {
            return choice_domain(choices, self.step);
        }
        let whole = self.int.or(self.log_int);
        let (low, high) = match (whole, self.float.or(self.log_float)) {
            (Some([low, high]), _) => whole_ends(field, low, high)?,
            (None, Some([low, high])) => (low, high),
            (None, None) => unreachable!("one of the five fields is given"),
        };
        let log = field.starts_with("log_");
        check_ends(field, low, high, log)?;
        let step = self.checked_step(field, whole.is_some(), log, high - low)?;
        let high = step.map_or(high, |step| last_on_step(low, high, step));
        Ok(Domain::Number(Range { low, high, step, log, whole: whole.is_some() }))
    }

    fn given(&self) -> Vec<&'static str> {
        let fields = [
            ("choice", self.choice.is_some()),
            ("float", self.float.is_some()),
            ("log_float", self.log_float.is_some()),
            ("int", self.int.is_some()),
            ("log_int", self.log_int.is_some()),
        ];
        fields.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
    }

    fn checked_step(
        &self,
        field: &'static str,
        whole: bool,
        log: bool,
        span: f64,
    ) -> Result<Option<f64>, Wrong> {
        let wrong = |message: String, help: &str| Err(("step", message, help.to_owned()));
        match self.step {
            Some(_) if log => {
                wrong(format!("a `{field}` has no `step`"), "leave `step` out, or use `choice`")
            }
            Some(step) if !(step.is_finite() && step > 0.0) => {
                wrong(format!("the step is {step}"), "give a step above 0")
            }
            Some(step) if whole && step.fract() != 0.0 => {
                wrong(format!("the step of an `int` is {step}"), "give a whole step")
            }
            Some(step) if step > span => {
                wrong(format!("the step {step} is larger than the range"), "give a smaller step")
            }
            Some(step) if span / step > LARGEST_WHOLE as f64 => {
                wrong(format!("the step {step} is too small for the range"), "give a larger step")
            }
            Some(step) => Ok(Some(step)),
            None => Ok(whole.then_some(1.0)),
        }
    }
}

fn choice_domain(choices: &[Value], step: Option<f64>) -> Result<Domain, Wrong> {
    if step.is_some() {
        let help = "leave `step` out, or use `float` or `int`";
        return Err(("step", "a `choice` has no `step`".to_owned(), help.to_owned()));
    }
    if choices.is_empty() {
        let help = "list the values that the parameter may take";
        return Err(("choice", "the list of choices is empty".to_owned(), help.to_owned()));
    }
    for (index, choice) in choices.iter().enumerate() {
        if choices[..index].iter().any(|earlier| same(earlier, choice)) {
            let message = format!("`{choice}` is among the choices twice");
            return Err(("choice", message, "list each value once".to_owned()));
        }
    }
    Ok(Domain::Choice(choices.to_vec()))
}

fn whole_ends(field: &'static str, low: i64, high: i64) -> Result<(f64, f64), Wrong> {
    if low < -LARGEST_WHOLE || high > LARGEST_WHOLE {
        let message = format!("the range {low} to {high} is too wide");
        return Err((field, message, format!("stay within {LARGEST_WHOLE} of 0")));
    }
    Ok((low as f64, high as f64))
}

fn check_ends(field: &'static str, low: f64, high: f64, log: bool) -> Result<(), Wrong> {
    let wrong = |message: String, help: &str| Err((field, message, help.to_owned()));
    if !(low.is_finite() && high.is_finite() && (high - low).is_finite()) {
        return wrong(format!("the range {low} to {high} is not finite"), "give two finite ends");
    }
    if low >= high {
        let message = format!("the low end {low} is not below the high end {high}");
        return wrong(message, "give the low end first; a single value belongs into the base");
    }
    if log && low <= 0.0 {
        let message = format!("the low end {low} has no logarithm");
        return wrong(message, "give ends above 0, or leave out `log_`");
    }
    Ok(())
}

fn last_on_step(low: f64, high: f64, step: f64) -> f64 {
    // A high end that is on a step but for rounding is kept as it was written.
    let steps = (high - low) / step;
    if (steps - steps.round()).abs() < 1e-9 {
        return high;
    }
    rounded(low + steps.floor() * step, step)
}

fn quoted(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(" and ")
}
