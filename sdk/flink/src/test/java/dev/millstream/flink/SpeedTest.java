package dev.millstream.flink;

import static org.junit.jupiter.api.Assertions.assertNull;

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

/** Prints how fast a plugin is beside Flink's own {@code flatMap}, also when it loses. */
class SpeedTest {
    private static final long ROWS = 1_000_000;
    private static final TypeInformation<Row> LINE = Types.ROW_NAMED(new String[] {"value"}, Types.STRING);
    private static final TypeInformation<Row> WORD = Types.ROW_NAMED(new String[] {"word"}, Types.STRING);

    private static double seconds(Cluster cluster, Function<DataStream<Row>, DataStream<Row>> step) throws Exception {
        double best = Double.MAX_VALUE;
        for (int run = 0; run < 2; run++) {
            StreamExecutionEnvironment environment = Cluster.environment(0, 0);
            DataStream<Row> lines =
                    environment.fromSequence(1, ROWS).map(id -> Row.of("Line number " + id)).returns(LINE);
            step.apply(lines).sinkTo(new DiscardingSink<>());
            long begin = System.nanoTime();
            assertNull(cluster.run(environment));
            best = Math.min(best, (System.nanoTime() - begin) / 1e9);
        }
        return best;
    }

    @Test
    void besideFlatMap() throws Exception {
        String plugins = System.getenv("MILLSTREAM_ROOT") + "/plugins/";
        try (Cluster cluster = new Cluster()) {
            double none = seconds(cluster, lines -> lines);
            double own = seconds(cluster, lines -> lines.flatMap(new Split()).returns(WORD));
            Plugin split = Plugin.of(plugins + "split-words").config(Map.of("lowercase", true));
            double plugin = seconds(cluster, lines -> Millstream.process(lines, split).rows());
            double kept = seconds(cluster, lines -> Millstream.process(lines, split.keepInstance()).rows());
            System.out.printf(
                    Locale.ROOT,
                    "speed: %d lines: nothing %.2f s, flatMap %.2f s, split-words %.2f s, with one instance %.2f s%n",
                    ROWS,
                    none,
                    own,
                    plugin,
                    kept);
        }
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
