//! The batches without rows that let windows of processing time end on time.

use crate::operators::window::ends::{WindowEnds, WindowsJob};
use crate::operators::window::node::WindowNode;
use crate::operators::window::state::empty_batches::EmptyBatches;
use crate::running::Running;
use millstream_base::error::Result;
use millstream_base::time::microseconds;

/// Returns the empty batches that worker 0 creates for the windows of the job.
pub fn empty_batches(running: &Running) -> Result<EmptyBatches> {
    let (graph, workers) = (&running.graph, running.threads.count);
    let job = WindowsJob { batch: graph.spec.batch, graph, checkpoints: running.checkpoints.as_ref() };
    let (mut windows, held_back) = (Vec::new(), graph.held_back_us());
    for stage in &graph.stages {
        if let Some(WindowNode::Batches { size_us, slide_us }) = stage.window {
            let ends = WindowEnds::of_worker(stage, (size_us, slide_us), (0, workers), &job)?;
            windows.push((ends.into_schedule(), held_back.get(stage.name.as_str()).copied().unwrap_or_default()));
        }
    }
    Ok(EmptyBatches::new(windows, microseconds(job.batch)))
}
