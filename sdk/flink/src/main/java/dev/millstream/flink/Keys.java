package dev.millstream.flink;

import java.math.BigDecimal;
import java.time.Instant;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.util.HexFormat;
import java.util.List;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.functions.KeySelector;
import org.apache.flink.api.java.typeutils.RowTypeInfo;
import org.apache.flink.types.Row;

/**
 * The keys of rows, in a canonical form: as plugins receive them, so that a returned key equals its original. Flink has
 * no binary keys, so bytes become strings.
 */
final class Keys implements KeySelector<Row, Row> {
    private final int[] indexes;
    /** The columns in Arrow. */
    final Columns columns;

    Keys(Columns input, List<String> key) {
        indexes = input.indexes(key, "the key");
        columns = input.project(key, "the key");
        for (int column = 0; column < columns.count(); column++) {
            if (columns.types[column].members != null) {
                throw new IllegalArgumentException(
                        "key column `" + columns.names[column] + "` is " + columns.types[column].type() + ", which Flink cannot use as a key");
            }
        }
    }

    /** Returns the type of keys. */
    RowTypeInfo type() {
        TypeInformation<?>[] types = new TypeInformation<?>[columns.count()];
        for (int column = 0; column < types.length; column++) {
            types[column] =
                    switch (columns.types[column].kind) {
                        case BYTE, SHORT, INT, LONG -> Types.LONG;
                        case FLOAT, DOUBLE -> Types.DOUBLE;
                        case INSTANT, LOCAL_DATE_TIME -> Types.INSTANT;
                        case BINARY -> Types.STRING;
                        default -> columns.types[column].type();
                    };
        }
        return new RowTypeInfo(types, columns.names);
    }

    @Override
    public Row getKey(Row row) {
        Row key = new Row(indexes.length);
        for (int column = 0; column < indexes.length; column++) {
            key.setField(column, canonical(column, row.getField(indexes[column])));
        }
        return key;
    }

    /** Returns the key in the first columns of a row of a response. */
    Row returned(Row row) {
        Row key = new Row(indexes.length);
        for (int column = 0; column < indexes.length; column++) {
            key.setField(column, canonical(column, row.getField(column)));
        }
        return key;
    }

    /** Returns the key with the types of the rows. */
    Row values(Row key) {
        Row values = new Row(indexes.length);
        for (int column = 0; column < indexes.length; column++) {
            Object value = key.getField(column);
            values.setField(
                    column,
                    switch (columns.types[column].kind) {
                        case BINARY -> value == null ? null : HexFormat.of().parseHex((String) value);
                        case LOCAL_DATE_TIME -> value == null ? null : LocalDateTime.ofInstant((Instant) value, ZoneOffset.UTC);
                        default -> value;
                    });
        }
        return values;
    }

    private Object canonical(int column, Object value) {
        if (value instanceof Float || value instanceof Double) {
            double number = ((Number) value).doubleValue();
            // One form of zero, and one of NaN.
            return Double.isNaN(number) ? Double.NaN : number + 0.0;
        } else if (value instanceof Byte || value instanceof Short || value instanceof Integer) {
            return ((Number) value).longValue();
        } else if (value instanceof byte[] bytes) {
            return HexFormat.of().formatHex(bytes);
        } else if (value instanceof LocalDateTime time) {
            return Columns.instant(Columns.microseconds(time.toInstant(ZoneOffset.UTC)));
        } else if (value instanceof Instant time) {
            return Columns.instant(Columns.microseconds(time));
        } else if (value instanceof BigDecimal number) {
            return columns.types[column].scaled(number);
        }
        return value;
    }
}
