package dev.millstream.flink;

import java.time.Duration;
import java.util.List;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.KeyedStream;
import org.apache.flink.types.Row;

/**
 * Millstream plugins as Flink operators, on streams of rows with named columns.
 *
 * <p>All tasks of a JVM share a process {@code millstream serve}, which runs the plugins. A plugin that loops, uses too much
 * memory or fails only fails its task, with a {@link PluginException} that names the plugin.
 */
public final class Millstream {
    private Millstream() {}

    /** Returns the rows that a plugin of world {@code transform} emits for the rows of the stream. */
    public static Made process(DataStream<Row> stream, Plugin plugin) {
        Described described = Described.of(plugin, "process", List.of(), stream.getType());
        return made(stream, described, new ProcessOperator(described));
    }

    /**
     * Returns the rows that a plugin of world {@code update} emits. The plugin has a state for each key and may set timers.
     * Its time, which also drives its timers, is the machine's clock.
     */
    public static Made update(DataStream<Row> stream, Plugin plugin, String... key) {
        return update(stream, plugin, false, key);
    }

    /** Like {@link #update}, by event time: the plugin's time, which also drives its timers, is the watermark. */
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
     * Returns one row per key and window of event time, computed by a plugin of world {@code aggregate}. Windows have this size,
     * start at its multiples, and do not overlap. Without a key, it returns one row per window.
     */
    public static Made aggregate(DataStream<Row> stream, Plugin plugin, Duration window, String... key) {
        if (window.toMillis() < 1) {
            throw new IllegalArgumentException("a window must be at least one millisecond long");
        }
        return aggregate(stream, plugin, window.toMillis(), key);
    }

    /** Like {@link #aggregate}, over the complete stream, which must be bounded. */
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
