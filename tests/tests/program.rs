//! The program as users run it: jobs, commands, errors.

mod cli {
    mod errors;
    mod hostile_text;
    mod infer;
    mod pipe;
    mod process;
    mod secrets;
    mod status;
    mod terminal;
    mod top;
    mod watch;
}

mod cluster {
    mod elsewhere;
    mod machines;
    mod scale;
    mod slow_workers;
    mod strangers;
    mod tls;
}

mod connectors {
    mod clickhouse;
    mod contract;
    mod delta;
    mod files_sink;
    mod flight;
    mod formats;
    mod growing;
    mod hdfs;
    mod hostile_servers;
    mod http;
    mod kafka {
        mod avro;
        mod between;
        mod broker;
        mod cluster;
        mod compacted;
        mod idle;
        mod partitions;
        mod protobuf;
        mod shares;
        mod sink;
        mod source;
    }
    mod kinesis;
    mod lumberjack;
    mod mqtt;
    mod nats {
        mod keys;
        mod sink;
        mod source;
    }
    mod no_files;
    mod objects;
    mod otlp;
    mod packed;
    mod parquet;
    mod postgres {
        mod changed_tables;
        mod changes;
        mod shares;
        mod sink;
        mod start;
    }
    mod rabbitmq;
    mod redis {
        mod sink;
        mod source;
    }
    mod sink_start;
    mod sinks;
    mod sources;
    mod spread_files;
    mod spread_sockets;
    mod sqlite;
    mod syslog;
    mod text_forms;
    mod tls;
    mod zeromq;
}

mod docs {
    mod pages;
    mod readme;
}

mod embedding {
    mod python;
    mod serve;
}

mod operators {
    mod changing;
    mod choosing;
    mod e2e;
    mod enrich;
    mod joins;
    mod latest;
    mod order;
    mod patterns;
    mod spill;
    mod sql;
    mod sql_limits;
    mod sql_oracle;
}

mod packages {
    mod components;
    mod keys;
}

mod page {
    mod acts;
    mod served;
    mod tls;
    mod traces;
}

mod plugins {
    mod addresses;
    mod connector_tls;
    mod connector_upgrades;
    mod counters;
    mod failures;
    mod grants;
    mod large_groups;
    mod migrate;
    mod reject;
    mod retry;
    mod rollback;
    mod shadow;
    mod sink_examples;
    mod sink_plugins;
    mod source_examples;
    mod source_plugins;
    mod upgrade;
}

mod recovery {
    mod changed_job;
    mod guarantees;
    mod restart;
    mod supervise;
}

mod time {
    mod ending;
    mod windows;
}
