//! Plugins in all languages: building them, the docs for their authors; and the output of `make dist`.

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
