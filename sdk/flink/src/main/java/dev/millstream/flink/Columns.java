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

/** The columns of rows: as Flink has them, and as Arrow does. */
final class Columns implements Serializable {
    final String[] names;
    final ColumnType[] types;

    Columns(String[] names, ColumnType[] types) {
        this.names = names;
        this.types = types;
    }

    /** The columns of a stream's rows; decimals have the digits configured for their column's name. */
    static Columns of(TypeInformation<Row> type, Map<String, ColumnType.Digits> decimals) {
        if (!(type instanceof RowTypeInfo)) {
            throw new IllegalArgumentException(
                    "the rows of the stream have no named columns; name them with `.returns(Types.ROW_NAMED(…))`");
        }
        return within("", (RowTypeInfo) type, decimals);
    }

    /** The columns of rows nested in a column, whose name and a point are their prefix in errors and for decimals. */
    static Columns within(String before, RowTypeInfo row, Map<String, ColumnType.Digits> decimals) {
        String[] names = row.getFieldNames();
        ColumnType[] types = new ColumnType[names.length];
        Arrays.setAll(types, column -> ColumnType.of(before + names[column], row.getTypeAt(column), decimals));
        return new Columns(names, types);
    }

    /** Those of a table of Arrow. */
    static Columns of(List<Field> fields) {
        return new Columns(
                fields.stream().map(Field::getName).toArray(String[]::new),
                fields.stream().map(ColumnType::of).toArray(ColumnType[]::new));
    }

    /** The columns of these names. */
    Columns project(List<String> wanted, String who) {
        int[] places = places(wanted, who);
        return new Columns(
                Arrays.stream(places).mapToObj(place -> names[place]).toArray(String[]::new),
                Arrays.stream(places).mapToObj(place -> types[place]).toArray(ColumnType[]::new));
    }

    int[] places(List<String> wanted, String who) {
        return wanted.stream()
                .mapToInt(name -> {
                    int place = Arrays.asList(names).indexOf(name);
                    if (place < 0) {
                        throw new IllegalArgumentException(
                                who + " names a column `" + name + "`, which the rows do not have; they have: " + String.join(", ", names));
                    }
                    return place;
                })
                .toArray();
    }

    /** These columns followed by another one. */
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

    /** As Flink has them. */
    RowTypeInfo type() {
        TypeInformation<?>[] own = Arrays.stream(types).map(ColumnType::type).toArray(TypeInformation<?>[]::new);
        return new RowTypeInfo(own, names);
    }

    /** As Arrow has them. */
    List<Field> fields() {
        List<Field> fields = new ArrayList<>();
        for (int column = 0; column < names.length; column++) {
            fields.add(types[column].field(names[column]));
        }
        return fields;
    }

    /** As Arrow has them, for a table. */
    Schema schema() {
        return new Schema(fields());
    }

    static long microseconds(Instant time) {
        long seconds = time.getEpochSecond();
        long within = time.getNano() / 1000;
        // The earliest times of all fit only when they are put together from above.
        return seconds < 0
                ? Math.addExact(Math.multiplyExact(seconds + 1, 1_000_000L), within - 1_000_000L)
                : Math.addExact(Math.multiplyExact(seconds, 1_000_000L), within);
    }

    static Instant instant(long microseconds) {
        return Instant.ofEpochSecond(Math.floorDiv(microseconds, 1_000_000L), Math.floorMod(microseconds, 1_000_000L) * 1000);
    }
}
