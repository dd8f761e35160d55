package dev.millstream.flink;

import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.util.Arrays;
import java.util.List;
import org.apache.arrow.vector.BigIntVector;
import org.apache.arrow.vector.BitVector;
import org.apache.arrow.vector.DateDayVector;
import org.apache.arrow.vector.DecimalVector;
import org.apache.arrow.vector.FieldVector;
import org.apache.arrow.vector.Float8Vector;
import org.apache.arrow.vector.TimeStampMicroTZVector;
import org.apache.arrow.vector.TimeStampVector;
import org.apache.arrow.vector.VarBinaryVector;
import org.apache.arrow.vector.VarCharVector;
import org.apache.arrow.vector.complex.ListVector;
import org.apache.arrow.vector.complex.StructVector;
import org.apache.flink.types.Row;

/** Reads and writes values of Flink rows in Arrow vectors. */
final class Values {
    private Values() {}

    /** Stores a value at an index. Returns the size of its strings in bytes. */
    static long put(FieldVector vector, int at, ColumnType type, Object value) {
        if (value == null) {
            vector.setNull(at);
            return 0;
        }
        switch (type.kind) {
            case BOOL -> ((BitVector) vector).setSafe(at, (Boolean) value ? 1 : 0);
            case BYTE, SHORT, INT, LONG -> ((BigIntVector) vector).setSafe(at, ((Number) value).longValue());
            case FLOAT, DOUBLE -> ((Float8Vector) vector).setSafe(at, ((Number) value).doubleValue());
            case TEXT -> {
                byte[] text = ((String) value).getBytes(StandardCharsets.UTF_8);
                ((VarCharVector) vector).setSafe(at, text);
                return text.length;
            }
            case BINARY -> {
                byte[] bytes = (byte[]) value;
                ((VarBinaryVector) vector).setSafe(at, bytes);
                return bytes.length;
            }
            case INSTANT -> ((TimeStampVector) vector).setSafe(at, Columns.microseconds((Instant) value));
            case LOCAL_DATE_TIME ->
                ((TimeStampVector) vector).setSafe(at, Columns.microseconds(((LocalDateTime) value).toInstant(ZoneOffset.UTC)));
            case DATE -> ((DateDayVector) vector).setSafe(at, Math.toIntExact(((LocalDate) value).toEpochDay()));
            case DECIMAL -> ((DecimalVector) vector).setSafe(at, type.scaled((BigDecimal) value));
            case LIST -> {
                return putItems((ListVector) vector, at, type, value instanceof List<?> list ? list : Arrays.asList((Object[]) value));
            }
            case STRUCT -> {
                return putMembers((StructVector) vector, at, type, (Row) value);
            }
        }
        return 0;
    }

    private static long putItems(ListVector vector, int at, ColumnType type, List<?> items) {
        long bytes = 0;
        int begin = vector.startNewValue(at);
        int index = begin;
        for (Object item : items) {
            bytes += put(vector.getDataVector(), index++, type.members.types[0], item);
        }
        vector.endValue(at, index - begin);
        return bytes;
    }

    private static long putMembers(StructVector vector, int at, ColumnType type, Row row) {
        long bytes = 0;
        vector.setIndexDefined(at);
        for (int member = 0; member < type.members.count(); member++) {
            bytes += put((FieldVector) vector.getChildByOrdinal(member), at, type.members.types[member], row.getField(member));
        }
        return bytes;
    }

    /** Returns the value at an index. */
    static Object read(FieldVector vector, int at, ColumnType type) {
        if (vector.isNull(at)) {
            return null;
        }
        return switch (type.kind) {
            case BOOL -> ((BitVector) vector).get(at) != 0;
            case LONG -> ((BigIntVector) vector).get(at);
            case DOUBLE -> ((Float8Vector) vector).get(at);
            case TEXT -> new String(((VarCharVector) vector).get(at), StandardCharsets.UTF_8);
            case BINARY -> ((VarBinaryVector) vector).get(at);
            case INSTANT ->
                Columns.instant(vector instanceof TimeStampMicroTZVector times ? times.get(at) : ((TimeStampVector) vector).get(at));
            case DATE -> LocalDate.ofEpochDay(((DateDayVector) vector).get(at));
            case DECIMAL -> ((DecimalVector) vector).getObject(at);
            case LIST -> {
                ListVector list = (ListVector) vector;
                int begin = list.getElementStartIndex(at);
                Object[] items = type.items(list.getElementEndIndex(at) - begin);
                Arrays.setAll(items, index -> read(list.getDataVector(), begin + index, type.members.types[0]));
                yield items;
            }
            case STRUCT -> {
                StructVector struct = (StructVector) vector;
                Row row = new Row(type.members.count());
                for (int member = 0; member < row.getArity(); member++) {
                    FieldVector own = (FieldVector) struct.getChildByOrdinal(member);
                    row.setField(member, read(own, at, type.members.types[member]));
                }
                yield row;
            }
            default -> throw new IllegalStateException("no table has " + type.kind);
        };
    }

    /** Formats a value for a message. */
    static String shown(Object value) {
        return value instanceof Object[] items ? Arrays.deepToString(items) : String.valueOf(value);
    }
}
