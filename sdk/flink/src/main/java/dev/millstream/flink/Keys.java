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
 * The keys of rows, in a canonical form: as plugins receive them, so that returned keys are found again. Bytes are
 * text here, as Flink has no binary keys.
 */
final class Keys implements KeySelector<Row, Row> {
    private final int[] places;
    /** The columns as Arrow has them. */
    final Columns columns;

    Keys(Columns input, List<String> key) {
        places = input.places(key, "the key");
        columns = input.project(key, "the key");
        for (int column = 0; column < columns.count(); column++) {
            if (columns.types[column].members != null) {
                throw new IllegalArgumentException(
                        "key column `" + columns.names[column] + "` is " + columns.types[column].type() + ", which Flink cannot use as a key");
            }
        }
    }

    /** The type of keys. */
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
        Row key = new Row(places.length);
        for (int column = 0; column < places.length; column++) {
            key.setField(column, canonical(column, row.getField(places[column])));
        }
        return key;
    }

    /** The key in the first columns of a row of a response. */
    Row returned(Row row) {
        Row key = new Row(places.length);
        for (int column = 0; column < places.length; column++) {
            key.setField(column, canonical(column, row.getField(column)));
        }
        return key;
    }

    /** The key as rows have it. */
    Row values(Row key) {
        Row values = new Row(places.length);
        for (int column = 0; column < places.length; column++) {
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
            // One zero, and one that is no number.
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
