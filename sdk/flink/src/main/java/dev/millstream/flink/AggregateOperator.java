package dev.millstream.flink;

import java.util.List;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.runtime.state.KeyedStateBackend;
import org.apache.flink.api.common.typeutils.base.LongSerializer;
import org.apache.flink.streaming.api.operators.InternalTimer;
import org.apache.flink.streaming.api.operators.InternalTimerService;
import org.apache.flink.streaming.api.operators.Triggerable;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.types.Row;

/**
 * Calls a plugin of world {@code aggregate} with the rows of tumbling windows of event time. Rows stay in Flink's state
 * until their window ends. Then calls process all keys of the window together.
 */
final class AggregateOperator extends CallingOperator implements Triggerable<Row, Long> {
    private final long sizeMs;

    private transient InternalTimerService<Long> service;
    private transient ListStateDescriptor<Row> kept;
    /** End of the window whose rows are collected. */
    private transient long end;

    AggregateOperator(Described described, long sizeMs) {
        super(described);
        this.sizeMs = sizeMs;
    }

    @Override
    public void open() throws Exception {
        super.open();
        kept = new ListStateDescriptor<>("millstream-rows", input.type());
        kept.initializeSerializerUnlessSet(getExecutionConfig());
        service = getInternalTimerService("millstream-windows", LongSerializer.INSTANCE, this);
    }

    /** Returns the last millisecond of a row's window. Flink's windows close at this time. */
    private long endOf(StreamRecord<Row> row) {
        if (sizeMs == 0) {
            return Long.MAX_VALUE;
        }
        if (!row.hasTimestamp()) {
            throw new IllegalStateException(
                    "plugin " + plugin + ": a row without a timestamp reached its windows; assign timestamps and watermarks first");
        }
        return Math.floorDiv(row.getTimestamp(), sizeMs) * sizeMs + sizeMs - 1;
    }

    private ListState<Row> rowsOf(long end) throws Exception {
        KeyedStateBackend<?> backend = getKeyedStateBackend();
        return backend.getPartitionedState(end, LongSerializer.INSTANCE, kept);
    }

    @Override
    public void processElement(StreamRecord<Row> row) throws Exception {
        long end = endOf(row);
        // The window was already emitted. Like Flink's windows without a side output for late rows, drop the row.
        if (end <= service.currentWatermark()) {
            return;
        }
        rowsOf(end).add(row.getValue());
        service.registerEventTimeTimer(end, end);
    }

    @Override
    public void onEventTime(InternalTimer<Row, Long> timer) throws Exception {
        if (timer.getNamespace() != end) {
            flush();
            end = timer.getNamespace();
        }
        ListState<Row> mine = rowsOf(end);
        // A call has all rows of a key. Keys that are complete may be emitted before others.
        for (Row row : mine.get()) {
            rows.add(row);
        }
        mine.clear();
        if (rows.rows() >= plugin.rowsMax()) {
            flush();
        }
    }

    @Override
    public void onProcessingTime(InternalTimer<Row, Long> timer) {}

    @Override
    public void processWatermark(Watermark watermark) throws Exception {
        if (getTimeServiceManager().isPresent()) {
            getTimeServiceManager().get().advanceWatermark(watermark);
        }
        flush();
        output.emitWatermark(watermark);
    }

    @Override
    void flush() throws Exception {
        if (rows.rows() > 0) {
            call(null, List.of(rows.take()));
        }
    }
}
