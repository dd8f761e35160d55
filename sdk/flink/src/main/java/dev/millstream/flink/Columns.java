package dev.millstream.flink;

import java.io.Serializable;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.apache.arrow.vector.types.pojo.Field;
import org.apache.arrow.vector.types.pojo.Schema;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.java.typeutils.RowTypeInfo;
import org.apache.flink.types.Row;

/** The columns of rows, in Flink and in Arrow. */
final class Columns implements Serializable {
    final String[] names;
    final ColumnType[] types;

    Columns(String[] names, ColumnType[] types) {
        this.names = names;
        this.types = types;
    }

    /** Returns the columns of a stream's rows. Decimals have the digits configured for their column's name. */
    static Columns of(TypeInformation<Row> type, Map<String, ColumnType.Digits> decimals) {
        if (!(type instanceof RowTypeInfo)) {
            throw new IllegalArgumentException(
                    "the rows of the stream have no named columns; name them with `.returns(Types.ROW_NAMED(…))`");
        }
        return within("", (RowTypeInfo) type, decimals);
    }

    /** Returns the columns of rows nested in a column. Its name and a point prefix their names in errors and for decimals. */
    static Columns within(String before, RowTypeInfo row, Map<String, ColumnType.Digits> decimals) {
        String[] names = row.getFieldNames();
        ColumnType[] types = new ColumnType[names.length];
        Arrays.setAll(types, column -> ColumnType.of(before + names[column], row.getTypeAt(column), decimals));
        return new Columns(names, types);
    }

    /** Returns the columns of an Arrow table. */
    static Columns of(List<Field> fields) {
        return new Columns(
                fields.stream().map(Field::getName).toArray(String[]::new),
                fields.stream().map(ColumnType::of).toArray(ColumnType[]::new));
    }

    /** Returns the columns with these names. */
    Columns project(List<String> wanted, String subject) {
        int[] indexes = indexes(wanted, subject);
        return new Columns(
                Arrays.stream(indexes).mapToObj(index -> names[index]).toArray(String[]::new),
                Arrays.stream(indexes).mapToObj(index -> types[index]).toArray(ColumnType[]::new));
    }

    int[] indexes(List<String> wanted, String subject) {
        return wanted.stream()
                .mapToInt(name -> {
                    int index = Arrays.asList(names).indexOf(name);
                    if (index < 0) {
                        throw new IllegalArgumentException(
                                subject + " names a column `" + name + "`, which the rows do not have; they have: " + String.join(", ", names));
                    }
                    return index;
                })
                .toArray();
    }

    /** Returns these columns followed by another one. */
    Columns and(String name, ColumnType.Kind kind) {
        int count = names.length;
        Columns more = new Columns(Arrays.copyOf(names, count + 1), Arrays.copyOf(types, count + 1));
        more.names[count] = name;
        more.types[count] = ColumnType.of(kind);
        return more;
    }

    int count() {
        return names.length;
    }

    /** Returns the row type in Flink. */
    RowTypeInfo type() {
        TypeInformation<?>[] own = Arrays.stream(types).map(ColumnType::type).toArray(TypeInformation<?>[]::new);
        return new RowTypeInfo(own, names);
    }

    /** Returns the fields in Arrow. */
    List<Field> fields() {
        List<Field> fields = new ArrayList<>();
        for (int column = 0; column < names.length; column++) {
            fields.add(types[column].field(names[column]));
        }
        return fields;
    }

    /** Returns the schema of an Arrow table. */
    Schema schema() {
        return new Schema(fields());
    }

    static long microseconds(Instant time) {
        long seconds = time.getEpochSecond();
        long within = time.getNano() / 1000;
        // Before 1970, add from the next second down: the earliest times overflow otherwise.
        return seconds < 0
                ? Math.addExact(Math.multiplyExact(seconds + 1, 1_000_000L), within - 1_000_000L)
                : Math.addExact(Math.multiplyExact(seconds, 1_000_000L), within);
    }

    static Instant instant(long microseconds) {
        return Instant.ofEpochSecond(Math.floorDiv(microseconds, 1_000_000L), Math.floorMod(microseconds, 1_000_000L) * 1000);
    }
}
