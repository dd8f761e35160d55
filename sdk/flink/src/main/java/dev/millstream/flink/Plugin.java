package dev.millstream.flink;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.Serializable;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/**
 * A plugin of Millstream and its settings.
 *
 * <p>Its name is a directory, a component ({@code .wasm}) or a package ({@code split-words@0.1.0}), which must exist on each
 * machine that runs a task. Each method returns a new object.
 */
public final class Plugin implements Serializable {
    private static final ObjectMapper JSON = new ObjectMapper();

    private final LinkedHashMap<String, Serializable> said;
    private final LinkedHashMap<String, ColumnType.Digits> decimals;
    private final String program;
    private final int rowsMax;
    private final Duration latency;

    private Plugin(
            LinkedHashMap<String, Serializable> said,
            LinkedHashMap<String, ColumnType.Digits> decimals,
            String program,
            int rowsMax,
            Duration latency) {
        this.said = said;
        this.decimals = decimals;
        this.program = program;
        this.rowsMax = rowsMax;
        this.latency = latency;
    }

    /** Returns a plugin. It runs with the program that {@code MILLSTREAM} names, by default {@code millstream} in the search path. */
    public static Plugin of(String plugin) {
        String program = Objects.requireNonNullElse(System.getenv("MILLSTREAM"), "millstream");
        LinkedHashMap<String, Serializable> said = new LinkedHashMap<>();
        said.put("plugin", Objects.requireNonNull(plugin));
        return new Plugin(said, new LinkedHashMap<>(), program, 16_384, Duration.ofMillis(100));
    }

    /** Sets the config. */
    public Plugin config(Map<String, ?> config) {
        return with("config", new LinkedHashMap<>(config));
    }

    /** Sets the limits of a call, for example {@code Map.of("time", "2s", "memory", "64MiB")}. */
    public Plugin limits(Map<String, ?> limits) {
        return with("limits", new LinkedHashMap<>(limits));
    }

    /** Sets the granted permissions, as in a job file. */
    public Plugin grant(Map<String, ?> grant) {
        return with("grant", new LinkedHashMap<>(grant));
    }

    /**
     * Rejects the rows that make the plugin fail, and continues with the others. By default, a failure fails the task.
     */
    public Plugin rejectOnError() {
        return with("on_error", "reject");
    }

    /** Uses one instance for all calls, which is faster. By default, each call has a new instance. */
    public Plugin keepInstance() {
        return with("instance", "worker");
    }

    /**
     * Sets the precision and the scale of a decimal input column, which Flink does not know for a {@code BigDecimal}. The
     * name of a nested column includes its parent, for example {@code "item.price"}.
     */
    public Plugin decimal(String column, int precision, int scale) {
        if (precision < 1 || precision > 38 || scale < 0 || scale > precision) {
            throw new IllegalArgumentException("decimal: the precision must be from 1 to 38, and the scale from 0 to the precision");
        }
        LinkedHashMap<String, ColumnType.Digits> more = new LinkedHashMap<>(decimals);
        more.put(Objects.requireNonNull(column), new ColumnType.Digits(precision, scale));
        return new Plugin(said, more, program, rowsMax, latency);
    }

    /** Sets the file {@code millstream.lock} that pins the package, or its directory. */
    public Plugin lock(String file) {
        return with("lock", file);
    }

    /** Sets the registry of a package that is not pinned: a directory or {@code oci://…}. */
    public Plugin registry(String registry) {
        return with("registry", registry);
    }

    /** Sets the path of the program {@code millstream} on each machine. */
    public Plugin program(String program) {
        return new Plugin(said, decimals, Objects.requireNonNull(program), rowsMax, latency);
    }

    /** Sets the maximum number of rows per call. */
    public Plugin rowsMax(int rows) {
        if (rows < 1) {
            throw new IllegalArgumentException("rowsMax: at least 1");
        }
        return new Plugin(said, decimals, program, rows, latency);
    }

    /** Sets the maximum time that a row waits for others. It never waits beyond a barrier or a watermark. */
    public Plugin latency(Duration latency) {
        return new Plugin(said, decimals, program, rowsMax, Objects.requireNonNull(latency));
    }

    Plugin with(String key, Serializable value) {
        LinkedHashMap<String, Serializable> more = new LinkedHashMap<>(said);
        more.put(key, Objects.requireNonNull(value));
        return new Plugin(more, decimals, program, rowsMax, latency);
    }

    Map<String, ColumnType.Digits> decimals() {
        return decimals;
    }

    String program() {
        return program;
    }

    int rowsMax() {
        return rowsMax;
    }

    Duration latency() {
        return latency;
    }

    /** Returns the first message to the server. */
    byte[] hello(String function, List<String> key) {
        Map<String, Object> hello = new LinkedHashMap<>(said);
        hello.put("millstream", Connection.VERSION);
        hello.put("function", function);
        hello.put("key", key);
        hello.put("states", "bytes");
        return json(Map.of("hello", hello));
    }

    static byte[] json(Object value) {
        try {
            return JSON.writeValueAsBytes(value);
        } catch (JsonProcessingException error) {
            throw new IllegalArgumentException("a setting of a plugin cannot be written as JSON", error);
        }
    }

    @Override
    public String toString() {
        return String.valueOf(said.get("plugin"));
    }
}
