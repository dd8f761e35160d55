import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.Writer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.TableDescriptor;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.types.Row;
import org.apache.flink.util.CloseableIterator;

/**
 * Runs Flink jobs in this process, one after another. Each line of standard input is a job: SLOTS STATE RESULTS FILES NAME=VALUE…, separated by
 * tabs. FILES, separated by commas, contain Flink SQL statements; the last one is a query or an INSERT. The rows of a query go to the connector
 * `blackhole`, or to the file RESULTS if that is not `-`. ${NAME} in a statement is replaced by its value. FILES can also be `WordCount`, the
 * class of that name.
 *
 * <p>Prints `@@ ready` when it has started, and `@@ done` or `@@ failed` after each job.
 */
public final class Run {
    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        System.out.println("@@ ready");
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            try {
                runJob(line.split("\t"));
                System.out.println("@@ done");
            } catch (Throwable error) {
                error.printStackTrace();
                System.out.println("@@ failed");
            }
            // Free the memory of this job before the next one starts.
            System.gc();
        }
    }

    private static void runJob(String[] fields) throws Exception {
        Map<String, String> values = new HashMap<>();
        for (int i = 4; i < fields.length; i++) {
            String[] pair = fields[i].split("=", 2);
            values.put(pair[0], pair[1]);
        }
        StreamExecutionEnvironment environment = environment(Integer.parseInt(fields[0]), fields[1]);
        Path results = fields[2].equals("-") ? null : Path.of(fields[2]);
        if (fields[3].equals("WordCount")) {
            WordCount.run(environment, values.get("INPUT") + "/words", results);
            return;
        }
        StreamTableEnvironment tables = StreamTableEnvironment.create(environment);
        List<String> statements = new ArrayList<>();
        for (String file : fields[3].split(",")) {
            statements.addAll(statements(Files.readString(Path.of(file)), values));
        }
        String last = statements.remove(statements.size() - 1);
        statements.forEach(tables::executeSql);
        if (last.startsWith("INSERT")) {
            tables.executeSql(last).await();
        } else if (results == null) {
            tables.sqlQuery(last).insertInto(TableDescriptor.forConnector("blackhole").build()).execute().await();
        } else {
            try (CloseableIterator<Row> rows = tables.executeSql(last).collect()) {
                write(rows, results);
            }
        }
    }

    /** The settings of the Flink community's Nexmark: mini-batches merge the changes of a key within two seconds, and operators reuse row objects. */
    private static StreamExecutionEnvironment environment(int slots, String state) {
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

    /** Splits a text into statements, and replaces variables by their values. */
    private static List<String> statements(String text, Map<String, String> values) {
        StringBuilder plain = new StringBuilder();
        text.lines().filter(line -> !line.startsWith("--")).forEach(line -> plain.append(line).append('\n'));
        String replaced = Pattern.compile("\\$\\{(\\w+)\\}").matcher(plain).replaceAll(
            found -> Matcher.quoteReplacement(String.valueOf(values.get(found.group(1)))));
        List<String> statements = new ArrayList<>();
        for (String statement : replaced.split(";\\s*\n")) {
            if (!statement.isBlank()) {
                statements.add(statement.strip());
            }
        }
        return statements;
    }

    /** Writes one line per row: the kind of change (+I, -U, +U, -D) and the values, separated by tabs. */
    private static void write(CloseableIterator<Row> rows, Path file) throws Exception {
        try (Writer out = Files.newBufferedWriter(file)) {
            while (rows.hasNext()) {
                Row row = rows.next();
                out.write(row.getKind().shortString());
                for (int i = 0; i < row.getArity(); i++) {
                    out.write("\t" + row.getField(i));
                }
                out.write("\n");
            }
        }
    }
}
