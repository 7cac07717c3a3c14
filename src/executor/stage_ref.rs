//! A stage of the run's pipeline, shared by all who work for it: a hundred thousand are not copied.

use std::ops::Deref;
use std::sync::Arc;

use crate::pipeline::{Pipeline, Stage};

/// A stage, by its place in the pipeline that has it.
#[derive(Clone)]
pub struct StageRef {
    pipeline: Arc<Pipeline>,
    index: usize,
}

impl StageRef {
    /// Finds the stage of that name, which must be one of the pipeline's.
    pub fn new(pipeline: &Arc<Pipeline>, name: &str) -> StageRef {
        // Whoever asks has the name from the checked pipeline itself.
        let index = pipeline.stages.get_index_of(name).expect("a stage of the pipeline");
        StageRef { pipeline: Arc::clone(pipeline), index }
    }
}

impl Deref for StageRef {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        &self.pipeline.stages[self.index]
    }
}
