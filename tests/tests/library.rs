//! Millstream as a library, and its parts: tests that call the host in their own process.

mod cli {
    mod schema;
}

mod embedding {
    mod library;
}

mod packages {
    mod lock;
    mod registry;
}

mod plugins {
    mod interface;
    mod loading;
}

mod recovery {
    mod damage;
    mod model;
    mod s3;
}

mod structure {
    mod circles;
    mod homes;
    mod layers;
    mod tracked;
}
