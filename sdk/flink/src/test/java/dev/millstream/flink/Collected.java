package dev.millstream.flink;

import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import org.apache.flink.api.connector.sink2.Sink;
import org.apache.flink.api.connector.sink2.SinkWriter;
import org.apache.flink.api.connector.sink2.WriterInitContext;
import org.apache.flink.types.Row;

/** A sink whose rows the test can read, since the cluster runs in the test's process. */
final class Collected implements Sink<Row> {
    private static final Map<String, List<Row>> ALL = new ConcurrentHashMap<>();

    private final String name;

    Collected(String name) {
        this.name = name;
        ALL.put(name, new CopyOnWriteArrayList<>());
    }

    static List<Row> of(String name) {
        return ALL.get(name);
    }

    @Override
    public SinkWriter<Row> createWriter(WriterInitContext context) {
        List<Row> rows = ALL.get(name);
        return new SinkWriter<>() {
            @Override
            public void write(Row row, Context context) {
                rows.add(row);
            }

            @Override
            public void flush(boolean atEnd) {}

            @Override
            public void close() {}
        };
    }
}
