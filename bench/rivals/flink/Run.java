import java.io.Writer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.TableDescriptor;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.types.Row;
import org.apache.flink.util.CloseableIterator;

/**
 * Runs statements of Flink SQL in a Flink of this process: SLOTS STATE RESULTS FILE… with the statements in files, of which the last is a
 * query. Its rows go to the connector `blackhole`, or to the file RESULTS where that is not `-`.
 *
 * <p>${NAME} in a statement stands for an environment variable.
 */
public final class Run {
    public static void main(String[] arguments) throws Exception {
        int slots = Integer.parseInt(arguments[0]);
        StreamExecutionEnvironment environment = environment(slots, arguments[1]);
        StreamTableEnvironment tables = StreamTableEnvironment.create(environment);
        List<String> statements = new ArrayList<>();
        for (int at = 3; at < arguments.length; at++) {
            statements.addAll(statements(Files.readString(Path.of(arguments[at]))));
        }
        String last = statements.remove(statements.size() - 1);
        statements.forEach(tables::executeSql);
        if (last.startsWith("INSERT")) {
            tables.executeSql(last).await();
        } else if (arguments[2].equals("-")) {
            tables.sqlQuery(last).insertInto(TableDescriptor.forConnector("blackhole").build()).execute().await();
        } else {
            try (CloseableIterator<Row> rows = tables.executeSql(last).collect()) {
                write(rows, Path.of(arguments[2]));
            }
        }
    }

    /** As the Nexmark of Flink's community sets it: changes of a key within two seconds go on as one, and operators hand rows over as they are. */
    static StreamExecutionEnvironment environment(int slots, String state) {
        Configuration settings = new Configuration();
        settings.setString("state.backend.type", state);
        settings.setString("parallelism.default", Integer.toString(slots));
        settings.setString("pipeline.object-reuse", "true");
        settings.setString("taskmanager.memory.managed.size", "512m");
        settings.setString("table.local-time-zone", "UTC");
        settings.setString("table.exec.mini-batch.enabled", "true");
        settings.setString("table.exec.mini-batch.allow-latency", "2s");
        settings.setString("table.exec.mini-batch.size", "50000");
        settings.setString("table.optimizer.distinct-agg.split.enabled", "true");
        return StreamExecutionEnvironment.getExecutionEnvironment(settings);
    }

    /** The statements of a text, with what environment variables say. */
    private static List<String> statements(String text) {
        StringBuilder plain = new StringBuilder();
        text.lines().filter(line -> !line.startsWith("--")).forEach(line -> plain.append(line).append('\n'));
        String told = java.util.regex.Pattern.compile("\\$\\{(\\w+)\\}").matcher(plain).replaceAll(
            found -> java.util.regex.Matcher.quoteReplacement(String.valueOf(System.getenv(found.group(1)))));
        List<String> statements = new ArrayList<>();
        for (String statement : told.split(";\\s*\n")) {
            if (!statement.isBlank()) {
                statements.add(statement.strip());
            }
        }
        return statements;
    }

    /** A line a row: what it does (+I, -U, +U, -D), and its values, separated by tabs. */
    private static void write(CloseableIterator<Row> rows, Path file) throws Exception {
        try (Writer out = Files.newBufferedWriter(file)) {
            while (rows.hasNext()) {
                Row row = rows.next();
                out.write(row.getKind().shortString());
                for (int at = 0; at < row.getArity(); at++) {
                    out.write("\t" + row.getField(at));
                }
                out.write("\n");
            }
        }
    }
}
