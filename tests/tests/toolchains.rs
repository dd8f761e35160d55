//! Plugins in all languages: what builds them, and what the docs tell their authors; and what `make dist` gives away.

mod docs {
    mod dist;
    mod examples;
    mod first_steps;
    mod newcomer;
    mod other_languages;
    mod tutorial;
}

mod plugins {
    mod authoring;
    mod compat;
    mod conformance;
    mod connector_cases;
    mod sdk_c;
    mod sdks;
    mod stuck;
}
