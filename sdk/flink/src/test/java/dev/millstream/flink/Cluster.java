package dev.millstream.flink;

import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.MemorySize;
import org.apache.flink.configuration.RestartStrategyOptions;
import org.apache.flink.configuration.TaskManagerOptions;
import org.apache.flink.api.common.JobID;
import org.apache.flink.runtime.jobgraph.JobGraph;
import org.apache.flink.runtime.jobmaster.JobResult;
import org.apache.flink.runtime.minicluster.MiniCluster;
import org.apache.flink.runtime.minicluster.MiniClusterConfiguration;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/** A real Flink cluster with two task managers of two slots each, in this process. */
final class Cluster implements AutoCloseable {
    final MiniCluster cluster;

    Cluster() throws Exception {
        Configuration configuration = new Configuration();
        configuration.set(TaskManagerOptions.MANAGED_MEMORY_SIZE, MemorySize.ofMebiBytes(16));
        configuration.setString("taskmanager.memory.network.min", "64m");
        configuration.setString("taskmanager.memory.network.max", "64m");
        cluster = new MiniCluster(new MiniClusterConfiguration.Builder()
                .setConfiguration(configuration)
                .setNumTaskManagers(2)
                .setNumSlotsPerTaskManager(2)
                .withRandomPorts()
                .build());
        cluster.start();
    }

    /** Returns an environment with this number of restarts and this checkpoint interval in milliseconds; 0: no checkpoints. */
    static StreamExecutionEnvironment environment(int restarts, long checkpointMs) {
        Configuration configuration = new Configuration();
        configuration.set(RestartStrategyOptions.RESTART_STRATEGY, restarts == 0 ? "none" : "fixed-delay");
        configuration.setString("restart-strategy.fixed-delay.attempts", String.valueOf(restarts));
        configuration.setString("restart-strategy.fixed-delay.delay", "100 ms");
        StreamExecutionEnvironment environment = StreamExecutionEnvironment.getExecutionEnvironment(configuration);
        environment.setParallelism(2);
        environment.setMaxParallelism(16);
        if (checkpointMs > 0) {
            environment.enableCheckpointing(checkpointMs);
        }
        return environment;
    }

    JobID start(StreamExecutionEnvironment environment) throws Exception {
        JobGraph graph = environment.getStreamGraph().getJobGraph();
        return cluster.submitJob(graph).get().getJobID();
    }

    /** Waits for the end of a job. Returns why it failed, or null. */
    Throwable end(JobID job) throws Exception {
        JobResult result = cluster.requestJobResult(job).get();
        return result.getSerializedThrowable()
                .map(error -> error.deserializeError(Cluster.class.getClassLoader()))
                .orElse(null);
    }

    Throwable run(StreamExecutionEnvironment environment) throws Exception {
        return end(start(environment));
    }

    /** Returns the last failure of a running job. */
    String failure(JobID job) {
        var failed = cluster.getExecutionGraph(job).join().getFailureInfo();
        return failed == null ? "it has not failed" : failed.getExceptionAsString();
    }

    /** Formats an error with its causes. */
    static String describe(Throwable error) {
        StringBuilder text = new StringBuilder();
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            text.append(cause).append('\n');
        }
        return text.toString();
    }

    @Override
    public void close() throws Exception {
        cluster.close();
    }
}
