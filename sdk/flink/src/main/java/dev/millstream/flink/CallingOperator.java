package dev.millstream.flink;

import java.io.IOException;
import java.util.List;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.BoundedOneInput;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.types.Row;
import org.apache.flink.util.OutputTag;

/**
 * Collects rows for calls of a plugin. A barrier, a watermark or the end processes all collected rows first. So no
 * checkpoint contains them, and a restart receives them again from the sources.
 */
abstract class CallingOperator extends AbstractStreamOperator<Row> implements OneInputStreamOperator<Row, Row>, BoundedOneInput {
    /** Approximate maximum size of the strings of a call, in bytes. */
    private static final long BYTES_MAX = 8 << 20;

    /** Maximum characters of a value in an error. */
    private static final int VALUE_CHARS_MAX = 200;

    final Plugin plugin;
    final String function;
    final List<String> key;
    final Columns input;
    private final String digest;
    private final OutputTag<Row> rejected;

    transient Tables tables;
    transient Tables.Writer rows;
    private transient Calls calls;
    private transient boolean isDue;

    CallingOperator(Described described) {
        plugin = described.plugin();
        function = described.function();
        key = described.key();
        input = described.input();
        digest = described.digest();
        rejected = described.rejectedTag();
    }

    @Override
    public void open() throws Exception {
        super.open();
        tables = new Tables();
        rows = tables.writer(input);
        // All tasks use the component that the job was built with.
        calls = new Calls(plugin.with("digest", digest), function, key);
        calls.open();
    }

    /** Calls the plugin with the collected rows, if any. */
    abstract void flush() throws Exception;

    /** Handles a collected row: processes it now, or soon. */
    final void gathered() throws Exception {
        if (rows.rows() >= plugin.rowsMax() || rows.bytes() >= BYTES_MAX) {
            flush();
        } else if (!isDue) {
            isDue = true;
            long at = getProcessingTimeService().getCurrentProcessingTime() + Math.max(1, plugin.latency().toMillis());
            getProcessingTimeService().registerTimer(at, time -> {
                isDue = false;
                flush();
            });
        }
    }

    /** Calls the plugin. Emits its rows and the rejected ones, and returns the other tables of the response. */
    final List<byte[]> call(Long timeUs, List<byte[]> given) throws IOException {
        List<byte[]> made;
        try {
            made = calls.call(timeUs, given);
        } catch (PluginException error) {
            throw error.kind().equals("plugin") ? withRow(error, timeUs, given) : error;
        }
        StreamRecord<Row> record = new StreamRecord<>(null);
        for (Row row : tables.read(made.get(0))) {
            output.collect(record.replace(row));
        }
        for (Row row : tables.read(made.get(1))) {
            output.collect(rejected, new StreamRecord<>(row));
        }
        return made.subList(2, made.size());
    }

    /** Adds the row that causes an error to its message. Repeats the call with {@code on_error = "reject"} to find the row. */
    private PluginException withRow(PluginException error, Long timeUs, List<byte[]> given) {
        try (Calls search = new Calls(plugin.with("digest", digest).rejectOnError(), function, key)) {
            byte[] refused = search.call(timeUs, given).get(1);
            List<String> names = List.of(tables.columns(refused).names);
            int backtrace = names.indexOf("backtrace");
            for (Row row : tables.read(refused)) {
                // Rows without a backtrace were rejected by the plugin itself.
                if (backtrace < 0 || row.getField(backtrace) != null) {
                    StringBuilder message = new StringBuilder(error.getMessage()).append("\n  the row:");
                    for (int column = 0; column < input.count(); column++) {
                        String value = Values.shown(row.getField(column));
                        message.append(' ').append(names.get(column)).append('=');
                        message.append(value, 0, Math.min(value.length(), VALUE_CHARS_MAX));
                    }
                    return new PluginException(error.kind(), message.toString());
                }
            }
        } catch (IOException | RuntimeException unfound) {
            error.addSuppressed(unfound);
        }
        return error;
    }

    @Override
    public void prepareSnapshotPreBarrier(long checkpoint) throws Exception {
        flush();
        super.prepareSnapshotPreBarrier(checkpoint);
    }

    @Override
    public void processWatermark(Watermark watermark) throws Exception {
        flush();
        super.processWatermark(watermark);
    }

    @Override
    public void endInput() throws Exception {
        flush();
    }

    @Override
    public void close() throws Exception {
        if (calls != null) {
            calls.close();
        }
        if (rows != null) {
            rows.close();
            tables.close();
        }
        super.close();
    }
}
