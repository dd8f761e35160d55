import java.io.Writer;
import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.FlatMapFunction;
import org.apache.flink.api.common.typeinfo.TypeHint;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.connector.file.src.FileSource;
import org.apache.flink.connector.file.src.reader.TextLineInputFormat;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;
import org.apache.flink.util.CloseableIterator;
import org.apache.flink.util.Collector;

/** Word count, as in Flink's own example. */
final class WordCount {
    /** Counts the words of a directory. Drops the counts if `results` is null. */
    static void run(StreamExecutionEnvironment environment, String input, Path results) throws Exception {
        FileSource<String> source =
            FileSource.forRecordStreamFormat(new TextLineInputFormat(), new org.apache.flink.core.fs.Path(input)).build();
        DataStream<Tuple2<String, Integer>> counts =
            environment.fromSource(source, WatermarkStrategy.noWatermarks(), "lines")
                .flatMap(new Split())
                .returns(TypeInformation.of(new TypeHint<Tuple2<String, Integer>>() {}))
                .keyBy(word -> word.f0)
                .sum(1);
        if (results == null) {
            counts.sinkTo(new DiscardingSink<>());
            environment.execute();
            return;
        }
        try (CloseableIterator<Tuple2<String, Integer>> rows = counts.executeAndCollect();
                Writer out = Files.newBufferedWriter(results)) {
            while (rows.hasNext()) {
                Tuple2<String, Integer> row = rows.next();
                out.write("+U\t" + row.f0 + "\t" + row.f1 + "\n");
            }
        }
    }

    private static final class Split implements FlatMapFunction<String, Tuple2<String, Integer>> {
        @Override
        public void flatMap(String line, Collector<Tuple2<String, Integer>> out) {
            for (String word : line.split("\\s+")) {
                if (!word.isEmpty()) {
                    out.collect(new Tuple2<>(word, 1));
                }
            }
        }
    }
}
