//! Plugins in all languages: what builds them, and what the docs tell their authors; and what `make dist` gives away.

mod authoring;
mod compat;
mod conformance;
mod connector_cases;
mod dist;
mod examples;
mod newcomer;
mod other_languages;
mod sdk_c;
mod sdks;
mod stuck;
mod tutorial;
