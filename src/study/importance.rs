//! How much each parameter matters for being among the best tenth: PED-ANOVA (Watanabe 2023,
//! arXiv 2304.10255), as Optuna 5 has it (`importance/_ped_anova`), with its treatment of parameters
//! that do not always exist (arXiv 2601.20800).
//!
//! A parameter matters as much as its values in the best tenth of the complete trials differ from
//! its values in all of them: the Pearson divergence of two densities on a grid. Where a parameter
//! exists in some of the trials only, those count, by their shares of the best and of all.

use super::parzen::mass;
use super::space::{Domain, Param, Range};
use super::{PointRow, Study, Trial};

/// The share of the trials that counts as the best.
const BEST: f64 = 0.1;
/// Cells of a number's grid at most.
const CELLS: usize = 50;
/// What a density has at least, so that none is divided by 0.
const LEAST: f64 = 1e-12;

/// Gives the importance of each parameter of a study, the most important first; they sum to 1.
///
/// Equal ones, where the trials tell nothing: fewer than two are complete, or the best tenth is all
/// of them. A parameter that no complete trial had has none.
pub fn importance(study: &Study) -> Vec<(String, f64)> {
    let complete = study.complete();
    let all: Vec<PointRow<'_>> = complete.iter().map(|trial| study.point(trial.number)).collect();
    let best = best_tenth(study, &complete);
    let params = study.space().params_by_path();
    let of = |param: &&Param| match all.len() {
        0 | 1 => 0.0,
        _ => divergence(param, &best, &all),
    };
    let mut found: Vec<f64> = params.iter().map(of).collect();
    if found.iter().sum::<f64>() == 0.0 {
        let exists = |param: &&Param| all.iter().any(|point| point.contains_key(&param.path));
        found = params.iter().map(|param| f64::from(u8::from(exists(param)))).collect();
    }
    let sum: f64 = found.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let pairs = params.iter().zip(found);
    let mut named: Vec<_> = pairs.map(|(param, one)| (param.path.clone(), one / sum)).collect();
    // Equally important ones stay in order of their names.
    named.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    named
}

/// Gives the points of the best tenth: all that are no worse than the last of them, or of several
/// objectives the best by front and hypervolume.
fn best_tenth<'a>(study: &'a Study, complete: &[&Trial]) -> Vec<PointRow<'a>> {
    let count = (BEST * complete.len() as f64).ceil() as usize;
    let order = study.order(complete, count);
    let several = !study.config().others.is_empty();
    let worst = order.get(count.saturating_sub(1)).and_then(|&last| complete[last].value);
    let is_good = |(place, index): (usize, &usize)| {
        place < count || !several && complete[*index].value == worst
    };
    let good = order.iter().enumerate().filter(|(place, index)| is_good((*place, index)));
    good.map(|(_, &index)| study.point(complete[index].number)).collect()
}

/// Gives the divergence of a parameter's values in the best from those in all, weighed by the
/// squared share of the best that have it over the share of all that do.
fn divergence(param: &Param, best: &[PointRow<'_>], all: &[PointRow<'_>]) -> f64 {
    let cells = cells(&param.domain);
    let counts = |points: &[PointRow<'_>]| counts(param, points, cells);
    let (of_best, of_all) = (counts(best), counts(all));
    let (with_best, with_all): (u64, u64) = (of_best.iter().sum(), of_all.iter().sum());
    if with_best == 0 || with_all < 2 || cells < 2 {
        return 0.0;
    }
    let is_choice = matches!(param.domain, Domain::Choice(_));
    let (best_density, density) = (grid(&of_best, is_choice), grid(&of_all, is_choice));
    let pairs = best_density.iter().zip(&density);
    let pearson: f64 = pairs.map(|(best, all)| all * (best / all - 1.0).powi(2)).sum();
    let share = |part: u64, whole: usize| part as f64 / whole as f64;
    share(with_best, best.len()).powi(2) / share(with_all, all.len()) * pearson
}

/// Counts the cells of a parameter's grid.
fn cells(domain: &Domain) -> usize {
    match (domain, domain.count()) {
        (Domain::Choice(choices), _) => choices.len(),
        (Domain::Number(Range { log: true, whole: true, low, high, .. }), _) => {
            let halvings = (high - low + 1.0).ln() / 2.0_f64.ln();
            (halvings.ceil() as usize + 1).min(CELLS)
        }
        (_, count) => count.map_or(CELLS, |count| CELLS.min(count as usize)),
    }
}

/// Counts the points whose value lies in each cell.
fn counts(param: &Param, points: &[PointRow<'_>], cells: usize) -> Vec<u64> {
    let mut counts = vec![0; cells];
    for value in points.iter().filter_map(|point| point.get(&param.path)) {
        let coordinate = param.domain.coordinate(value);
        let cell = match &param.domain {
            Domain::Choice(_) => coordinate as usize,
            Domain::Number(range) => {
                let (low, high) = (range.coordinate(range.low), range.coordinate(range.high));
                let width = (high - low) / (cells.max(2) - 1) as f64;
                // In the middle between two, the lower one.
                ((coordinate - low) / width - 0.5).ceil().clamp(0.0, (cells - 1) as f64) as usize
            }
        };
        counts[cell] += 1;
    }
    counts
}

/// Gives the density of a mixture of one kernel for each cell with points, by their number, and a
/// wide prior that weighs as much as one point.
fn grid(counts: &[u64], is_choice: bool) -> Vec<f64> {
    let seen: Vec<(usize, f64)> = counts
        .iter()
        .enumerate()
        .filter(|(_, count)| **count > 0)
        .map(|(cell, count)| (cell, *count as f64))
        .collect();
    let sum: f64 = seen.iter().map(|(_, weight)| weight).sum();
    let kernel: Box<dyn Fn(Option<usize>, usize) -> f64> = if is_choice {
        Box::new(choice_kernel(counts.len(), seen.len()))
    } else {
        Box::new(number_kernel(counts.len(), scott(&seen)))
    };
    let density = |cell: usize| {
        let of_seen = seen.iter().map(|(centre, weight)| weight * kernel(Some(*centre), cell));
        (of_seen.sum::<f64>() + kernel(None, cell)) / (sum + 1.0) + LEAST
    };
    (0..counts.len()).map(density).collect()
}

/// Makes the chance of a choice by the choice that a kernel stands for; none is the prior.
fn choice_kernel(choices: usize, kernels: usize) -> impl Fn(Option<usize>, usize) -> f64 {
    let prior = 1.0 / (kernels + 1) as f64;
    move |centre, cell| {
        let (own, all) = match centre {
            Some(centre) => (prior + f64::from(u8::from(centre == cell)), 1.0),
            None => (prior, 0.0),
        };
        own / (prior * choices as f64 + all)
    }
}

/// Makes the mass of a cell by the cell that a kernel is centred on; none is the prior.
fn number_kernel(cells: usize, sigma: f64) -> impl Fn(Option<usize>, usize) -> f64 {
    let last = cells as f64 - 1.0;
    move |centre, cell| {
        let (mean, sigma) = match centre {
            Some(centre) => (centre as f64, sigma),
            None => (last / 2.0, last + 1.0),
        };
        let between = |low: f64, high: f64| mass((low - mean) / sigma, (high - mean) / sigma);
        let at = cell as f64;
        between(at - 0.5, at + 0.5) / between(-0.5, last + 0.5)
    }
}

/// Gives the width of the kernels by Scott's rule (1992), in cells: over the smaller of the standard
/// deviation and the range between the quarters, and so that a cell has 90 % of its kernel at least.
fn scott(seen: &[(usize, f64)]) -> f64 {
    let sum: f64 = seen.iter().map(|(_, weight)| weight).sum();
    let mean = seen.iter().map(|(cell, weight)| *cell as f64 * weight).sum::<f64>() / sum;
    let square: f64 = seen.iter().map(|(cell, w)| (*cell as f64 - mean).powi(2) * w).sum();
    let deviation = (square / f64::max(1.0, sum - 1.0)).sqrt();
    let below = |bound: &dyn Fn(f64) -> bool| {
        let mut so_far = 0.0;
        let past = |(_, weight): &&(usize, f64)| {
            so_far += weight;
            bound(so_far)
        };
        seen.iter().take_while(past).count()
    };
    let (first, third) = ((sum / 4.0).floor(), (sum * 3.0 / 4.0).floor());
    let lower = below(&|so_far| so_far < first);
    let upper = below(&|so_far| so_far <= third).min(seen.len() - 1);
    let quarters = seen[upper].0 as f64 - seen[lower].0 as f64;
    f64::max(1.059 * f64::min(quarters / 1.34, deviation) * sum.powf(-0.2), 0.5 / 1.64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use crate::study::{
        Curve, Objective, Point, Pruner, Sampler, SearchParam, Study, StudyConfig, TrialEnd,
    };

    /// What `benches/peers/study_record.py` recorded of Optuna 5.
    #[derive(Deserialize)]
    struct Recorded {
        studies: Vec<RecordedStudy>,
    }

    #[derive(Deserialize)]
    struct RecordedStudy {
        name: String,
        space: BTreeMap<String, SearchParam>,
        maximize: bool,
        trials: Vec<RecordedTrial>,
        importance: BTreeMap<String, f64>,
    }

    #[derive(Deserialize)]
    struct RecordedTrial {
        params: Point,
        /// One for each objective; none where it failed.
        values: Vec<f64>,
    }

    /// Replays recorded trials as a study of one trial at a time whose points are given.
    fn replay(recorded: &RecordedStudy) -> Study {
        let objective = |index: usize| match recorded.maximize {
            true => Objective::Maximize(index.to_string()),
            false => Objective::Minimize(index.to_string()),
        };
        let width = recorded.trials.iter().map(|trial| trial.values.len()).max().unwrap_or(1);
        let mut study = Study::new(StudyConfig {
            space: recorded.space.clone(),
            sampler: Sampler::Random { seed: 0 },
            pruner: Pruner::None,
            objective: objective(0),
            others: (1..width).map(objective).collect(),
            trials: recorded.trials.len() as u64,
            parallel: 1,
            first: None,
            steps: None,
        });
        for trial in &recorded.trials {
            let number = study.enqueue(trial.params.clone());
            let end = match &trial.values[..] {
                [] => TrialEnd::Failed,
                [value, others @ ..] => TrialEnd::Complete {
                    value: *value,
                    others: others.to_vec(),
                    curve: Curve::default(),
                },
            };
            study.tell(number, end);
        }
        study
    }

    #[test]
    fn importances_are_those_of_optuna() {
        let text = include_str!("../../tests/data/study.json");
        let recorded: Recorded = serde_json::from_str(text).expect("the record can be read");
        assert!(recorded.studies.len() >= 4);
        for one in recorded.studies {
            let found = super::importance(&replay(&one));
            assert!(found.is_sorted_by(|(_, a), (_, b)| a >= b));
            assert_eq!(found.len(), one.space.len());
            for (path, ours) in found {
                let theirs = one.importance.get(&path).copied().unwrap_or(0.0);
                // They integrate the normal distribution by other approximations.
                assert!((ours - theirs).abs() < 1e-6, "{}: {path} {ours} {theirs}", one.name);
            }
        }
    }
}
