package dev.millstream.flink;

import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.File;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDate;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.apache.flink.api.common.eventtime.Watermark;
import org.apache.flink.api.common.eventtime.WatermarkGenerator;
import org.apache.flink.api.common.eventtime.WatermarkOutput;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.FlatMapFunction;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.api.java.typeutils.RowTypeInfo;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.types.Row;
import org.apache.flink.util.Collector;
import org.junit.jupiter.api.Test;

/**
 * Runs the cases of {@code tests/conformance} in Flink. All plugins, in all languages, must have the same output as in a
 * Millstream job.
 */
class ConformanceTest {
    private static final ObjectMapper JSON =
            new ObjectMapper().enable(DeserializationFeature.USE_BIG_INTEGER_FOR_INTS);
    /** Features of a job's stage that a Flink operator does not have. */
    private static final Set<String> LEFT_OUT = Set.of("window", "time", "timeout", "batch", "on", "inputs");
    /** Columns about the call itself. */
    private static final Set<String> OF_THE_CALL = Set.of("batch", "time", "watermark");

    /** In Flink, the time of a call is the machine's, so these rows differ in each run. */
    private static final Set<String> OF_THE_CLOCK = Set.of("failing/clock");
    /** In a job, a timer is due together with the rows of its time. In Flink, it fires with the watermark, before them. */
    private static final Set<String> TIMERS_FIRST = Set.of("totals/alarms", "totals/refused");

    private record Expected(String what, RowTypeInfo type, JsonNode batches) {}

    @Test
    void allPluginsReturnTheSameInAllLanguages() throws Exception {
        JsonNode components = JSON.readTree(new File(System.getenv("MILLSTREAM_CASES")));
        Map<String, Map<String, String>> digests = new TreeMap<>();
        List<String> wrong = new ArrayList<>();
        // While this connection is open, one server runs all plugins.
        try (Cluster cluster = new Cluster(); Server.Channel held = Server.connect(System.getenv("MILLSTREAM"))) {
            assertTrue(held.bytes.isOpen());
            Map<String, List<JsonNode>> languages = new LinkedHashMap<>();
            components.forEach(
                    of -> languages.computeIfAbsent(of.get("language").asText(), any -> new ArrayList<>()).add(of));
            for (var language : languages.entrySet()) {
                StreamExecutionEnvironment environment = Cluster.environment(0, 0);
                Map<String, Expected> expected = new LinkedHashMap<>();
                int failing = 0;
                for (JsonNode of : language.getValue()) {
                    for (JsonNode one : of.get("cases")) {
                        if (LEFT_OUT.stream().anyMatch(one.get("told")::has)) {
                            continue;
                        }
                        String id = of.get("plugin").asText() + "/" + one.get("name").asText();
                        if (OF_THE_CLOCK.contains(id)) {
                            continue;
                        }
                        if (one.get("error").isNull()) {
                            build(environment, of, one, id, expected);
                        } else {
                            failing++;
                            String message = fails(cluster, of, one, id);
                            // The messages name stages and inputs, which do not exist here.
                            String wanted = one.get("error").asText().replace("the stage's", "the call's")
                                    .replaceAll("`input`", "the table");
                            if (!message.contains(wanted)) {
                                wrong.add(language.getKey() + " " + id + " failed otherwise: " + message + "\n  wanted: " + wanted);
                            }
                        }
                    }
                }
                Throwable failed = cluster.run(environment);
                if (failed != null) {
                    wrong.add(language.getKey() + ": " + Cluster.describe(failed));
                    continue;
                }
                for (var one : expected.entrySet()) {
                    String plugin = one.getKey().split("/")[0];
                    Expected wanted = one.getValue();
                    List<String> theirs = new ArrayList<>();
                    Set<String> names = new java.util.HashSet<>();
                    wanted.batches().forEach(batch -> batch.get("rows").forEach(row -> row.fieldNames().forEachRemaining(names::add)));
                    names.removeAll(OF_THE_CALL);
                    wanted.batches().forEach(batch -> batch.get("rows").forEach(row -> theirs.add(line(row, wanted.type(), names))));
                    List<String> ours = new ArrayList<>();
                    Collected.of(one.getKey()).forEach(row -> ours.add(line(row, wanted.type(), names)));
                    ours.sort(null);
                    theirs.sort(null);
                    if (!ours.equals(theirs) && !TIMERS_FIRST.contains(one.getKey())) {
                        wrong.add(language.getKey() + " " + one.getKey() + "\n  made:   "
                                + ours.stream().limit(5).toList() + " of " + ours.size() + "\n  wanted: "
                                + theirs.stream().limit(5).toList() + " of " + theirs.size());
                    }
                    digests.computeIfAbsent(plugin, any -> new TreeMap<>())
                            .merge(language.getKey(), one.getKey() + ours, String::concat);
                }
                System.out.println(language.getKey() + ": " + expected.size() + " outputs, and " + failing + " failures");
            }
        }
        for (var plugin : digests.entrySet()) {
            plugin.getValue().replaceAll((language, text) -> digest(text));
            System.out.println(plugin.getKey() + " " + plugin.getValue());
            if (Set.copyOf(plugin.getValue().values()).size() != 1) {
                wrong.add(plugin.getKey() + " puts out other rows in one language than in another");
            }
        }
        assertTrue(wrong.isEmpty(), String.join("\n", wrong));
    }

    /** Returns the failure of a case that must fail, either when the job is built or when it runs. */
    private static String fails(Cluster cluster, JsonNode of, JsonNode one, String id) throws Exception {
        StreamExecutionEnvironment environment = Cluster.environment(0, 0);
        try {
            build(environment, of, one, id, new LinkedHashMap<>());
        } catch (PluginException error) {
            return error.getMessage();
        }
        Throwable failed = cluster.run(environment);
        return failed == null ? "it did not fail" : Cluster.describe(failed);
    }

    private static void build(
            StreamExecutionEnvironment environment, JsonNode of, JsonNode one, String id, Map<String, Expected> expected) {
        JsonNode settings = one.get("told");
        Plugin plugin = Plugin.of(of.get("component").asText()).lock(one.get("folder").asText());
        // Calls end with batches. If a call ended within one, as on a busy machine, a removed key would start from scratch within its batch.
        plugin = plugin.latency(Duration.ofDays(1));
        for (String key : List.of("config", "limits", "grant")) {
            if (settings.has(key)) {
                plugin = plugin.with(key, (java.io.Serializable) JSON.convertValue(settings.get(key), LinkedHashMap.class));
            }
        }
        for (var column : settings.get("schema").properties()) {
            if (column.getValue().asText().equals("decimal(12,2)")) {
                plugin = plugin.decimal(column.getKey(), 12, 2);
            }
        }
        if ("reject".equals(settings.path("on_error").asText())) {
            plugin = plugin.rejectOnError();
        }
        DataStream<Row> rows = rows(environment, settings.get("schema"), one.get("inputs").get(0));
        String[] key = new String[settings.path("key").size()];
        Arrays.setAll(key, index -> settings.get("key").get(index).asText());
        Made made =
                switch (of.get("plugin").asText()) {
                    case "totals", "written" -> Millstream.updateInEventTime(rows, plugin, key);
                    case "spread", "mean" -> Millstream.aggregate(rows, plugin, Duration.ofSeconds(1), key);
                    default -> Millstream.process(rows, plugin);
                };
        made.uid(id);
        sink(made.rows(), id, one.get("rows"), expected);
        sink(made.rejected(), id + "/rejected", one.get("rejected"), expected);
    }

    private static void sink(DataStream<Row> rows, String id, JsonNode wanted, Map<String, Expected> expected) {
        rows.sinkTo(new Collected(id)).setParallelism(1);
        if (!wanted.isNull()) {
            expected.put(id, new Expected(id, (RowTypeInfo) rows.getType(), wanted));
        }
    }

    /** Returns the rows of all batches. After each batch comes a watermark with its time, which is its number in seconds. */
    private static DataStream<Row> rows(StreamExecutionEnvironment environment, JsonNode schema, JsonNode batches) {
        List<String> names = new ArrayList<>();
        List<TypeInformation<?>> types = new ArrayList<>();
        schema.fields().forEachRemaining(column -> {
            names.add(column.getKey());
            types.add(type(column.getValue().asText()));
        });
        RowTypeInfo type =
                new RowTypeInfo(types.toArray(TypeInformation<?>[]::new), names.toArray(String[]::new));
        List<Tuple2<Integer, Row>> all = new ArrayList<>();
        for (int batch = 1; batch <= batches.size(); batch++) {
            all.add(Tuple2.of(-batch, new Row(names.size())));
            for (JsonNode given : batches.get(batch - 1)) {
                all.add(Tuple2.of(batch, row(given, type, true)));
            }
        }
        WatermarkStrategy<Tuple2<Integer, Row>> strategy =
                WatermarkStrategy.<Tuple2<Integer, Row>>forGenerator(context -> new Batches())
                        .withTimestampAssigner((row, before) -> Math.abs(row.f0) * 1000L);
        return environment
                .fromData(all, Types.TUPLE(Types.INT, type))
                .setParallelism(1)
                .assignTimestampsAndWatermarks(strategy)
                .setParallelism(1)
                .flatMap(new Within())
                .returns(type)
                .setParallelism(1);
    }

    private static final class Batches implements WatermarkGenerator<Tuple2<Integer, Row>> {
        @Override
        public void onEvent(Tuple2<Integer, Row> row, long time, WatermarkOutput output) {
            if (row.f0 < 0) {
                output.emitWatermark(new Watermark(time));
            }
        }

        @Override
        public void onPeriodicEmit(WatermarkOutput output) {}
    }

    private static final class Within implements FlatMapFunction<Tuple2<Integer, Row>, Row> {
        @Override
        public void flatMap(Tuple2<Integer, Row> row, Collector<Row> to) {
            if (row.f0 > 0) {
                to.collect(row.f1);
            }
        }
    }

    private static TypeInformation<?> type(String name) {
        return switch (name) {
            case "bool" -> Types.BOOLEAN;
            case "int64" -> Types.LONG;
            case "float64" -> Types.DOUBLE;
            case "text" -> Types.STRING;
            case "binary" -> ColumnType.Kind.BINARY.type;
            case "timestamp(us)" -> Types.INSTANT;
            case "date" -> Types.LOCAL_DATE;
            case "decimal(12,2)" -> Types.BIG_DEC;
            case "list<text>" -> Types.LIST(Types.STRING);
            case "struct<id: int64, sku: text>" -> Types.ROW_NAMED(new String[] {"id", "sku"}, Types.LONG, Types.STRING);
            default -> throw new IllegalArgumentException(name);
        };
    }

    /** A JSON value. Binary input is represented as text, and binary output as digits. */
    private static Object value(JsonNode json, TypeInformation<?> type, boolean isInput) {
        if (json == null || json.isNull()) {
            return null;
        } else if (type.equals(Types.LONG)) {
            return json.bigIntegerValue().longValueExact();
        } else if (type.equals(Types.DOUBLE)) {
            return json.isTextual() ? Double.valueOf(json.asText()) : Double.valueOf(json.doubleValue());
        } else if (type.equals(Types.BOOLEAN)) {
            return json.booleanValue();
        } else if (type.equals(Types.INSTANT)) {
            return json.isNumber() ? Columns.instant(json.longValue()) : Instant.parse(json.asText());
        } else if (type.equals(Types.STRING)) {
            return json.asText();
        } else if (type.equals(Types.LOCAL_DATE)) {
            return LocalDate.parse(json.asText());
        } else if (type.equals(Types.BIG_DEC)) {
            return new BigDecimal(json.asText());
        } else if (type instanceof RowTypeInfo members) {
            return row(json, members, isInput);
        }
        TypeInformation<?> item = ColumnType.itemsOf(type);
        if (item != null) {
            List<Object> items = new ArrayList<>();
            json.forEach(one -> items.add(value(one, item, isInput)));
            return isInput ? items : items.toArray();
        }
        String text = json.asText();
        return isInput ? text.getBytes(StandardCharsets.UTF_8) : HexFormat.of().parseHex(text);
    }

    private static Row row(JsonNode json, RowTypeInfo type, boolean isInput) {
        Row row = new Row(type.getArity());
        for (int column = 0; column < type.getArity(); column++) {
            row.setField(column, value(json.get(type.getFieldNames()[column]), type.getTypeAt(column), isInput));
        }
        return row;
    }

    private static String line(JsonNode row, RowTypeInfo type, Set<String> names) {
        return line(row(row, type, false), type, names);
    }

    private static String line(Row row, RowTypeInfo type, Set<String> names) {
        StringBuilder line = new StringBuilder();
        for (String name : type.getFieldNames()) {
            if (names.contains(name)) {
                Object value = row.getField(type.getFieldIndex(name));
                line.append(name).append('=').append(shown(value)).append(' ');
            }
        }
        return line.toString();
    }

    private static String shown(Object value) {
        if (value instanceof BigDecimal number) {
            // The cases have decimals without trailing zeros.
            return number.stripTrailingZeros().toPlainString();
        }
        return value instanceof byte[] bytes ? HexFormat.of().formatHex(bytes) : Values.shown(value);
    }

    private static String digest(String text) {
        try {
            byte[] digest = MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
            return HexFormat.of().formatHex(digest).substring(0, 16);
        } catch (java.security.NoSuchAlgorithmException error) {
            throw new IllegalStateException(error);
        }
    }
}
