//! The queries that the cases of a plugin imply: configs and columns, known before the cases run.

use super::{TestCase, case_dirs, connector};
use arrow::datatypes::{Schema, SchemaRef};
use millstream_base::error::{Error, Result};
use millstream_connectors::kinds;
use millstream_job::Version;
use millstream_job::spec::JobSpec;
use millstream_plugins::plugin::Granted;
use millstream_rows::decode::Decoder;
use std::path::Path;
use std::sync::Arc;

/// A config, and the columns of inputs and key.
#[derive(Clone, Debug)]
pub struct DescribeQuestion {
    /// The config as JSON.
    pub config: String,
    /// The columns of each input.
    pub inputs: Vec<SchemaRef>,
    /// The key columns.
    pub key: SchemaRef,
    /// The permissions that the case grants.
    pub grant: Granted,
}

impl Default for DescribeQuestion {
    /// Returns the query without config and columns.
    fn default() -> DescribeQuestion {
        let none = Arc::new(Schema::empty());
        DescribeQuestion { config: "{}".into(), inputs: Vec::new(), key: none, grant: Granted::default() }
    }
}

/// Returns the queries of all cases of a plugin directory. Unreadable cases are reported by `millstream test`.
pub fn questions(dir: &Path) -> Vec<DescribeQuestion> {
    let cases = case_dirs(dir).unwrap_or_default();
    cases.iter().filter_map(|case| question(case).ok()).collect()
}

fn question(dir: &Path) -> Result<DescribeQuestion> {
    let job = match TestCase::read(dir) {
        Ok(case) => stage(&case, dir),
        Err(_) => connector::job_of_case(dir),
    }?;
    let (_, plugin) = job.plugins().next().ok_or_else(|| Error::bug("a case without a plugin"))?;
    let queues = job.sources.iter().filter(|source| source.plugin().is_none());
    let inputs: Vec<SchemaRef> = queues.map(|source| Decoder::new(source.decoder_spec()).schema()).collect();
    let key = match (inputs.first(), job.stages.first()) {
        (Some(input), Some(stage)) => {
            let index = |name: &String| input.index_of(name).map_err(Error::job);
            let indices = stage.key.iter().map(index).collect::<Result<Vec<_>>>()?;
            Arc::new(input.project(&indices).map_err(Error::job)?)
        }
        _ => Arc::new(Schema::empty()),
    };
    let mut grant = Granted { env: plugin.grant.env.clone(), ..Granted::default() };
    for (name, path) in &plugin.grant.files {
        let bytes = millstream_base::regular::read(dir.join(path))
            .map_err(|error| super::super::failed("read", path, &error))?;
        grant.files.insert(name.clone(), bytes.into());
    }
    Ok(DescribeQuestion { config: plugin.config.to_string(), inputs, key, grant })
}

/// Returns the job of a case with a stage.
fn stage(case: &TestCase, dir: &Path) -> Result<JobSpec> {
    // These paths are not used, as nothing runs.
    let text = case.job(Path::new("plugin"), Path::new("out"), None)?;
    // Text that looks like a variable is data.
    let as_it_is = Version { has_variables: false, ..Version::default() };
    millstream_job::parse_as(&text, kinds::all(), (Path::new("case"), dir), &[], as_it_is)
}
