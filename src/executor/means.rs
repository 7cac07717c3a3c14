//! What a plan's stages ask for beside the machine's means: looked at before anything runs.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use super::Means;
use super::secrets::{SHORTEST, Secrets};
use crate::pipeline::{Pipeline, Stage};
use crate::plan::Plan;
use crate::quantity::size_text;
use crate::schedule::{Demand, Machine, Request};
use crate::stage::{Params, StageKind};

/// What a stage asks for and cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are named for what they hold")]
pub enum Unmet {
    /// More GPUs than there are.
    #[error("stage `{stage}` asks for {wanted} GPU(s), and there are {has}")]
    Gpus { stage: String, wanted: usize, has: usize },
    /// More memory than there is.
    #[error("stage `{stage}` asks for {} of memory, and there are {}", size_text(*wanted), size_text(*has))]
    Memory { stage: String, wanted: u64, has: u64 },
    /// A secret that the environment lacks.
    #[error("stage `{stage}` needs the secret `{name}`, and the environment has no such variable")]
    NoSecret { stage: String, name: String },
    /// A secret that cannot be told from other words.
    #[error("the secret `{name}` of stage `{stage}` is shorter than {SHORTEST} bytes")]
    ShortSecret { stage: String, name: String },
}

impl Unmet {
    /// Gives a way out.
    pub fn help(&self) -> String {
        match self {
            Unmet::Gpus { has: 0, .. } => {
                "run it on a machine with GPUs, or name them: `--gpus 2`, or `--gpus 0,3` by their \
                 ids"
                .to_owned()
            }
            Unmet::Gpus { .. } => {
                "name those that there are with `--gpus`, or lower `resources.gpus`".to_owned()
            }
            Unmet::Memory { .. } => {
                "allow more with `--memory`, or lower `resources.memory`".to_owned()
            }
            Unmet::NoSecret { name, .. } => {
                format!("export it in the shell that starts the run: `export {name}=…`")
            }
            Unmet::ShortSecret { .. } => {
                "so short a word cannot be kept out of logs: use a longer one".to_owned()
            }
        }
    }
}

/// The secrets of a pipeline's stages.
#[derive(Clone, Debug, Default)]
pub(super) struct Vault {
    by_stage: HashMap<String, Arc<Secrets>>,
    /// Every name that some stage declares.
    names: Vec<String>,
}

impl Vault {
    /// Gives what a stage declares.
    pub(super) fn of(&self, stage: &str) -> Arc<Secrets> {
        self.by_stage.get(stage).cloned().unwrap_or_default()
    }

    /// Gives the names that only other stages declare: their values are not a stage's to see.
    pub(super) fn hidden_from(&self, secrets: &Secrets) -> Vec<String> {
        self.names.iter().filter(|name| !secrets.has(name)).cloned().collect()
    }
}

/// Looks whether all stages of a plan can have what they ask for, and reads their secrets.
///
/// # Errors
///
/// The first thing that is lacking.
pub(super) fn look(plan: &Plan<'_>, means: &Means) -> Result<Vault, Unmet> {
    let mut vault = Vault { names: secret_names(plan.pipeline), ..Vault::default() };
    let bases = plan.order.iter().filter_map(|stage| base(plan.pipeline, stage));
    for stage in plan.order.iter().copied().chain(bases) {
        let (name, resources) = (&stage.name, &stage.options.resources);
        let (wanted, has) = (resources.gpus.unwrap_or(0), means.gpus.len());
        if wanted > has {
            return Err(Unmet::Gpus { stage: name.clone(), wanted, has });
        }
        let (wanted, has) = (resources.memory.unwrap_or(0), means.memory);
        if wanted > has {
            return Err(Unmet::Memory { stage: name.clone(), wanted, has });
        }
        let secrets = secrets(stage)?;
        if !secrets.is_empty() {
            vault.by_stage.insert(name.clone(), Arc::new(secrets));
        }
    }
    Ok(vault)
}

/// Gives the base of a tune stage.
fn base<'p>(pipeline: &'p Pipeline, stage: &Stage) -> Option<&'p Stage> {
    match &stage.params {
        Params::Tune(params) => pipeline.stages.get(&params.stage),
        _ => None,
    }
}

fn secret_names(pipeline: &Pipeline) -> Vec<String> {
    let mut names: Vec<String> =
        pipeline.stages.values().flat_map(|stage| stage.options.secrets.clone()).collect();
    names.sort();
    names.dedup();
    names
}

fn secrets(stage: &Stage) -> Result<Secrets, Unmet> {
    let mut secrets = Secrets::default();
    for name in &stage.options.secrets {
        let of = || (stage.name.clone(), name.clone());
        let value = std::env::var_os(name).filter(|value| !value.is_empty());
        let Some(value) = value else {
            let (stage, name) = of();
            return Err(Unmet::NoSecret { stage, name });
        };
        if value.as_bytes().trim_ascii_end().len() < SHORTEST {
            let (stage, name) = of();
            return Err(Unmet::ShortSecret { stage, name });
        }
        secrets.add(name, value.as_bytes());
    }
    Ok(secrets)
}

impl Means {
    /// Gives the means as numbers.
    pub(super) fn machine(&self) -> Machine {
        Machine { cpus: self.jobs, memory: self.memory, gpus: self.gpus.len() }
    }
}

/// Gives what a stage asks for: more than one slot unasked only where its kind can use them.
pub(super) fn request(stage: &Stage) -> Request {
    let demand = match stage.kind() {
        StageKind::Generate | StageKind::Preprocess => Demand::Idle,
        StageKind::Train => Demand::Spare,
        StageKind::Evaluate | StageKind::Command => Demand::ONE,
        StageKind::Tune => Demand::None,
    };
    asked(stage, demand, stage.options.priority)
}

/// Gives what a trial of a tune asks for: what its base does, and one slot unless that says more.
pub(super) fn trial_request(base: &Stage, tune: &Stage, way: u64) -> Request {
    Request { way, ..asked(base, Demand::ONE, tune.options.priority) }
}

fn asked(stage: &Stage, demand: Demand, priority: i64) -> Request {
    let resources = &stage.options.resources;
    Request {
        demand: resources.cpus.map_or(demand, Demand::Cpus),
        memory: resources.memory.unwrap_or(0),
        gpus: resources.gpus.unwrap_or(0),
        priority,
        way: 0,
    }
}

/// Gives for each stage of a plan, in its order, the longest way from it to the end in
/// milliseconds, its own time included; what never ran counts nothing.
pub(super) fn ways(plan: &Plan<'_>, seconds: &HashMap<String, f64>) -> Vec<u64> {
    let places: HashMap<&str, usize> =
        plan.order.iter().enumerate().map(|(at, stage)| (stage.name.as_str(), at)).collect();
    let mut ways = vec![0_u64; plan.order.len()];
    // Each stage stands after all that it needs, so that its own way is known before theirs.
    for (at, stage) in plan.order.iter().enumerate().rev() {
        let own = seconds.get(&stage.name).map_or(0.0, |seconds| seconds * 1000.0);
        ways[at] = ways[at].saturating_add(own as u64);
        for need in plan.needs(&stage.name) {
            let above = places[need.name.as_str()];
            ways[above] = ways[above].max(ways[at]);
        }
    }
    ways
}
