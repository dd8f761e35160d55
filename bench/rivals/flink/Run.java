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
 * Runs jobs in a Flink of this process, one after the other, as each comes in a line of standard input: SLOTS STATE RESULTS FILES NAME=VALUE…, with
 * tabs between. FILES, with commas between, hold statements of Flink SQL, of which the last is a query or inserts; its rows go to the connector
 * `blackhole`, or to the file RESULTS where that is not `-`. ${NAME} in a statement stands for a value of the line. Instead of FILES, `WordCount` is the
 * program of that name.
 *
 * <p>It answers with a line `@@ ready` at its start, and `@@ done` or `@@ failed` after each job.
 */
public final class Run {
    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        System.out.println("@@ ready");
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            try {
                job(line.split("\t"));
                System.out.println("@@ done");
            } catch (Throwable wrong) {
                wrong.printStackTrace();
                System.out.println("@@ failed");
            }
            // So that the next one does not begin with what this one has left.
            System.gc();
        }
    }

    private static void job(String[] words) throws Exception {
        Map<String, String> values = new HashMap<>();
        for (int at = 4; at < words.length; at++) {
            String[] pair = words[at].split("=", 2);
            values.put(pair[0], pair[1]);
        }
        StreamExecutionEnvironment environment = environment(Integer.parseInt(words[0]), words[1]);
        Path results = words[2].equals("-") ? null : Path.of(words[2]);
        if (words[3].equals("WordCount")) {
            WordCount.run(environment, values.get("INPUT") + "/words", results);
            return;
        }
        StreamTableEnvironment tables = StreamTableEnvironment.create(environment);
        List<String> statements = new ArrayList<>();
        for (String file : words[3].split(",")) {
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

    /** As the Nexmark of Flink's community sets it: changes of a key within two seconds go on as one, and operators hand rows over as they are. */
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

    /** The statements of a text, with these values in it. */
    private static List<String> statements(String text, Map<String, String> values) {
        StringBuilder plain = new StringBuilder();
        text.lines().filter(line -> !line.startsWith("--")).forEach(line -> plain.append(line).append('\n'));
        String told = Pattern.compile("\\$\\{(\\w+)\\}").matcher(plain).replaceAll(
            found -> Matcher.quoteReplacement(String.valueOf(values.get(found.group(1)))));
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
