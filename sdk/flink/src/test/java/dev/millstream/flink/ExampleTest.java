package dev.millstream.flink;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.types.Row;
import org.junit.jupiter.api.Test;

/** The code in {@code docs/how-to/use-plugins-in-spark-flink-clickhouse.md}, and its statements about windows, times and types. */
class ExampleTest {
    private static final String ROOT = System.getenv("MILLSTREAM_ROOT");

    @Test
    void exampleOfThePage() throws Exception {
        StreamExecutionEnvironment environment = Cluster.environment(0, 0);
        DataStream<Row> lines = environment.fromData(
                List.of(Row.of("To be or not to be"), Row.of((Object) null)),
                Types.ROW_NAMED(new String[] {"value"}, Types.STRING));
        String plugins = ROOT + "/plugins/";
        // The code on the page starts here.
        Plugin split = Plugin.of(plugins + "split-words").config(Map.of("lowercase", true));
        Made words = Millstream.process(lines, split).uid("words");
        Plugin count = Plugin.of(plugins + "running-count").limits(Map.of("time", "2s"));
        Made counts = Millstream.update(words.rows(), count, "word").uid("counts");
        counts.rows().sinkTo(new Collected("counts"));
        words.rejected().sinkTo(new Collected("rejected"));
        // The code on the page ends here.
        try (Cluster cluster = new Cluster()) {
            assertNull(cluster.run(environment));
        }
        assertEquals(4, Collected.of("counts").stream().map(row -> row.getField(0)).distinct().count());
        Row rejected = Collected.of("rejected").get(0);
        assertEquals(Row.of(null, "column `value` is null, and the plugin needs a value"), rejected);
    }

    @Test
    void windowsAndAllRows() throws Exception {
        StreamExecutionEnvironment environment = Cluster.environment(0, 0);
        List<Row> sold = List.of(
                Row.of("a", 1, Instant.ofEpochSecond(1)),
                Row.of("b", 10, Instant.ofEpochSecond(2)),
                Row.of("a", 2, Instant.ofEpochSecond(9)),
                Row.of("a", 4, Instant.ofEpochSecond(10)));
        DataStream<Row> sales = environment
                .fromData(sold, Types.ROW_NAMED(new String[] {"shop", "n", "at"}, Types.STRING, Types.INT, Types.INSTANT))
                .assignTimestampsAndWatermarks(WatermarkStrategy.<Row>forMonotonousTimestamps()
                        .withTimestampAssigner((row, before) -> row.<Instant>getFieldAs(2).toEpochMilli()))
                .setParallelism(1);
        Plugin sum = Plugin.of(ROOT + "/plugins/sum").config(Map.of("column", "n"));
        Millstream.aggregate(sales, sum, Duration.ofSeconds(10), "shop").rows().sinkTo(new Collected("windows"));
        Millstream.aggregateAll(sales, sum, "shop").rows().sinkTo(new Collected("by shop"));
        Millstream.aggregateAll(sales, sum).rows().sinkTo(new Collected("all"));
        try (Cluster cluster = new Cluster()) {
            assertNull(cluster.run(environment));
        }
        assertEquals("[a, 3, a, 4, b, 10]", written("windows"));
        assertEquals("[a, 7, b, 10]", written("by shop"));
        assertEquals("[17]", written("all"));
    }

    private static String written(String name) {
        return Collected.of(name).stream()
                .map(row -> row.getArity() == 1 ? "" + row.getField(0) : row.getField(0) + ", " + row.getField(1))
                .sorted()
                .toList()
                .toString();
    }
}
