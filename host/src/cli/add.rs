//! `millstream add`: adds a package to a job.

use clap::Args;
use millstream_base::error::{Error, Result};
use millstream_base::package_name::PackageRequest;
use millstream_connectors::kinds;
use millstream_packages::lock::obtain::Obtained;
use millstream_packages::lock::store::PackageStore;
use millstream_packages::lock::{self, add, edit};
use millstream_packages::package::difference::Difference;
use millstream_packages::package::facts::PackageFacts;
use std::fmt::Write as _;
use std::path::PathBuf;

/// The arguments of `millstream add`.
#[derive(Args)]
#[command(
    after_help = "The package is pinned by its digest in millstream.lock, next to the job file; a job runs only what is \
                        pinned. Pin another version in the same way."
)]
pub struct AddArguments {
    /// Package: `split-names` (newest version) or `split-names@0.2.0`
    package: PackageRequest,
    /// Registry: `oci://host/path`, or a directory
    ///
    /// Default: the one in the lock file, else `registry` in config.toml.
    #[arg(long)]
    registry: Option<String>,
    /// Path of the job file
    #[arg(long, default_value = "job.toml")]
    job: PathBuf,
    /// Stage whose `plugin` to set (default: only pin the package)
    #[arg(long)]
    stage: Option<String>,
    /// Accept a package that needs more permissions or has other columns
    #[arg(long)]
    accept: bool,
}

/// Adds the package, and returns a description of it.
pub fn add(arguments: &AddArguments) -> Result<String> {
    let AddArguments { package, registry, job, stage, accept } = arguments;
    // Report a wrong job file or stage before anything is downloaded.
    let before = match stage {
        Some(stage) => edit::plugin_of(job, stage)?,
        None => millstream_job::read_text(job).map(|_| None)?,
    };
    let store = PackageStore::of_user()?;
    let _held = store.hold()?;
    let dir = edit::dir_of(job);
    let obtained = add::get(dir, package, registry.as_deref(), &store)?;
    let reference = format!("{}@{}", obtained.pin.name, obtained.pin.version);
    let differences = add::changes(job, stage.as_deref(), &obtained.facts, &store)?;
    if differences.iter().any(|difference| difference.needs_accept) && !accept {
        return Err(Error::job(format!(
            "{reference} differs from {}:\n{}nothing was changed; add --accept to accept it",
            stage.as_ref().map_or("the version that is pinned".into(), |stage| format!(
                "the current plugin of stage \
                `{stage}`"
            )),
            lines(&differences),
        )));
    }
    if let Some(stage) = stage {
        edit::check(job, kinds::all(), stage, &reference)?;
    }
    add::pin(dir, obtained.pin.clone())?;
    let mut text = describe(&obtained);
    if !differences.is_empty() {
        let _ = write!(text, "differences from the previous version:\n{}", lines(&differences));
    }
    let shown = job.display();
    let _ = writeln!(text, "pinned in {}", lock::shown(dir));
    match stage {
        Some(stage) => {
            edit::set_plugin(job, stage, &reference)?;
            let instead = before.filter(|before| *before != reference);
            let instead = instead.map(|before| format!(" instead of {before}")).unwrap_or_default();
            let _ = writeln!(text, "stage `{stage}` of {shown} has it{instead}");
        }
        None => {
            let _ = writeln!(text, "to use it, write into a stage of {shown}: plugin = \"{reference}\"");
        }
    }
    Ok(text)
}

fn lines(differences: &[Difference]) -> String {
    differences.iter().map(|difference| format!("  {}\n", difference.message)).collect()
}

/// Describes a package by its content and its signatures.
pub(super) fn describe(Obtained { pin, facts, signers }: &Obtained) -> String {
    let PackageFacts { name, version, world, interface, permissions, grants, .. } = facts;
    let list = |names: &[String], none: &str| if names.is_empty() { none.to_owned() } else { names.join(", ") };
    let mut text = format!("{name} {version} from {}\n", pin.registry);
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<11}{value}");
    };
    line("world", &format!("{world} of millstream:plugin@{interface}"));
    line("grants", &list(permissions, "nothing"));
    if grants.as_object().is_some_and(|grants| !grants.is_empty()) {
        line("grant", &grants.to_string());
    }
    line("signed by", &list(signers, "no trusted key"));
    line("manifest", &pin.manifest.to_string());
    line("component", &pin.layer.to_string());
    text
}
