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
 * A plugin of Millstream, and what a stage of a job would say of it.
 *
 * <p>It is named by a folder, a component ({@code .wasm}) or a package ({@code split-words@0.1.0}), which must be there on each
 * machine that has a task. Each method gives a new object.
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

    /** The plugin of this name, called by the program {@code millstream} of the search path, or that which {@code MILLSTREAM} names. */
    public static Plugin of(String plugin) {
        String program = Objects.requireNonNullElse(System.getenv("MILLSTREAM"), "millstream");
        LinkedHashMap<String, Serializable> said = new LinkedHashMap<>();
        said.put("plugin", Objects.requireNonNull(plugin));
        return new Plugin(said, new LinkedHashMap<>(), program, 16_384, Duration.ofMillis(100));
    }

    /** Its config. */
    public Plugin config(Map<String, ?> config) {
        return with("config", new LinkedHashMap<>(config));
    }

    /** The limits of a call, for example {@code Map.of("time", "2s", "memory", "64MiB")}. */
    public Plugin limits(Map<String, ?> limits) {
        return with("limits", new LinkedHashMap<>(limits));
    }

    /** The granted permissions, as in a job file. */
    public Plugin grant(Map<String, ?> grant) {
        return with("grant", new LinkedHashMap<>(grant));
    }

    /**
     * Rejects the rows that make the plugin fail, and continues with the others; otherwise a failure fails the task.
     */
    public Plugin rejectOnError() {
        return with("on_error", "reject");
    }

    /** One instance from call to call, which is faster; else each call has a fresh one. */
    public Plugin keepInstance() {
        return with("instance", "worker");
    }

    /**
     * The precision and the scale of a decimal input column: Flink does not know them for a {@code BigDecimal}. A
     * nested column is named by both, for example {@code "item.price"}.
     */
    public Plugin decimal(String column, int precision, int scale) {
        if (precision < 1 || precision > 38 || scale < 0 || scale > precision) {
            throw new IllegalArgumentException("decimal: the precision must be from 1 to 38, and the scale from 0 to the precision");
        }
        LinkedHashMap<String, ColumnType.Digits> more = new LinkedHashMap<>(decimals);
        more.put(Objects.requireNonNull(column), new ColumnType.Digits(precision, scale));
        return new Plugin(said, more, program, rowsMax, latency);
    }

    /** The file {@code millstream.lock} that pins the package, or its directory. */
    public Plugin lock(String file) {
        return with("lock", file);
    }

    /** The registry of a package that is not pinned: a directory or {@code oci://…}. */
    public Plugin registry(String registry) {
        return with("registry", registry);
    }

    /** The program {@code millstream}, as each machine has it. */
    public Plugin program(String program) {
        return new Plugin(said, decimals, Objects.requireNonNull(program), rowsMax, latency);
    }

    /** How many rows are gathered for a call at most. */
    public Plugin rowsMax(int rows) {
        if (rows < 1) {
            throw new IllegalArgumentException("rowsMax: at least 1");
        }
        return new Plugin(said, decimals, program, rows, latency);
    }

    /** How long a row may wait for others. It never waits beyond a barrier or a watermark. */
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

    /** The message to the server. */
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
