package dev.millstream.flink;

import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.runtime.state.VoidNamespace;
import org.apache.flink.runtime.state.VoidNamespaceSerializer;
import org.apache.flink.streaming.api.operators.InternalTimer;
import org.apache.flink.streaming.api.operators.InternalTimerService;
import org.apache.flink.streaming.api.operators.Triggerable;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.types.Row;

/**
 * Calls a plugin of world {@code update}: the state of a key is the bytes of one Arrow row in Flink's keyed state,
 * and its timers are Flink timers. The plugin's time is the watermark, or the machine's clock.
 */
final class UpdateOperator extends CallingOperator implements Triggerable<Row, VoidNamespace> {
    private final Keys keys;
    private final boolean inEventTime;

    private transient Tables.Writer states;
    private transient Tables.Writer timers;
    /** Keys with rows or due timers. */
    private transient Set<Row> called;

    private transient ValueState<byte[]> state;
    private transient ValueState<long[]> times;
    private transient InternalTimerService<VoidNamespace> service;
    /** The latest due timer. */
    private transient long dueMs;

    UpdateOperator(Described described, Keys keys, boolean inEventTime) {
        super(described);
        this.keys = keys;
        this.inEventTime = inEventTime;
    }

    @Override
    public void open() throws Exception {
        super.open();
        states = tables.writer(keys.columns.and("state", ColumnType.Kind.BINARY));
        timers = tables.writer(keys.columns.and("at", ColumnType.Kind.INSTANT));
        called = new LinkedHashSet<>();
        dueMs = Long.MIN_VALUE;
        state = getRuntimeContext()
                .getState(new ValueStateDescriptor<>("millstream-state", PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO));
        times = getRuntimeContext()
                .getState(new ValueStateDescriptor<>("millstream-timers", PrimitiveArrayTypeInfo.LONG_PRIMITIVE_ARRAY_TYPE_INFO));
        service = getInternalTimerService("millstream-timers", VoidNamespaceSerializer.INSTANCE, this);
    }

    @Override
    public void processElement(StreamRecord<Row> row) throws Exception {
        called.add((Row) getCurrentKey());
        rows.add(row.getValue());
        gathered();
    }

    @Override
    public void onEventTime(InternalTimer<Row, VoidNamespace> timer) throws Exception {
        due(timer);
    }

    @Override
    public void onProcessingTime(InternalTimer<Row, VoidNamespace> timer) throws Exception {
        due(timer);
        flush();
    }

    private void due(InternalTimer<Row, VoidNamespace> timer) throws Exception {
        called.add(timer.getKey());
        dueMs = Math.max(dueMs, timer.getTimestamp());
        if (called.size() >= plugin.rowsMax()) {
            flush();
        }
    }

    @Override
    public void processWatermark(Watermark watermark) throws Exception {
        // Rows that arrived before the watermark are processed with the time before it.
        flush();
        if (getTimeServiceManager().isPresent()) {
            getTimeServiceManager().get().advanceWatermark(watermark);
        }
        flush();
        output.emitWatermark(watermark);
    }

    /** Returns the plugin's time in milliseconds. At the end of a stream, whose time is infinite, it is the due timer's time. */
    private long nowMs() {
        if (!inEventTime) {
            return Math.max(service.currentProcessingTime(), dueMs);
        }
        long watermark = service.currentWatermark();
        if (watermark == Long.MIN_VALUE) {
            return 0;
        }
        return watermark == Long.MAX_VALUE ? Math.max(dueMs, 0) : watermark;
    }

    @Override
    void flush() throws Exception {
        if (called.isEmpty()) {
            return;
        }
        Map<Row, long[]> before = new HashMap<>();
        for (Row key : called) {
            setCurrentKey(key);
            Row values = keys.values(key);
            byte[] kept = state.value();
            if (kept != null) {
                states.add(values, kept);
            }
            long[] set = times.value();
            if (set != null) {
                before.put(key, set);
                for (long at : set) {
                    timers.add(values, Columns.instant(at));
                }
            }
        }
        long nowMs = nowMs();
        List<byte[]> made =
                call(Math.multiplyExact(nowMs, 1000L), List.of(rows.take(), states.take(), timers.take()));
        int keyColumns = keys.columns.count();
        Map<Row, byte[]> keptNow = new HashMap<>();
        for (Row row : tables.read(made.get(0))) {
            keptNow.put(keys.returned(row), (byte[]) row.getField(keyColumns));
        }
        Map<Row, List<Long>> setNow = new HashMap<>();
        for (Row row : tables.read(made.get(1))) {
            long at = Columns.microseconds((Instant) row.getField(keyColumns));
            setNow.computeIfAbsent(keys.returned(row), key -> new ArrayList<>()).add(at);
        }
        Set<Row> done = called;
        called = new LinkedHashSet<>();
        dueMs = Long.MIN_VALUE;
        for (Row key : done) {
            setCurrentKey(key);
            state.update(keptNow.remove(key));
            setTimers(before.getOrDefault(key, new long[0]), setNow.remove(key), nowMs);
        }
        if (!keptNow.isEmpty() || !setNow.isEmpty()) {
            throw new IllegalStateException("plugin " + plugin + " keeps states of keys that were not called; please report this");
        }
    }

    /** Sets Flink timers. They have milliseconds and plugins' timers microseconds, so times are rounded up: never too early. */
    private void setTimers(long[] before, List<Long> now, long nowMs) throws Exception {
        Set<Long> old = new LinkedHashSet<>();
        for (long at : before) {
            old.add(at);
        }
        List<Long> all = now == null ? List.of() : now;
        for (long at : all) {
            if (!old.remove(at)) {
                long atMs = Math.max(-Math.floorDiv(-at, 1000L), nowMs + 1);
                if (inEventTime) {
                    service.registerEventTimeTimer(VoidNamespace.INSTANCE, atMs);
                } else {
                    service.registerProcessingTimeTimer(VoidNamespace.INSTANCE, atMs);
                }
            }
        }
        // A canceled timer may still fire, but then no timer of the plugin is due.
        times.update(all.isEmpty() ? null : all.stream().mapToLong(Long::longValue).toArray());
    }

    @Override
    public void close() throws Exception {
        if (states != null) {
            states.close();
        }
        if (timers != null) {
            timers.close();
        }
        super.close();
    }
}
