package dev.millstream.flink;

import java.time.Duration;
import java.util.List;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.KeyedStream;
import org.apache.flink.types.Row;

/**
 * Plugins of Millstream as operators of Flink, on streams of rows with named columns.
 *
 * <p>Each task asks a process {@code millstream serve} beside its JVM, which all tasks there share. A plugin that loops, takes too much
 * memory or fails fails its task with a {@link PluginException} that names it, and harms nothing else.
 */
public final class Millstream {
    private Millstream() {}

    /** The rows that a plugin of world {@code transform} emits for those of the stream. */
    public static Made process(DataStream<Row> stream, Plugin plugin) {
        Described described = Described.of(plugin, "process", List.of(), stream.getType());
        return made(stream, described, new ProcessOperator(described));
    }

    /**
     * The rows that a plugin of world {@code update} emits, which keeps a state for each key and may set timers. It
     * gets the machine's time, which also drives its timers.
     */
    public static Made update(DataStream<Row> stream, Plugin plugin, String... key) {
        return update(stream, plugin, false, key);
    }

    /** The same by event time: the plugin gets the watermark, which also drives its timers. */
    public static Made updateInEventTime(DataStream<Row> stream, Plugin plugin, String... key) {
        return update(stream, plugin, true, key);
    }

    private static Made update(DataStream<Row> stream, Plugin plugin, boolean inEventTime, String... key) {
        if (key.length == 0) {
            throw new IllegalArgumentException("a plugin of world update keeps a state per key; name the key columns");
        }
        Described described = Described.of(plugin, "update", List.of(key), stream.getType());
        Keys keys = new Keys(described.input(), described.key());
        return made(keyed(stream, keys), described, new UpdateOperator(described, keys, inEventTime));
    }

    /**
     * A row for each key, by a plugin of world {@code aggregate}, for each window of event time: windows have this size, begin at its
     * multiples, and do not overlap. Without a key there is a row for each window.
     */
    public static Made aggregate(DataStream<Row> stream, Plugin plugin, Duration window, String... key) {
        if (window.toMillis() < 1) {
            throw new IllegalArgumentException("a window must be at least one millisecond long");
        }
        return aggregate(stream, plugin, window.toMillis(), key);
    }

    /** The same over the complete stream, which must have an end. */
    public static Made aggregateAll(DataStream<Row> stream, Plugin plugin, String... key) {
        return aggregate(stream, plugin, 0, key);
    }

    private static Made aggregate(DataStream<Row> stream, Plugin plugin, long windowMs, String... key) {
        Described described = Described.of(plugin, "aggregate", List.of(key), stream.getType());
        Keys keys = new Keys(described.input(), described.key());
        return made(keyed(stream, keys), described, new AggregateOperator(described, windowMs));
    }

    private static KeyedStream<Row, Row> keyed(DataStream<Row> stream, Keys keys) {
        return stream.keyBy(keys, keys.type());
    }

    private static Made made(DataStream<Row> stream, Described described, CallingOperator operator) {
        String name = described.plugin() + " (" + described.function() + ")";
        return new Made(stream.transform(name, described.output().type(), operator), described.rejectedTag());
    }
}
