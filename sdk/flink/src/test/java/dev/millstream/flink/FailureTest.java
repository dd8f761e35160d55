package dev.millstream.flink;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.LongStream;
import org.apache.flink.api.common.JobID;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichMapFunction;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.types.Row;
import org.junit.jupiter.api.Test;

/** Effects of a killed server, a killed task manager, and failing plugins on a job. */
class FailureTest {
    private static final String PLUGINS = System.getenv("MILLSTREAM_ROOT") + "/plugins/";
    private static final String POISON = System.getenv("MILLSTREAM_ROOT") + "/tests/plugins/poison";
    private static final long ROWS = 100_000;
    private static final int WORDS = 97;
    private static final TypeInformation<Row> LINES =
            Types.ROW_NAMED(new String[] {"id", "value", "odd"}, Types.LONG, Types.STRING, Types.INT);

    /** Rows of two words, slow enough that a test can kill a process meanwhile. */
    static final class Slowly extends RichMapFunction<Long, Row> {
        static final AtomicInteger STARTED = new AtomicInteger();

        @Override
        public void open(OpenContext context) {
            STARTED.incrementAndGet();
        }

        @Override
        public Row map(Long id) throws InterruptedException {
            if (id % 8 == 0) {
                Thread.sleep(1);
            }
            return Row.of(id, "w" + id % WORDS + " all", (int) (id % 2));
        }
    }

    private static List<ProcessHandle> servers() {
        return ProcessHandle.current()
                .children()
                .filter(child -> child.info().command().orElse("").endsWith("millstream"))
                .toList();
    }

    private static void until(String what, java.util.function.BooleanSupplier condition) throws InterruptedException {
        long deadline = System.nanoTime() + 60_000_000_000L;
        while (!condition.getAsBoolean()) {
            assertTrue(System.nanoTime() < deadline, what);
            Thread.sleep(5);
        }
    }

    @Test
    void noRowIsLostOrDuplicatedWhenServersAndTaskManagersAreKilled() throws Exception {
        try (Cluster cluster = new Cluster()) {
            StreamExecutionEnvironment environment = Cluster.environment(20, 50);
            // Uses all slots, so that each task manager has some of the tasks.
            environment.setParallelism(4);
            DataStream<Row> lines = environment
                    .fromSequence(0, ROWS - 1)
                    .map(new Slowly())
                    .returns(LINES)
                    .uid("lines");
            Made even = Millstream.process(
                            lines, Plugin.of(PLUGINS + "filter-expr").config(Map.of("where", "odd = 0")))
                    .uid("even");
            even.rows().sinkTo(new Collected("even")).uid("even-sink");
            Made words = Millstream.process(lines, Plugin.of(PLUGINS + "split-words")).uid("words");
            Made counts =
                    Millstream.update(words.rows(), Plugin.of(PLUGINS + "running-count"), "word").uid("counts");
            counts.rows().sinkTo(new Collected("counts")).uid("counts-sink");
            List<Row> seen = Collected.of("even");
            JobID job = cluster.start(environment);
            until("rows come", () -> seen.size() > 1000);
            int started = Slowly.STARTED.get();
            // Kill only the server: the calls are repeated, and no task fails.
            List<ProcessHandle> first = servers();
            assertEquals(1, first.size());
            first.forEach(ProcessHandle::destroyForcibly);
            int before = seen.size();
            until("another server answers", () -> seen.size() > before + 1000);
            assertEquals(started, Slowly.STARTED.get(), () -> cluster.failure(job));
            // Kill a task manager with its tasks: the job resumes from the last checkpoint.
            cluster.cluster.terminateTaskManager(0).get();
            cluster.cluster.startTaskManager();
            until("tasks are started again", () -> Slowly.STARTED.get() > started);
            int then = seen.size();
            until("rows come again", () -> seen.size() > then + 500);
            servers().forEach(ProcessHandle::destroyForcibly);
            assertNull(cluster.end(job));

            // Sinks that identify a row by its content: each row occurs once.
            TreeSet<Long> ids = new TreeSet<>();
            seen.forEach(row -> ids.add(row.getFieldAs(0)));
            assertEquals(LongStream.range(0, ROWS / 2).map(half -> 2 * half).boxed().toList(), List.copyOf(ids));
            Map<String, Long> last = new HashMap<>();
            Collected.of("counts").forEach(row -> last.merge(row.getFieldAs(0), row.getFieldAs(1), Math::max));
            Map<String, Long> wanted = new HashMap<>(Map.of("all", ROWS));
            for (long id = 0; id < ROWS; id++) {
                wanted.merge("w" + id % WORDS, 1L, Long::sum);
            }
            assertEquals(wanted, last);
            System.out.println("killed: " + seen.size() + " rows came to the sink, " + ids.size() + " of them different");
        }
        // The server has exited with the last task.
        until("no server is left", () -> servers().isEmpty());
    }

    private static Throwable run(Cluster cluster, Plugin plugin, String name, String... values) throws Exception {
        StreamExecutionEnvironment environment = Cluster.environment(0, 0);
        List<Row> rows = java.util.Arrays.stream(values).map(Row::of).toList();
        DataStream<Row> lines =
                environment.fromData(rows, Types.ROW_NAMED(new String[] {"value"}, Types.STRING));
        Made made = Millstream.process(lines, plugin);
        made.rows().sinkTo(new Collected(name));
        made.rejected().sinkTo(new Collected(name + "/rejected"));
        return cluster.run(environment);
    }

    @Test
    void poisonFailsItsTaskByName() throws Exception {
        Plugin poison = Plugin.of(POISON).limits(Map.of("time", "1s", "memory", "64MiB"));
        try (Cluster cluster = new Cluster()) {
            for (String[] one : new String[][] {
                {"panic", "panicked at"}, {"loop", "time limit of 1s"}, {"memory", "memory"}
            }) {
                Throwable failed = run(cluster, poison, "poison", "a", one[0], "b");
                assertNotNull(failed, one[0]);
                String message = Cluster.describe(failed);
                assertTrue(message.contains("stage `poison`: plugin poison 0.1.0") && message.contains(one[1]), message);
                assertTrue(message.contains("the row: value=" + one[0]), message);
                // The error also has the kind, which says who can fix it.
                assertTrue(message.contains(PluginException.class.getName()), message);
            }
            // The row is rejected, and the others continue.
            assertNull(run(cluster, poison.rejectOnError(), "rejecting", "a", "panic", "b"));
            assertEquals(2, Collected.of("rejecting").size());
            List<Row> rejected = Collected.of("rejecting/rejected");
            assertEquals("panic", rejected.get(0).getField(0));
            assertTrue(((String) rejected.get(0).getField(1)).contains("panicked"), rejected.toString());
        }
    }

    @Test
    void errorsAreReportedWhileTheJobIsBuilt() {
        StreamExecutionEnvironment environment = Cluster.environment(0, 0);
        DataStream<Row> numbers =
                environment.fromData(List.of(Row.of(1L)), Types.ROW_NAMED(new String[] {"n"}, Types.LONG));
        PluginException error = org.junit.jupiter.api.Assertions.assertThrows(
                PluginException.class, () -> Millstream.process(numbers, Plugin.of(PLUGINS + "split-words")));
        assertEquals("usage", error.kind());
        assertTrue(error.getMessage().contains("split-words 0.1.0 reads a column `value`"), error.getMessage());
        org.junit.jupiter.api.Assertions.assertThrows(
                java.io.UncheckedIOException.class,
                () -> Millstream.process(numbers, Plugin.of(PLUGINS + "split-words").program("/no/millstream")));
    }
}
