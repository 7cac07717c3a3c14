//! What is wrong with the params of a `train` stage that no type or range can say.

use super::Params;
use crate::model::{Device, Loss, Network, Outputs, Schedule};
use crate::stage::ParamIssue;

impl Params {
    /// Finds the mistakes that a field's type and range cannot express.
    pub fn check(&self) -> Vec<ParamIssue> {
        let mut issues = Vec::new();
        if self.features.as_ref().is_some_and(|features| features.contains(&self.target)) {
            let message = format!("the target `{}` cannot be one of its own features", self.target);
            let help = "leave it out; `target_history: true` gives its past values";
            issues.push(ParamIssue::new("features", message, help));
        }
        let features = self.features.as_deref().unwrap_or_default();
        if let Some(twice) = (1..features.len()).find(|at| features[..*at].contains(&features[*at]))
        {
            let message = format!("`{}` is among the features twice", features[twice]);
            issues.push(ParamIssue::new("features", message, "name each column once"));
        }
        if self.features.as_ref().is_some_and(Vec::is_empty) && !self.target_history {
            let message = "there are no features, so there is nothing to learn from";
            let help = "name some, leave `features` out for all, or set `target_history: true`";
            issues.push(ParamIssue::new("features", message, help));
        }
        if self.warmup_epochs >= self.epochs {
            let message = format!(
                "a warm-up of {} epochs never ends in a training of {}",
                self.warmup_epochs, self.epochs
            );
            issues.push(ParamIssue::new("warmup_epochs", message, "make it less than `epochs`"));
        }
        issues.extend(self.check_network());
        issues.extend(self.check_outputs());
        issues.extend(self.check_schedule());
        issues.extend(check_device(self.device));
        issues
    }

    /// A factor of 1 changes nothing, and one of 0 ends all learning.
    fn check_schedule(&self) -> Option<ParamIssue> {
        let (Schedule::Step { factor, .. }
        | Schedule::Exponential { factor }
        | Schedule::ReduceOnPlateau { factor, .. }) = self.schedule
        else {
            return None;
        };
        let inside = factor > 0.0 && factor < 1.0;
        let message = format!("the factor {factor} does not lower the learning rate step by step");
        let help = "give one above 0 and below 1, such as 0.5";
        (!inside).then(|| ParamIssue::new("schedule.factor", message, help))
    }

    fn check_network(&self) -> Option<ParamIssue> {
        match self.network {
            Network::Nlinear {} if !self.target_history => {
                let message =
                    "`nlinear` starts from the target's last value, which it is not given";
                let help = "set `target_history: true`, or take another network";
                Some(ParamIssue::new("network", message, help))
            }
            Network::Dlinear { average } if average % 2 == 0 => {
                let message = format!("a moving average of {average} rows has no middle row");
                let help = format!("give an odd number, such as {}", average + 1);
                Some(ParamIssue::new("network.average", message, help))
            }
            _ => None,
        }
    }

    fn check_outputs(&self) -> Vec<ParamIssue> {
        let mut issues = Vec::new();
        if self.outputs == Outputs::Path && self.horizon == 0 {
            let message = "a path up to a horizon of 0 has no rows";
            let help = "give `horizon`, such as 24, or leave `outputs: path` out";
            issues.push(ParamIssue::new("outputs", message, help));
        }
        let quantiles = &self.quantiles;
        let message = match self.loss {
            Loss::Quantile if quantiles.is_empty() => "the loss `quantile` needs `quantiles`",
            Loss::Quantile => {
                let inside = quantiles.iter().all(|quantile| *quantile > 0.0 && *quantile < 1.0);
                let rising = quantiles.is_sorted_by(|left, right| left < right);
                match (inside, rising) {
                    (true, true) => return issues,
                    (false, _) => "a quantile lies between 0 and 1, both left out",
                    (true, false) => "the quantiles do not rise",
                }
            }
            _ if quantiles.is_empty() => return issues,
            _ => "quantiles are predicted under `loss: quantile` alone",
        };
        let help = match self.loss {
            Loss::Quantile => "give some from low to high, such as `[0.1, 0.5, 0.9]`",
            _ => "set `loss: quantile`, or leave `quantiles` out",
        };
        issues.push(ParamIssue::new("quantiles", message, help));
        issues
    }
}

fn check_device(device: Device) -> Option<ParamIssue> {
    let message = "this build of `runner` has no libtorch";
    let help = "build it in: `scripts/libtorch.sh target/libtorch`, then `LIBTORCH=$PWD/target/libtorch \
                cargo build --release --features tch`; or leave `device` out";
    device.open().is_none().then(|| ParamIssue::new("device", message, help))
}
