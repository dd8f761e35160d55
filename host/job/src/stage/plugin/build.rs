//! Plugins of stages made by a program.

use crate::spec::*;
use millstream_base::error::{Error, Result};
use millstream_base::limits;
use millstream_base::package_name::{PackageName, PackageRequest};
use semver::Version;
use std::path::{Path, PathBuf};
use std::time::Duration;

impl PluginSpec {
    /// Uses the component file or plugin directory at this path, without config, with default limits.
    pub fn new(path: impl Into<PathBuf>) -> PluginSpec {
        PluginSpec {
            path: path.into(),
            file: None,
            pinned: None,
            signers: None,
            config: serde_json::Value::Object(serde_json::Map::new()),
            instance: InstanceSpec::default(),
            limits: PluginLimits::default(),
            grant: GrantSpec::default(),
            on_error: OnError::default(),
            rejected_max: None,
            replayable: true,
            update: UpdateSpec::default(),
            inverse: None,
        }
    }

    /// Returns the path of its component: a file, or a plugin directory. Relative paths start from `dir`.
    pub fn component_path(&self, dir: &Path) -> PathBuf {
        self.file.clone().unwrap_or_else(|| dir.join(&self.path))
    }

    /// Returns the package that it names, with its exact version; `None` if it names a file or a directory. Fails if the text is neither: `@` means
    /// a package, `/` a path.
    pub fn package(&self) -> Option<Result<(PackageName, Version)>> {
        let text = self.path.to_str().filter(|text| text.contains('@') && !text.contains('/'))?;
        let help = "write a package as name@1.2.3, or a path with ./ in front";
        Some(match text.parse::<PackageRequest>() {
            Ok(PackageRequest { name, version: Some(version) }) => Ok((name, version)),
            Ok(_) => Err(Error::job(format!("it has no version; {help}"))),
            Err(error) => Err(Error::job(format!("{}; {help}", error.message))),
        })
    }

    /// Sets the plugin's configuration.
    #[must_use]
    pub fn config(mut self, config: serde_json::Value) -> PluginSpec {
        self.config = config;
        self
    }

    /// Sets how long an instance lives.
    #[must_use]
    pub fn instance(mut self, instance: InstanceSpec) -> PluginSpec {
        self.instance = instance;
        self
    }

    /// Sets its resource limits.
    #[must_use]
    pub fn limits(mut self, limits: PluginLimits) -> PluginSpec {
        self.limits = limits;
        self
    }

    /// Lets the plugin read a file, under this name.
    #[must_use]
    pub fn file(mut self, name: impl Into<String>, path: impl Into<PathBuf>) -> PluginSpec {
        self.grant.files.insert(name.into(), path.into());
        self
    }

    /// Sets a variable in the plugin's environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> PluginSpec {
        self.grant.env.insert(name.into(), value.into());
        self
    }

    /// Lets the plugin send HTTP requests. Then a replay of a batch may not give the same result.
    #[must_use]
    pub fn http(mut self, grant: HttpGrant) -> PluginSpec {
        self.grant.http = Some(grant);
        self.replayable = false;
        self
    }

    /// Sets what a failing call does.
    #[must_use]
    pub fn on_error(mut self, on_error: OnError) -> PluginSpec {
        self.on_error = on_error;
        self
    }

    /// Sets how many rows of a batch may be rejected until the job stops.
    #[must_use]
    pub fn rejected_max(mut self, max: RejectedMax) -> PluginSpec {
        self.rejected_max = Some(max);
        self
    }

    /// Sets whether a replay of a batch must give the same result; true by default.
    #[must_use]
    pub fn replayable(mut self, replayable: bool) -> PluginSpec {
        self.replayable = replayable;
        self
    }

    /// Sets the options of world `update`.
    #[must_use]
    pub fn update(mut self, update: UpdateSpec) -> PluginSpec {
        self.update = update;
        self
    }
}

impl HttpGrant {
    /// Allows read-only requests to these hosts.
    pub fn to(hosts: impl IntoIterator<Item = impl Into<String>>) -> HttpGrant {
        let methods = ["GET", "HEAD"].map(String::from).to_vec();
        HttpGrant { hosts: hosts.into_iter().map(Into::into).collect(), methods }
    }

    /// Allows requests with these methods instead.
    #[must_use]
    pub fn methods(mut self, methods: impl IntoIterator<Item = impl Into<String>>) -> HttpGrant {
        self.methods = methods.into_iter().map(Into::into).collect();
        self
    }
}

impl From<&str> for PluginSpec {
    fn from(path: &str) -> PluginSpec {
        PluginSpec::new(path)
    }
}

impl From<PathBuf> for PluginSpec {
    fn from(path: PathBuf) -> PluginSpec {
        PluginSpec::new(path)
    }
}

impl Default for PluginLimits {
    fn default() -> PluginLimits {
        PluginLimits {
            memory_bytes_max: limits::PLUGIN_MEMORY_BYTES_MAX,
            table_elements_max: limits::PLUGIN_TABLE_ELEMENTS_MAX,
            time_max: Duration::from_millis(limits::PLUGIN_TIME_MS_MAX),
            fuel_max: None,
            stack_bytes_max: limits::PLUGIN_STACK_BYTES_MAX,
            output_bytes_max: limits::PLUGIN_OUTPUT_BYTES_MAX,
            output_rows_max: limits::PLUGIN_OUTPUT_ROWS_MAX,
            expansion_max: limits::PLUGIN_EXPANSION_MAX,
            batch_output_bytes_max: limits::PLUGIN_BATCH_OUTPUT_BYTES_MAX,
            rejected_bytes_max: limits::PLUGIN_BATCH_REJECTED_BYTES_MAX,
            backtrace_bytes_max: limits::PLUGIN_BACKTRACE_BYTES_MAX,
            timers_per_key_max: limits::PLUGIN_TIMERS_PER_KEY_MAX,
            timers_max: limits::PLUGIN_TIMERS_MAX,
            state_bytes_per_key_max: limits::PLUGIN_STATE_BYTES_PER_KEY_MAX,
            state_bytes_max: None,
            log_lines_per_second_max: limits::PLUGIN_LOG_LINES_PER_SECOND_MAX,
            log_bytes_per_second_max: limits::PLUGIN_LOG_BYTES_PER_SECOND_MAX,
            counters_max: limits::PLUGIN_COUNTERS_MAX,
            handles_max: limits::PLUGIN_HANDLES_MAX,
            instances_max: limits::PLUGIN_PARTS_MAX,
            attempts_max: limits::PLUGIN_ATTEMPTS_MAX,
            compile_time_max: Duration::from_millis(limits::COMPILE_TIME_MS_MAX),
        }
    }
}
