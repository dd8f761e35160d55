package dev.millstream.flink;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.types.Row;
import org.apache.flink.util.OutputTag;

/** A plugin with its description for the rows of a stream. Created while the job is built. */
record Described(
        Plugin plugin,
        String function,
        List<String> key,
        Columns input,
        Columns output,
        Columns rejected,
        String digest,
        OutputTag<Row> rejectedTag) {

    /** Calls the plugin without rows to get its description. */
    static Described of(Plugin plugin, String function, List<String> key, TypeInformation<Row> rows) {
        Columns input = Columns.of(rows, plugin.decimals());
        try (Calls calls = new Calls(plugin, function, key);
                Tables tables = new Tables();
                Tables.Writer none = tables.writer(input)) {
            String digest = calls.open();
            List<byte[]> made = calls.call(null, List.of(none.take()));
            Columns rejected = tables.columns(made.get(1));
            OutputTag<Row> tag = new OutputTag<>("rejected by " + plugin, rejected.type());
            return new Described(
                    plugin, function, new ArrayList<>(key), input, tables.columns(made.get(0)), rejected, digest, tag);
        } catch (IOException error) {
            throw new UncheckedIOException("plugin " + plugin + ": cannot query its columns", error);
        }
    }
}
