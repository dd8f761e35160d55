package dev.millstream.flink;

import static org.junit.jupiter.api.Assertions.assertNull;

import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.function.Function;
import org.apache.flink.api.common.functions.FlatMapFunction;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;
import org.apache.flink.types.Row;
import org.apache.flink.util.Collector;
import org.junit.jupiter.api.Test;

/** Prints how fast a plugin is compared with Flink's own {@code flatMap}, even if the plugin is slower. */
class SpeedTest {
    private static final long ROWS = 1_000_000;
    private static final int ROUNDS = 3;
    private static final TypeInformation<Row> LINE = Types.ROW_NAMED(new String[] {"value"}, Types.STRING);
    private static final TypeInformation<Row> WORD = Types.ROW_NAMED(new String[] {"word"}, Types.STRING);

    private static double seconds(Cluster cluster, Function<DataStream<Row>, DataStream<Row>> step) throws Exception {
        StreamExecutionEnvironment environment = Cluster.environment(0, 0);
        DataStream<Row> lines =
                environment.fromSequence(1, ROWS).map(id -> Row.of("Line number " + id)).returns(LINE);
        step.apply(lines).sinkTo(new DiscardingSink<>());
        long begin = System.nanoTime();
        assertNull(cluster.run(environment));
        return (System.nanoTime() - begin) / 1e9;
    }

    @Test
    void comparedWithFlatMap() throws Exception {
        Plugin split = Plugin.of(System.getenv("MILLSTREAM_ROOT") + "/plugins/split-words").config(Map.of("lowercase", true));
        Map<String, Function<DataStream<Row>, DataStream<Row>>> steps = new LinkedHashMap<>();
        steps.put("nothing", lines -> lines);
        steps.put("flatMap", lines -> lines.flatMap(new Split()).returns(WORD));
        steps.put("split-words", lines -> Millstream.process(lines, split).rows());
        Map<String, Double> best = new LinkedHashMap<>();
        try (Cluster cluster = new Cluster()) {
            // The variants alternate, so that other load on the machine affects all of them.
            for (int round = 0; round < ROUNDS; round++) {
                for (var step : steps.entrySet()) {
                    best.merge(step.getKey(), seconds(cluster, step.getValue()), Math::min);
                }
            }
        }
        best.forEach((what, seconds) ->
                System.out.printf(Locale.ROOT, "speed: %d lines, %s: %.2f s%n", ROWS, what, seconds));
    }

    private static final class Split implements FlatMapFunction<Row, Row> {
        @Override
        public void flatMap(Row line, Collector<Row> to) {
            for (String word : ((String) line.getField(0)).toLowerCase(Locale.ROOT).split(" ")) {
                to.collect(Row.of(word));
            }
        }
    }
}
